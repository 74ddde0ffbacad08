"""The live progress, told by the client's events."""

from __future__ import annotations

from justitia_server.demo.progress import Progress
from justitia_server.serve.watch import Sample


def test_applications_pass_through_their_states() -> None:
    """To come, waiting, running, done or failed."""
    progress = Progress("stock vLLM")
    facts = [{"app_id": name, "kind": "k", "arrival_s": 0.0} for name in "abcd"]
    progress.note({"event": "planned", "applications": facts})
    for name in "abc":
        progress.note({"event": "arrived", "app_id": name})
    for name in "ab":
        progress.note({"event": "replied", "app_id": name})
    progress.note({"event": "finished", "app_id": "a", "ok": True, "jct_s": 1.0})
    assert progress.counts("k") == {"to come": 1, "waiting": 1, "running": 1, "done": 1}
    progress.note({"event": "finished", "app_id": "b", "ok": False, "jct_s": 1.0})
    assert progress.counts()["failed"] == 1


def test_line_names_memory() -> None:
    """Whoever watches sees that memory is what applications wait for."""
    progress = Progress("Justitia")
    progress.note({"event": "planned", "applications": [{"app_id": "a", "kind": "k"}]})
    progress.sample = lambda: Sample(0.5, 3, 4, 0, 0)
    assert "KV memory 50%, 3 calls running, 4 waiting" in progress.line()
