"""With API keys each key is a tenant, which sees and ends only its own applications."""

import httpx
import openai
import pytest
from support.server import LiveServer
from support.traffic import MODEL, forced, hints_header, prompt_of

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
