"""Imports point down: every file sits on a floor and imports only from its own floor or below."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = {
    "justitia_sdk": ROOT / "justitia_sdk",
    "justitia_integrations": ROOT / "integrations" / "justitia_integrations",
    "justitia_server": ROOT / "server" / "justitia_server",
}

# The one table: for a module (the longest prefix counts), the parts of ours it may import.
# A part is always open to itself.
MAY_IMPORT: dict[str, set[str]] = {
    "justitia_sdk.errors": set(),
    "justitia_sdk.checks": {"justitia_sdk.errors"},
    "justitia_sdk.plan": {"justitia_sdk.checks", "justitia_sdk.errors"},
    "justitia_sdk.protocol": {"@contract"},
    "justitia_sdk": {"justitia_sdk"},
    "justitia_integrations": {"justitia_sdk"},
    "justitia_server.fairness": {"@contract"},
    "justitia_server.prediction": {"@contract", "justitia_server.fairness"},
    "justitia_server.engine": {"@contract", "justitia_server.fairness"},
    "justitia_server.api": {"@contract", "@rooms"},
    "justitia_server.simulation": {"@contract", "@rooms"},
    "justitia_server.toy": {"@contract"},
    "justitia_server.serve": {"@contract", "@rooms", "justitia_server.api", "justitia_server.toy"},
    # The demo is an application like any other: it uses the public SDK, from outside.
    "justitia_server.demo": {"justitia_sdk", "justitia_integrations", "justitia_server"},
    # So is a bench, which brings its own load.
    "justitia_server.bench": {"justitia_sdk", "justitia_server"},
    "justitia_server.cli": {"@contract", "justitia_server"},
    "justitia_server": {"@contract"},
}
GROUPS = {
    "@contract": {
        "justitia_sdk.checks",
        "justitia_sdk.errors",
        "justitia_sdk.plan",
        "justitia_sdk.protocol",
    },
    "@rooms": {
        "justitia_server.fairness",
        "justitia_server.prediction",
        "justitia_server.engine",
    },
}

# Foreign packages and the parts that alone may import them.
FOREIGN = {
    "vllm": (
        "justitia_server.engine",
        "justitia_server.api",
        "justitia_server.serve",
        "justitia_server.simulation",
    ),
    "torch": (
        "justitia_server.prediction",
        "justitia_server.engine",
        "justitia_server.toy",
    ),
    "langchain_core": ("justitia_integrations", "justitia_server.demo"),
    "langchain_openai": ("justitia_integrations", "justitia_server.demo"),
}
# Packages of a framework, by the beginning of the name of our modules for it.
LANGCHAIN = {"langchain", "langchain_core", "langchain_openai", "langgraph"}
FRAMEWORKS = {
    "langchain": LANGCHAIN,
    "langgraph": LANGCHAIN,
    "openai_agents": {"agents"},
    "pydantic_ai": {"pydantic_ai"},
    "llama_index": {"llama_index", "llama_index_instrumentation", "workflows"},
    "crewai": {"crewai"},
    "dspy": {"dspy"},
    "litellm": {"litellm"},
}
SHARED = {"_adapter", "_wire"}
BUILDS_ON = {"langgraph": {"_langchain"}, "dspy": {"litellm"}}
NOBODY = ("server", "integrations", "examples", "tests")


def module_name(top: str, path: Path) -> str:
    parts = [top, *path.relative_to(SOURCES[top]).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {
    module_name(top, path): path
    for top, folder in SOURCES.items()
    for path in sorted(folder.rglob("*.py"))
}


def within(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}.")


def part_of(module: str) -> str:
    return max((part for part in MAY_IMPORT if within(module, part)), key=len)


def imports(module: str, path: Path) -> set[str]:
    """Every module name *path* imports, at the top or inside a function."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            prefix = ".".join(above) if node.level else ""
            base = ".".join(filter(None, [prefix, node.module]))
            # `from package import module` names a module of ours when there is such a file.
            ours = {f"{base}.{alias.name}" for alias in node.names} & FILES.keys()
            plain = any(f"{base}.{alias.name}" not in ours for alias in node.names)
            found |= ours | ({base} if plain else set())
    return found


def allowed(module: str) -> set[str]:
    part = part_of(module)
    entries = {part} | MAY_IMPORT[part]
    return set().union(*(GROUPS.get(entry, {entry}) for entry in entries))


@pytest.mark.parametrize("module", sorted(FILES))
def test_imports_point_down(module: str) -> None:
    """No file imports from a floor above its own, from a tree path, or from tests."""
    for name in imports(module, FILES[module]):
        assert name.partition(".")[0] not in NOBODY, f"{module} imports {name}"
        if name.partition(".")[0] in SOURCES:
            # Only a part's own name is special: everything else of ours must be allowed.
            assert any(within(name, part) for part in allowed(module)), f"{module} imports {name}"


@pytest.mark.parametrize("module", sorted(FILES))
def test_foreign_packages_stay_in_their_rooms(module: str) -> None:
    """vLLM, torch and the frameworks are imported only where the table says."""
    tops = {name.partition(".")[0] for name in imports(module, FILES[module])}
    for package, rooms in FOREIGN.items():
        if package in tops:
            assert any(within(module, room) for room in rooms), f"{module} imports {package}"


@pytest.mark.parametrize(
    "module", sorted(module for module in FILES if module.startswith("justitia_integrations."))
)
def test_one_framework_a_file(module: str) -> None:
    """An integration imports its own framework, and no integration but one it builds upon."""
    name = module.split(".")[1]
    family = next((own for own in FRAMEWORKS if name.lstrip("_").startswith(own)), None)
    may = FRAMEWORKS[family] if family else set()
    found = imports(module, FILES[module])
    packages = {each.partition(".")[0] for each in found}
    assert packages & set().union(*FRAMEWORKS.values()) <= may
    others = {each.split(".")[1] for each in found if each.startswith("justitia_integrations.")}
    shared = {each for each in others if each in SHARED or (family and family in each)}
    assert others - shared <= BUILDS_ON.get(name, set())


def test_every_part_is_on_the_table_and_every_row_is_used() -> None:
    """A new room of the server needs a row; a row without a file is stale."""
    rooms = {
        f"justitia_server.{path.name}"
        for path in SOURCES["justitia_server"].iterdir()
        if path.is_dir() and any(path.glob("*.py"))
    }
    assert rooms <= MAY_IMPORT.keys()


@pytest.mark.parametrize(
    "module",
    [
        "justitia_sdk",
        "justitia_sdk.errors",
        "justitia_sdk.protocol",
        "justitia_server.fairness",
        "justitia_server.fairness.ledger",
        "justitia_server.cli",
    ],
)
def test_pure_modules_are_light(module: str) -> None:
    """A fresh interpreter that imports a pure module has loaded nothing heavy."""
    code = (
        f"import sys, {module}\n"
        "heavy = ['vllm', 'torch', 'transformers', 'openai', 'httpx', 'langchain_core']\n"
        "print(*[name for name in heavy if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_installed_names_hide_no_folder() -> None:
    """`server` and `integrations` are folders, not packages."""
    assert not (ROOT / "server" / "__init__.py").exists()
    assert not (ROOT / "integrations" / "__init__.py").exists()
