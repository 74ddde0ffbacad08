"""
A plain function, and an asynchronous one, under `@justitia.application(...)`.

Covers: the decorator, sync and async; the drop-in clients `OpenAI` and `AsyncOpenAI`.
Scenario: tickets are sorted one after another, each an application of two calls; then three
opinions on one ticket are asked for at once, and these are one application together.

    justitia serve --toy        # in another terminal
    python examples/decorator.py
"""

from __future__ import annotations

import asyncio
import os

import justitia_sdk as justitia

SERVER = {
    "base_url": os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1"),
    "api_key": os.environ.get("OPENAI_API_KEY", "none"),
}
MODEL = os.environ.get("OPENAI_MODEL", "toy")
TICKETS = ["The pump is loud.", "The display shows E2."]


@justitia.application("triage")
def triage(ticket: str, *, client: justitia.OpenAI) -> str:
    """Return an answer to *ticket*, written after a first look at it."""
    severity = ask(client, f"How severe is this? {ticket}", max_tokens=8)
    return ask(client, f"Severity: {severity}. Answer this ticket: {ticket}", max_tokens=24)


def ask(client: justitia.OpenAI, question: str, *, max_tokens: int) -> str:
    """Return the model's reply to *question*."""
    reply = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": question}], max_tokens=max_tokens
    )
    return reply.choices[0].message.content or ""


@justitia.application("second_opinions")
async def second_opinions(ticket: str, *, client: justitia.AsyncOpenAI) -> list[str]:
    """Return three opinions on *ticket*, asked for at the same time."""

    async def opinion(role: str) -> str:
        reply = await client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": f"As {role}, what of this? {ticket}"}],
            max_tokens=24,
        )
        return reply.choices[0].message.content or ""

    return await asyncio.gather(*map(opinion, ("an engineer", "a lawyer", "a customer")))


async def main() -> None:
    """Sort the tickets, then ask for opinions on the first."""
    with justitia.OpenAI(**SERVER) as client:
        answers = [triage(ticket, client=client) for ticket in TICKETS]
    print(f"triage: {len(answers)} applications of 2 calls")
    async with justitia.AsyncOpenAI(**SERVER) as client:
        opinions = await second_opinions(TICKETS[0], client=client)
    print(f"second_opinions: 1 application of {len(opinions)} calls")


if __name__ == "__main__":
    asyncio.run(main())
