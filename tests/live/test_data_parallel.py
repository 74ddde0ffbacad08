"""A live server with two engines: each serves some of an application's calls."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import httpx
import openai
import pytest
from support.server import LiveServer
from support.traffic import MODEL, forced, hints_header, prompt_of

pytestmark = pytest.mark.live

NUM_CALLS = 8


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with LiveServer("--data-parallel-size", "2") as server:
        yield server


async def send(api_url: str, app: str, num_calls: int) -> None:
    """Send calls at once, so that both engines have something to do."""
    async with openai.AsyncOpenAI(base_url=api_url, api_key="none") as client:
        calls = (
            client.chat.completions.create(
                model=MODEL,
                messages=prompt_of(20),
                extra_headers=hints_header(app, type="spread"),
                **forced(30),
            )
            for _ in range(num_calls)
        )
        await asyncio.gather(*calls)


def accounts(server: LiveServer, app: str) -> list[dict]:
    """Return what each engine shows of *app*."""
    told = httpx.get(f"{server.api_url}/applications").json()["data"]
    return [each for each in told if each["id"] == app]


def test_both_engines_keep_an_account_of_what_they_serve(server):
    """Between them they have all the calls, and the end reaches both."""
    asyncio.run(send(server.api_url, "both", NUM_CALLS))
    each = accounts(server, "both")
    assert {account["engine"] for account in each} == {0, 1}
    assert sum(account["calls"]["done"] for account in each) == NUM_CALLS
    httpx.post(f"{server.api_url}/applications/both/finish").raise_for_status()
    assert [account["state"] for account in accounts(server, "both")] == ["finished"] * 2


def test_an_announced_application_is_shown_where_it_is_served(server):
    """One call goes to one engine; the other knows the announcement only."""
    told = {"app": "one", "type": "spread", "plan": [{"name": "s", "calls": 1}]}
    assert httpx.post(f"{server.api_url}/applications", json=told).status_code == 201
    asyncio.run(send(server.api_url, "one", 1))
    assert {account["state"] for account in accounts(server, "one")} == {"announced", "idle"}
    shown = httpx.get(f"{server.api_url}/applications/one").json()
    assert (shown["state"], shown["calls"]["done"]) == ("idle", 1)
