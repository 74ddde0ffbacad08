"""The examples, run as a user would run them, against a live server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from support.server import LiveServer

EXAMPLES = Path(__file__).parents[2] / "examples"


def run_example(name: str, server: LiveServer) -> str:
    """Run one example and return what it printed."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name)],
        env={**os.environ, "OPENAI_BASE_URL": f"{server.base_url}/v1", "OPENAI_API_KEY": "none"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def applications_of(server: LiveServer, kind: str) -> list[dict[str, Any]]:
    """Return what the server lists of the applications of one type."""
    with urllib.request.urlopen(f"{server.base_url}/v1/applications", timeout=30) as response:
        return [item for item in json.load(response)["data"] if item["type"] == kind]


def application_id(printed: str) -> str:
    match = re.search(r"application (\w{26})", printed)
    assert match is not None, printed
    return match[1]


def test_context_manager(server: LiveServer) -> None:
    """Four calls of a chain are one application, predicted from its plan."""
    printed = run_example("context_manager.py", server)
    assert "3 chapter summaries, then one" in printed
    [seen] = [
        item
        for item in applications_of(server, "book_summary")
        if item["id"] == application_id(printed)
    ]
    assert seen["calls"]["done"] == 4


def test_decorator(server: LiveServer) -> None:
    """Every call of a decorated function is an application of its own."""
    before = len(applications_of(server, "triage"))
    printed = run_example("decorator.py", server)
    assert printed.splitlines() == [
        "triage: 2 applications of 2 calls",
        "second_opinions: 1 application of 3 calls",
    ]
    assert len(applications_of(server, "triage")) == before + 2
    assert applications_of(server, "second_opinions")[0]["calls"]["done"] == 3


def test_existing_agent(server: LiveServer) -> None:
    """An unmodified agent's calls all belong to one application."""
    printed = run_example("existing_agent.py", server)
    [seen] = [
        item
        for item in applications_of(server, "arithmetic")
        if item["id"] == application_id(printed)
    ]
    assert printed.strip().endswith(f"calls: {seen['calls']['done']}")
    assert seen["calls"]["done"] >= 2


def test_langchain_agent(server: LiveServer) -> None:
    """Two runs of an agent are two applications, and the server tells what each took."""
    before = len(applications_of(server, "clerk"))
    printed = run_example("langchain_agent.py", server)
    assert len(re.findall(r"^application clerk \w{26} \(finished\)$", printed, re.M)) == 2
    assert len(applications_of(server, "clerk")) == before + 2


def test_langgraph_graph(server: LiveServer) -> None:
    """The plan shows the fan-out that was found, and the calls are of its stages."""
    printed = run_example("langgraph_graph.py", server)
    assert printed.splitlines()[1:] == ["├─ check  3 calls at once", "└─ report  1 call"]
    [seen] = [
        item
        for item in applications_of(server, "contract_review")
        if item["id"] == application_id(printed)
    ]
    assert (seen["calls"]["done"], seen["stage"]) == (4, "report")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_examples_say_what_they_cover(path: Path) -> None:
    """A reader learns from the first lines what an example shows and what happens in it."""
    text = path.read_text(encoding="utf-8")
    assert "\nCovers: " in text
    assert "\nScenario: " in text
