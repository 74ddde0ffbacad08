"""The same frameworks against a live Justitia server, whose own books say what arrived."""

from __future__ import annotations

import asyncio
import inspect
import json
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

import justitia_sdk as justitia
from integrations.framework import Framework

TEXT = "Is clause 7 valid?"
SETTLED_S = 10.0

pytestmark = pytest.mark.live


@pytest.fixture(autouse=True)
def _instrumented(framework: Framework) -> Iterator[None]:
    framework.integration.instrument()
    yield
    framework.integration.uninstrument()


def call(framework: Framework, way: str, *args: Any) -> str:
    answer = getattr(framework, way)(*args)
    return str(asyncio.run(answer) if inspect.iscoroutine(answer) else answer)


def applications(live_url: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{live_url}/v1/applications", timeout=10) as response:
        return list(json.load(response)["data"])


def settled(live_url: str, name: str) -> list[dict[str, Any]]:
    """Return the server's books of the applications of this name, once they are finished."""
    deadline = time.monotonic() + SETTLED_S
    while True:
        found = [each for each in applications(live_url) if each["type"] == name]
        if found and all(each["state"] == "finished" for each in found):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Return a kind of application that no other test and no earlier run has used."""
    return f"{request.node.name}-{time.time_ns()}"


def test_calls_are_one_application(
    framework: Framework, way: str, live_url: str, name: str
) -> None:
    """Two calls of a scope are two calls of one application, which ends with it."""
    with justitia.application(name):
        for _ in range(2):
            call(framework, way, TEXT)
    (books,) = settled(live_url, name)
    assert books["calls"]["done"] == 2
    assert books["calls"]["late"] == books["calls"]["aborted"] == 0


@pytest.mark.needs("fan_out")
def test_fan_out_is_one_application(framework: Framework, live_url: str, name: str) -> None:
    """Calls made at once are calls of one application."""
    with justitia.application(name):
        assert len(framework.fan_out(4)) == 4
    (books,) = settled(live_url, name)
    assert books["calls"]["done"] == 4


@pytest.mark.needs("makes_do_with_noise")
def test_every_run_is_an_application(
    framework: Framework, run: str, live_url: str, name: str
) -> None:
    """Two runs of `application(agent)` are two applications, of at least one call each."""
    agent = framework.integration.application(framework.agent(), name)
    for _ in range(2):
        call(framework, run, agent, TEXT)
    books = settled(live_url, name)
    assert len(books) == 2
    assert all(each["calls"]["done"] >= 1 for each in books)
