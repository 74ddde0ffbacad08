"""
Virtual environments of their own for tests: frameworks and versions that exclude each other.

Each is a folder below ``.venvs`` and is kept until what it is made of changes; one that was not
finished is made again. Run by hand and by ``make``; no test needs it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".venvs"
TOOLS = ("hatchling", "hypothesis", "psutil", "pytest", "pytest-asyncio", "pytest-timeout")
PINS = ("requirements/dev.txt", "requirements/engine-cpu.txt")
OURS = ("openai>=2.25", "tenacity>=9")  # what the project itself asks for


@dataclass(frozen=True)
class Result:
    """
    What a run of tests came to.

    Attributes:
        name: Of the environment.
        versions: What was asked of it, as installed.
        passed, failed, skipped: Numbers of tests.
        took_s: Seconds for the tests alone.
        trouble: Why there are no numbers, if there are none.
    """

    name: str
    versions: str = ""
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    took_s: float = 0.0
    trouble: str = ""

    @property
    def is_good(self) -> bool:
        """Whether something was tested, and nothing failed."""
        return not self.trouble and not self.failed and self.passed > 0


@dataclass(frozen=True)
class Environment:
    """
    One virtual environment, with this project in it, editable.

    Attributes:
        name: Of its folder.
        requirements: Lines for pip.
        shown: Packages whose versions are worth telling.
        python: Its interpreter.
        forced: Lines for pip that are installed last, without what they ask for.
    """

    name: str
    requirements: tuple[str, ...]
    shown: tuple[str, ...]
    python: str = sys.executable
    forced: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Where it is."""
        return FOLDER / self.name

    @property
    def executable(self) -> str:
        """Its own interpreter."""
        return str(self.folder / "bin" / "python")

    def make(self) -> None:
        """
        Make it, unless it is there and nothing it is made of has changed.

        Raises:
            subprocess.CalledProcessError: Some of it cannot be installed; pip's words are printed.
        """
        lines = [*tool_pins(), *OURS, *self.requirements]
        wanted = "\n".join([self.python, *lines, *self.forced])
        stamp = self.folder / ".made-of"
        if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
            return
        say(f"{self.name}: making {self.folder.relative_to(ROOT)}")
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / ".gitignore").write_text("*\n", encoding="utf-8")
        shutil.rmtree(self.folder, ignore_errors=True)
        subprocess.run([self.python, "-m", "venv", self.folder], check=True)
        self._install(*lines)
        self._install("--no-deps", "--no-build-isolation", *self.forced, "--editable", str(ROOT))
        stamp.write_text(wanted, encoding="utf-8")

    def test(self, *what: str, variables: Mapping[str, str] | None = None) -> Result:
        """Run pytest there on *what*, relative to the root, and return what it came to."""
        report = self.folder / "report.xml"
        report.unlink(missing_ok=True)
        options = ["--quiet", "--disable-warnings", "-p", "no:cacheprovider"]
        say(f"{self.name}: testing {self.versions()}")
        subprocess.run(
            [self.executable, "-m", "pytest", *options, f"--junitxml={report}", *what],
            cwd=ROOT,
            env={**os.environ, **(variables or {})},
            check=False,
        )
        return self._read(report)

    def versions(self) -> str:
        """Return the versions worth telling: ``python 3.11.7, openai 3.52.0``."""
        code = (
            "import sys, platform, importlib.metadata as m;"
            "print(platform.python_version(), *map(m.version, sys.argv[1:]))"
        )
        done = subprocess.run(
            [self.executable, "-c", code, *self.shown], capture_output=True, text=True, check=True
        )
        pairs = zip(("python", *self.shown), done.stdout.split(), strict=True)
        return ", ".join(f"{name} {version}" for name, version in pairs)

    def _install(self, *words: str) -> None:
        quiet = ["--quiet", "--no-input", "--disable-pip-version-check"]
        command = [self.executable, "-m", "pip", "install", *quiet, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.stdout.write(done.stdout + done.stderr)  # pip tells a lot even when all is well
            done.check_returncode()

    def _read(self, report: Path) -> Result:
        if not report.exists():
            return Result(self.name, self.versions(), trouble="pytest did not come to its end")
        suite = ElementTree.parse(report).getroot()[0]
        count = {name: int(suite.attrib[name]) for name in ("tests", "skipped")}
        failed = int(suite.attrib["failures"]) + int(suite.attrib["errors"])
        passed = count["tests"] - failed - count["skipped"]
        took_s = float(suite.attrib["time"])
        return Result(self.name, self.versions(), passed, failed, count["skipped"], took_s)


def tool_pins() -> list[str]:
    """Return what tests need, in the versions of the main environment."""
    lines = [line for file in PINS for line in (ROOT / file).read_text("utf-8").splitlines()]
    pins = {line.partition("==")[0]: line for line in lines}
    return [pins[name] for name in TOOLS]


def attempt(environment: Environment, *what: str, **options: Mapping[str, str]) -> Result:
    """Make the environment and run the tests there; what cannot be made is a result, too."""
    try:
        environment.make()
    except subprocess.CalledProcessError as exc:
        return Result(environment.name, trouble=f"cannot be made: {exc.cmd[-1]}")
    return environment.test(*what, **options)


def table(results: Iterable[Result]) -> str:
    """Return the results as a table to read."""
    lines = [f"{'environment':<34}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}  with"]
    for each in results:
        numbers = f"{each.passed:>8}{each.failed:>8}{each.skipped:>9}{each.took_s:>9.1f}"
        lines.append(f"{each.name:<34}{numbers}  {each.trouble or each.versions}")
    return "\n".join(lines)


def say(line: str) -> None:
    """Tell the person who waits."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stdout.flush()
