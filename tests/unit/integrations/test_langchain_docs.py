"""The page on LangChain runs as it stands."""

import re
from pathlib import Path
from typing import Any


def test_langchain_page_runs(justitia_server: Any) -> None:
    """Every call on the page is hinted, and every application's end is told."""
    page = Path(__file__).parents[3] / "docs" / "langchain.md"
    names: dict[str, Any] = {"__name__": page.stem}
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.M | re.S):
        exec(compile(block, page.name, "exec"), names)
    types = [hints.application.type for hints in justitia_server.hints]
    assert types == ["contract_review", "contract_review", "contract_agent", "contract_review"]
    assert len(justitia_server.finished()) == 3
