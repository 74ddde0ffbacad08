"""What a user installs is what the tree holds: no file missing, none too many."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Where each folder of the tree lands in the wheel.
PACKAGES = {
    "justitia_sdk": "justitia_sdk",
    "integrations/justitia_integrations": "justitia_integrations",
    "server/justitia_server": "justitia_server",
    "examples/demo": "justitia_server/demo_client",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built from the tree."""
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT],
        check=True,
        capture_output=True,
    )
    return zipfile.ZipFile(next(out.glob("*.whl")))


def files_of_the_tree() -> set[str]:
    """Every file below the packages, under its name in the wheel."""
    return {
        f"{target}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, target in PACKAGES.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_wheel_holds_the_tree(wheel: zipfile.ZipFile) -> None:
    """Beside its own metadata the wheel's files are the tree's files."""
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == files_of_the_tree()


def test_packages_say_they_are_typed(wheel: zipfile.ZipFile) -> None:
    """All three packages carry py.typed."""
    typed = {name.partition("/")[0] for name in wheel.namelist() if name.endswith("/py.typed")}
    assert typed >= {"justitia_sdk", "justitia_integrations", "justitia_server"}


def test_wheel_registers_command_and_plugins(wheel: zipfile.ZipFile) -> None:
    """The console script and vLLM's two plugin groups point at our code."""
    name = next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    text = wheel.read(name).decode()
    assert "justitia = justitia_server.cli:main" in text
    assert "[vllm.general_plugins]" in text
    assert "[vllm.endpoint_plugins]" in text


def test_wheel_carries_the_licence(wheel: zipfile.ZipFile) -> None:
    """The licence travels with the code."""
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())
