"""
Calls by LiteLLM, to one server by both of its ways: its own HTTP handler, and OpenAI's client.

Covers: `justitia_integrations.litellm.instrument()`; a scope, a stage announced; batches.
Scenario: of each of two tickets it is settled first how urgent it is, then three people say at once
what they think of it; the server sees two applications of four calls.

    justitia serve --toy        # in another terminal
    python examples/litellm_calls.py
"""

import os

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # it asks the internet otherwise

import litellm

import justitia_sdk as justitia
from justitia_integrations import litellm as justitia_litellm

justitia_litellm.instrument()

MODEL = os.environ.get("OPENAI_MODEL", "toy")
SERVER = {
    "api_base": os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1"),
    "api_key": os.environ.get("OPENAI_API_KEY", "none"),
}
TICKETS = ["The pump is loud and hot.", "I paid invoice 17 twice."]
ROLES = ("an engineer", "a lawyer", "a customer")
URGENCY = {"name": "urgency", "schema": {"enum": ["low", "high"]}}


def asked(text: str) -> list[dict[str, str]]:
    """Return the messages of a call that says *text*."""
    return [{"role": "user", "content": text}]


def judge(ticket: str) -> tuple[str, int]:
    """Return how urgent a ticket is, and how many people have an opinion on it."""
    with justitia.application("ticket", input=ticket) as app:
        reply = litellm.completion(
            f"hosted_vllm/{MODEL}",
            asked(f"How urgent is this? {ticket}"),
            response_format={"type": "json_schema", "json_schema": URGENCY},
            **SERVER,
        )
        with app.stage("opinions", calls=len(ROLES)):
            texts = [asked(f"As {role}, what of this? {ticket}") for role in ROLES]
            opinions = litellm.batch_completion(f"openai/{MODEL}", texts, max_tokens=24, **SERVER)
    return reply.choices[0].message.content, len(opinions)


if __name__ == "__main__":
    for ticket in TICKETS:
        urgency, num_opinions = judge(ticket)
        print(f"ticket: 1 application of {1 + num_opinions} calls; urgency {urgency}")
