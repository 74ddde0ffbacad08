"""The pages of the documentation run as they stand."""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]


def run_page(page: Path) -> dict[str, Any]:
    """Run the Python blocks of *page*, one after another, and return what they defined."""
    names: dict[str, Any] = {"__name__": page.stem}
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.M | re.S):
        exec(compile(block, page.name, "exec"), names)
    return names


def test_sdk_page_runs(justitia_server: Any) -> None:
    """Every call on the page is hinted, and every application's end is told."""
    run_page(ROOT / "docs" / "sdk.md")
    types = [hints.application.type for hints in justitia_server.hints]
    before = ["contract_summary", "triage", *["map_reduce"] * 4, "anything", "triage"]
    assert types == [*before, *["threads"] * 4, "pipeline"]
    assert len(justitia_server.finished()) == 7
