"""A live server with two API processes: each takes some of the calls, and one engine serves all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
from support.kept import num_examples
from support.server import LiveServer
from support.traffic import MODEL, forced, hints_header, prompt_of

pytestmark = pytest.mark.live

NUM_APPLICATIONS = 24
NUM_CALLS = 4  # at once, each over a connection of its own, and then the last
LIMIT_S = 60.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("predictor")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[LiveServer]:
    """A server at which applications have ended whose calls went to both processes."""
    with LiveServer("--api-server-count", "2", "--predictor", str(folder)) as server:
        asyncio.run(send(server.api_url))
        yield server


async def send(api_url: str) -> None:
    for number in range(NUM_APPLICATIONS):
        await asyncio.gather(*(call(api_url, number) for _ in range(NUM_CALLS)))
        await call(api_url, number, last=True)


async def call(api_url: str, number: int, *, last: bool = False) -> None:
    async with openai.AsyncOpenAI(base_url=api_url, api_key="none") as client:
        await client.chat.completions.create(
            model=MODEL,
            messages=prompt_of(20),
            extra_headers=hints_header(f"app-{number}", type="spread", last=last),
            **forced(8),
        )


def test_calls_of_both_are_one_application(server):
    """Whichever process is asked shows all of its calls."""
    for _ in range(6):
        told = httpx.get(f"{server.api_url}/applications/app-3").json()
        assert told["calls"]["done"] == NUM_CALLS + 1
        assert told["state"] == "finished"


def test_an_application_is_one_example(server, folder):
    """Both have seen calls of it; only the one that predicted it keeps it."""
    until = time.monotonic() + LIMIT_S
    while num_examples(folder) < NUM_APPLICATIONS:
        assert time.monotonic() < until, server.log()[-3000:]
        time.sleep(0.2)
    time.sleep(2.5)  # both have asked again by now, and written what they had
    assert num_examples(folder) == NUM_APPLICATIONS
    predicted = figure(server, 'justitia_predictions_total{source="prior"}')
    assert predicted + figure(server, 'justitia_predictions_total{source="type"}') > (
        NUM_APPLICATIONS
    ), "calls were not spread over both processes"


def test_what_all_processes_see_alike_is_one_figure(server):
    """Not one a process, and the same whoever is asked."""
    finished = 'justitia_scheduler{engine="0",figure="num_finished"}'
    assert {figure(server, finished) for _ in range(6)} == {NUM_APPLICATIONS}


def figure(server: LiveServer, name: str) -> float:
    """Return the metric called *name*, labels and all; 0 if it is not there."""
    for line in httpx.get(f"{server.base_url}/metrics").text.splitlines():
        if line.startswith(f"{name} "):
            return float(line.split()[-1])
    return 0.0
