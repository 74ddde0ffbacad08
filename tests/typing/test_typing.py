"""
What mypy strict says to a user: a file for each public name, checked against the built wheel.

The files beside this one are never run. Where they say ``type: ignore`` a mistake must be found:
mypy's strict mode complains of an ignore that nothing needs.
"""

from __future__ import annotations

import inspect
import os
import re
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import justitia_sdk

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
FILES = sorted(path.name for path in FOLDER.glob("*.py") if path != Path(__file__))


def file_of(name: str) -> str:
    """Return the file for a public name: no two names of one spelling but for capitals."""
    snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().replace("open_ai", "openai")
    return f"class_{snake}.py" if inspect.isclass(getattr(justitia_sdk, name)) else f"{snake}.py"


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's Python, with the wheel of this tree and the packages that are installed here."""
    home = tmp_path_factory.mktemp("user")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", home, ROOT]
    subprocess.run(build, check=True, capture_output=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home / "venv"], check=True)
    packages = next(home.glob("venv/lib/python*/site-packages"))
    zipfile.ZipFile(next(home.glob("*.whl"))).extractall(packages)
    # Behind its own, and only one level deep: the editable install of this tree stays outside.
    (packages / "others.pth").write_text("\n".join(site.getsitepackages()))
    return home / "venv" / "bin" / "python"


def test_every_public_name_has_a_file() -> None:
    """No name without a check, no check of a name that is gone."""
    assert sorted(map(file_of, justitia_sdk.__all__)) == FILES


def test_users_code_is_typed(user: Path, tmp_path: Path) -> None:
    """Right code passes mypy strict, wrong code does not."""
    checked = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--config-file", ""),
            *("--python-executable", str(user), "--cache-dir", str(tmp_path)),
            *(str(FOLDER / name) for name in FILES),
        ],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_wheel_is_what_is_checked(user: Path, tmp_path: Path) -> None:
    """The user's Python imports the wheel, not this tree."""
    code = "import justitia_sdk; print(justitia_sdk.__file__)"
    found = subprocess.run(
        [user, "-c", code],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.startswith(str(user.parents[1]))
