"""
Test each framework in an environment of its own, against one live server.

    python -m integrations.everywhere             all of requirements/integrations
    python -m integrations.everywhere crewai dspy some
"""

from __future__ import annotations

import re
import sys

from support.environments import ROOT, Environment, Result, attempt, say, table
from support.server import LiveServer

REQUIREMENTS = ROOT / "requirements" / "integrations"


def environment(name: str) -> Environment:
    """Return the environment of one framework."""
    lines = (REQUIREMENTS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    pins = tuple(line for line in lines if line and not line.startswith("#"))
    packages = [re.split(r"[\[=<>~! ]", pin)[0] for pin in pins]
    its_own = [each for each in packages if each.startswith(name.replace("_", "-"))]
    return Environment(name, pins, tuple(dict.fromkeys([*its_own, "openai"])))


def tests_of(name: str) -> list[str]:
    """Return what is tested: the contract, and the framework's own tests."""
    own = sorted((ROOT / "tests" / "unit" / "integrations").glob(f"test_{name}*.py"))
    return ["tests/integrations", *map(str, own)]


def test(name: str, server: LiveServer) -> Result:
    """Return what the tests of one framework come to."""
    variables = {"JUSTITIA_FRAMEWORKS": name, "JUSTITIA_TEST_SERVER": server.base_url}
    return attempt(environment(name), *tests_of(name), variables=variables)


def main(names: list[str]) -> int:
    """Test these frameworks, all if none is named, and return how many are not well."""
    known = sorted(path.stem for path in REQUIREMENTS.glob("*.txt"))
    if unknown := sorted(set(names) - set(known)):
        say(f"no requirements for {', '.join(unknown)}; there are: {', '.join(known)}")
        return 2
    say("starting the live server")
    with LiveServer("--policy", "justitia") as server:
        results = [test(name, server) for name in names or known]
    say("done\n" + table(results))
    return sum(not each.is_good for each in results)


if __name__ == "__main__":
    try:
        sys.exit(min(main(sys.argv[1:]), 1))
    except KeyboardInterrupt:
        say("given up")
        sys.exit(130)
