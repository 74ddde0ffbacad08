"""What `import justitia_sdk` shows, costs and pulls in."""

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import justitia_sdk
from justitia_sdk import errors

LIGHT = """
import sys, time
start = time.process_time()  # what the import costs, whatever else the machine is doing
import justitia_sdk
seconds = time.process_time() - start
heavy = {"torch", "vllm", "langchain_core", "openai", "httpx", "httpx2", "tenacity"}
print(seconds, *sorted(heavy & set(sys.modules)))
"""


def test_all_is_sorted_and_exists() -> None:
    """Every promised name is there, in order."""
    assert justitia_sdk.__all__ == sorted(justitia_sdk.__all__)
    assert all(getattr(justitia_sdk, name) is not None for name in justitia_sdk.__all__)


def test_nothing_else_is_visible() -> None:
    """The names the package defines are those it promises."""
    eager = {
        name
        for name, value in vars(justitia_sdk).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    } - {"Any", "TYPE_CHECKING"}
    assert eager | {"AsyncOpenAI", "OpenAI", "errors"} == set(justitia_sdk.__all__)


def test_version_comes_from_metadata() -> None:
    """The version is that of the installed distribution."""
    assert re.match(r"\d+\.\d+", justitia_sdk.__version__)


def test_unknown_name_is_an_attribute_error() -> None:
    """A misspelt name fails as in any module."""
    with pytest.raises(AttributeError, match="OpenIA"):
        _ = justitia_sdk.OpenIA


def test_import_is_light(tmp_path: Path) -> None:
    """It takes under 100 ms, compiled as it is installed; no client, framework or engine comes."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    runs = [
        subprocess.run(
            [sys.executable, "-c", LIGHT],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        ).stdout.split()
        for _ in range(4)  # the first one compiles
    ]
    assert all(heavy == [] for _, *heavy in runs)
    assert min(float(seconds) for seconds, *_ in runs) < 0.1


def test_error_tree_is_as_drawn() -> None:
    """The drawing in the docstring of `errors` shows the classes, and nothing else."""
    drawn: dict[str, str] = {}
    above: dict[int, str] = {}  # depth -> the last name drawn there
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"    ([\s│├└─]*)(\w+)", line):
            depth = len(match[1]) // 3
            drawn[match[2]] = above[depth - 1] if depth else "Exception"
            above[depth] = match[2]
    classes = {name: cls for name, cls in vars(errors).items() if inspect.isclass(cls)}
    assert drawn == {name: cls.__bases__[0].__name__ for name, cls in classes.items()}
