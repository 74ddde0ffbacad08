"""The pages on LangChain and LangGraph run as they stand."""

import re
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from justitia_integrations import langchain

DOCS = Path(__file__).parents[3] / "docs"


def run(name: str) -> None:
    """Run the page's blocks, one after the other, as one program."""
    page = DOCS / name
    names: dict[str, Any] = {"__name__": page.stem}
    try:
        for block in re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.M | re.S):
            exec(compile(block, page.name, "exec"), names)
    finally:
        langchain.uninstrument()
    for thread in threading.enumerate():
        if thread.name == "justitia-receipt":
            thread.join(5.0)


def test_langchain_page_runs(justitia_server: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Every call on the page is hinted, every application's end is told, and one is billed."""
    run("langchain.md")
    hints = justitia_server.hints
    assert len(hints) == len(justitia_server.calls)
    assert Counter(each.application.type for each in hints) == {
        "summary": 1,
        "contract_review": 5,
        "clause_check": 2,
        "contract_agent": 2,
    }
    assert sorted(justitia_server.finished()) == sorted(justitia_server.apps)
    assert len(justitia_server.apps) == 7
    said = capsys.readouterr().out
    assert said.startswith("└─ step 2  3 calls at once\n")
    assert "fair finish" in said


def test_langgraph_page_runs(justitia_server: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """What the page says of stages and plans is so."""
    run("langgraph.md")
    first = [each for each in justitia_server.hints if each.application.type == "contract_review"]
    assert Counter(each.call.stage for each in first) == {"check": 3, "report": 1}
    told = [[(each.name, each.calls) for each in hint.application.plan.stages] for hint in first]
    assert [dict(each)["check"] for each in told] == [3] * 4
    assert Counter(each.application.type for each in justitia_server.hints) == {
        "contract_review": 4,
        "urgent_review": 4,
        "mail": 1,
    }
    assert sorted(justitia_server.finished()) == sorted(justitia_server.apps)
    assert len(justitia_server.apps) == 3
    assert capsys.readouterr().out == "└─ report  1 call\n"
