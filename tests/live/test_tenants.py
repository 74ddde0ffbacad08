"""With API keys each key is a tenant: its own applications, and its own share of the server."""

import asyncio

import httpx
import openai
import pytest
from support.server import SCARCE_KV, LiveServer
from support.traffic import MODEL, Shape, forced, hints_header, prompt_of, run_application

pytestmark = pytest.mark.live


def shown(server, key):
    """Return what *key* is shown: ids and output tokens."""
    headers = {"Authorization": f"Bearer {key}"}
    reply = httpx.get(f"{server.api_url}/applications", headers=headers, timeout=30)
    return [(each["id"], each["output_tokens"]) for each in reply.json()["data"]]


def test_two_keys_with_one_application_id_do_not_meet():
    """The same id under two keys is two applications; without a key nothing is shown."""
    with LiveServer("--api-key", "alpha", "beta") as server:
        for key, tokens in (("alpha", 3), ("beta", 5)):
            with openai.OpenAI(base_url=server.api_url, api_key=key, max_retries=0) as client:
                client.chat.completions.create(
                    model=MODEL,
                    messages=prompt_of(10),
                    extra_headers=hints_header("same-id"),
                    **forced(tokens),
                )
        assert shown(server, "alpha") == [("same-id", 3)]
        assert shown(server, "beta") == [("same-id", 5)]
        assert httpx.get(f"{server.api_url}/applications", timeout=30).status_code == 401


ALIKE = Shape(width=12, depth=1, prompt_words=180, output_tokens=150)


async def test_a_tenant_is_served_in_its_share_however_much_another_asks():
    """Ten applications of one key, then one just like them of another: it is among the first."""
    with LiveServer(*SCARCE_KV, "--api-key", "many", "one") as server:
        clients = [
            openai.AsyncOpenAI(base_url=server.api_url, api_key=key, max_retries=0)
            for key in ("many", "one")
        ]
        async with clients[0] as many, clients[1] as one:
            flood = [
                asyncio.create_task(run_application(many, f"many-{index}", ALIKE))
                for index in range(10)
            ]
            await asyncio.sleep(0.5)
            done = await run_application(one, "one", ALIKE)
            finishes = await asyncio.gather(*flood)
    assert sum(finish < done for finish in finishes) <= 3
