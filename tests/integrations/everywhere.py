"""
Test each framework in an environment of its own, against one live server.

    python -m integrations.everywhere             all of requirements/integrations
    python -m integrations.everywhere crewai dspy some
    python -m integrations.everywhere --oldest    in the oldest versions that may be installed
"""

from __future__ import annotations

import re
import sys
import tomllib

from support.environments import ROOT, Environment, Result, attempt, say, table
from support.server import LiveServer

REQUIREMENTS = ROOT / "requirements" / "integrations"
OLDEST = "--oldest"


def environment(name: str, *, is_oldest: bool) -> Environment:
    """Return the environment of one framework."""
    extra = name.replace("_", "-")
    pins = oldest(extra, pinned(name)) if is_oldest else pinned(name)
    its_own = [name for name in map(package_of, pins) if name.startswith(extra)]
    folder = f"{name}-oldest" if is_oldest else name
    return Environment(folder, pins, tuple(dict.fromkeys([*its_own, "openai"])))


def pinned(name: str) -> tuple[str, ...]:
    """Return the versions that are tested day by day."""
    lines = (REQUIREMENTS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if line and not line.startswith("#"))


def oldest(extra: str, pins: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of *pins* that the extra names, in the oldest versions it allows."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = project["optional-dependencies"].get(extra, project["dependencies"])
    least = {package_of(line): line.partition(">=")[2] for line in lines}
    named = [pin for pin in pins if package_of(pin) in least]
    return tuple(f"{pin.partition('==')[0]}=={least[package_of(pin)]}" for pin in named)


def package_of(line: str) -> str:
    """Return the package that a line for pip names."""
    return re.split(r"[\[=<>~! ]", line)[0]


def tests_of(name: str) -> list[str]:
    """Return what is tested: the contract, and the framework's own tests."""
    own = sorted((ROOT / "tests" / "unit" / "integrations").glob(f"test_{name}*.py"))
    return ["tests/integrations", *map(str, own)]


def test(name: str, server: LiveServer, *, is_oldest: bool) -> Result:
    """Return what the tests of one framework come to."""
    variables = {"JUSTITIA_FRAMEWORKS": name, "JUSTITIA_TEST_SERVER": server.base_url}
    where = environment(name, is_oldest=is_oldest)
    return attempt(where, *tests_of(name), variables=variables)


def main(words: list[str]) -> int:
    """Test these frameworks, all if none is named, and return how many are not well."""
    names = [word for word in words if word != OLDEST]
    known = sorted(path.stem for path in REQUIREMENTS.glob("*.txt"))
    if unknown := sorted(set(names) - set(known)):
        say(f"no requirements for {', '.join(unknown)}; there are: {', '.join(known)}")
        return 2
    say("starting the live server")
    with LiveServer("--policy", "justitia") as server:
        results = [test(name, server, is_oldest=OLDEST in words) for name in names or known]
    say("done\n" + table(results))
    return sum(not each.is_good for each in results)


if __name__ == "__main__":
    try:
        sys.exit(min(main(sys.argv[1:]), 1))
    except KeyboardInterrupt:
        say("given up")
        sys.exit(130)
