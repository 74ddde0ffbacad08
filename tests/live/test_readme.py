"""What the README tells people to run, runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.traffic import Applications

README = Path(__file__).resolve().parents[2] / "README.md"
BLOCKS = re.findall(r"<!-- run -->\n```python\n(.*?)```", README.read_text(), re.DOTALL)


def test_the_three_ways_in_are_shown():
    """A context manager, a decorator, one line."""
    assert len(BLOCKS) == 3


@pytest.mark.parametrize("code", BLOCKS, ids=["context-manager", "decorator", "instrument"])
def test_code_of_the_readme_runs(server, code):
    """As it stands, against a live server, which then shows a finished application."""
    name = re.search(r'application\(\s*"(\w+)"', code).group(1)
    environment = {**os.environ, "OPENAI_BASE_URL": server.api_url, "OPENAI_API_KEY": "none"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=120)
    applications = Applications(server.api_url)

    def is_finished(server):
        states = {each["state"] for each in server.list() if each["type"] == name}
        return states == {"finished"}  # the examples run applications of the same name

    applications.wait_for(is_finished)


def test_the_readmes_commands_exist():
    """`make demo` and `make test` are verbs of the Makefile."""
    makefile = (README.parent / "Makefile").read_text()
    for verb in re.findall(r"^make (\w+)$", README.read_text(), re.MULTILINE):
        assert re.search(rf"^{verb}:", makefile, re.MULTILINE)
