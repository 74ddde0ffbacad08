"""
Test the SDK and the LangChain integration under the versions that users may have.

    python -m support.matrix            all rows
    python -m support.matrix py3.13     those whose name contains one of the words

Every Python meets every OpenAI client, and every LangChain meets every client it allows.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from support.environments import Environment, Result, attempt, say, table

PYTHONS = ("3.11", "3.12", "3.13")
OLDEST, LAST_OF_2, CURRENT = "2.25.0", "2.54.0", "3.54.0"  # openai
SHARED = ("langgraph==1.2.22", "langchain-tests==1.1.9")
FORMER = ("langchain-core==1.7.2", "langchain-openai==1.7.3", "langchain==1.4.7", *SHARED)
# langchain-core 1.8 asks for a certifi of its own week, which not every index has yet.
LATEST = ("langchain-core==1.8.2", "langchain-openai==1.7.4", "langchain==1.5.0")
WHAT = ("tests/unit/sdk", "tests/unit/integrations", "tests/integrations", "-m", "not live")


def rows() -> Iterator[tuple[str, str, bool | None]]:
    """Yield Python, OpenAI client, and whether LangChain is the latest; None: there is none."""
    for python in PYTHONS:
        yield python, OLDEST, None  # older than langchain-openai wants
        yield python, LAST_OF_2, False
        yield python, CURRENT, True
    yield PYTHONS[0], LAST_OF_2, True
    yield PYTHONS[0], CURRENT, False


def environment(python: str, client: str, is_latest: bool | None, path: str) -> Environment:
    """Return the environment of one row."""
    name = f"py{python}-openai{client}"
    requirements: tuple[str, ...] = (f"openai=={client}",)
    shown: tuple[str, ...] = ("openai",)
    if is_latest is not None:
        name += f"-{LATEST[0] if is_latest else FORMER[0]}".replace("langchain-core==", "core")
        requirements += FORMER
        shown += ("langchain-core", "langchain-openai")
    return Environment(name, requirements, shown, path, LATEST if is_latest else ())


def interpreter(python: str) -> str | None:
    """Return the path of such a Python, from PATH or pyenv, that can really be run."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    built = [str(path) for path in root.glob(f"versions/{python}.*/bin/python{python}")]
    for path in [*built, shutil.which(f"python{python}")]:
        if path and subprocess.run([path, "-m", "venv", "-h"], capture_output=True).returncode == 0:
            return path
    return None


def test(python: str, client: str, is_latest: bool | None) -> Result:
    """Return what the tests of one row come to."""
    path = interpreter(python)
    row = environment(python, client, is_latest, path or "")
    if path is None:
        return Result(row.name, trouble=f"there is no Python {python} here")
    return attempt(row, *WHAT)


def main(words: list[str]) -> int:
    """Test these rows, all if no words are given, and return how many are not well."""
    named = [(environment(*row, "").name, row) for row in rows()]
    chosen = [row for name, row in named if not words or any(word in name for word in words)]
    results = [test(*row) for row in chosen]
    say("done\n" + table(results))
    return sum(not each.is_good for each in results)


if __name__ == "__main__":
    try:
        sys.exit(min(main(sys.argv[1:]), 1))
    except KeyboardInterrupt:
        say("given up")
        sys.exit(130)
