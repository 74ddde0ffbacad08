"""A framework that is not installed costs one clear sentence, which says what to install."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "integrations" / "justitia_integrations"
MODULES = {path.stem: path for path in sorted(FOLDER.glob("[!_]*.py"))}

WITHOUT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {package!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
try:
    import justitia_integrations.{module}
except ImportError as exc:
    print(exc)
"""


def guarded(path: Path) -> Iterator[str]:
    """Yield the foreign packages that the module imports under guard."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Try):
            for line in node.body:
                if isinstance(line, ast.ImportFrom) and line.level == 0:
                    yield str(line.module).partition(".")[0]
                elif isinstance(line, ast.Import):
                    yield from (alias.name.partition(".")[0] for alias in line.names)


CASES = [
    (module, package) for module, path in MODULES.items() for package in sorted(set(guarded(path)))
]


@pytest.mark.parametrize(("module", "package"), CASES)
def test_missing_framework_is_one_sentence(module: str, package: str) -> None:
    """The sentence names the extra, and nothing else is raised."""
    code = WITHOUT.format(module=module, package=package)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    extra = f"pip install justitia-sdk[{module.replace('_', '-')}]"
    assert done.stdout.count("\n") == 1
    assert extra in done.stdout
    assert done.stdout.count(". ") == 0


@pytest.mark.parametrize("module", MODULES)
def test_every_integration_guards_its_framework(module: str) -> None:
    """There is something to miss."""
    assert set(guarded(MODULES[module]))


@pytest.mark.parametrize("module", MODULES)
def test_every_integration_has_its_extra(module: str) -> None:
    """What the sentence tells to install can be installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["optional-dependencies"][module.replace("_", "-")]


@pytest.mark.parametrize("module", MODULES)
def test_every_integration_is_under_contract(module: str) -> None:
    """A module without a file of contract tests is not finished."""
    assert (Path(__file__).parent / "frameworks" / f"{module}.py").exists()
