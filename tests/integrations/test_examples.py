"""Examples that need an environment of their own, run as a user would run them."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
# Of each: the package it needs, and type, number and calls of its applications.
RUNS = {
    "crewai_crew.py": ("crewai", "mail_room", 2, 3),
    "llama_index_workflow.py": ("llama_index", "Letter", 2, 4),
}
QUIET = {"CREWAI_DISABLE_TELEMETRY": "true", "OTEL_SDK_DISABLED": "true", "CREWAI_TESTING": "true"}


@pytest.mark.live
@pytest.mark.parametrize("name", [name for name in RUNS if importlib.util.find_spec(RUNS[name][0])])
def test_example_runs(live_url: str, name: str) -> None:
    """The server's books say what it was, and that it has ended."""
    _, app_type, number, calls = RUNS[name]
    before = ids(live_url, app_type)
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name)],
        env={**os.environ, **QUIET},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    assert f"{calls} calls" in done.stdout
    new = {app_id: seen for app_id, seen in ids(live_url, app_type).items() if app_id not in before}
    assert list(new.values()) == [("finished", calls)] * number


def ids(live_url: str, app_type: str) -> dict[str, tuple[str, int]]:
    """Return state and calls of the applications of that type."""
    with urllib.request.urlopen(f"{live_url}/v1/applications", timeout=10) as response:
        found = json.load(response)["data"]
    return {
        each["id"]: (each["state"], each["calls"]["done"])
        for each in found
        if each["type"] == app_type
    }
