"""
Follow a question through the documents in a loop of one's own, with asyncio and `AsyncOpenAI`.

Each turn the model thinks, two tools run side by side on what it wrote, and what they found is
added to the prompt, which grows. How many turns that takes is not known beforehand, so no plan is
declared: the server learns what this kind of application costs.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from corpus import best_paragraph
from lengths import exactly

import justitia_sdk as justitia

THOUGHT_TOKENS = 100


async def investigate(
    question: str, turns: int, *, client: justitia.AsyncOpenAI, model: str
) -> str:
    """Return what the model says of *question* after *turns* turns."""
    messages: list[Any] = [
        {"role": "system", "content": "Think about what to look up next."},
        {"role": "user", "content": question},
    ]
    async with justitia.application("tool_loop", input=question):
        for turn in range(turns):
            reply = await client.chat.completions.create(
                model=model, messages=messages, **exactly(THOUGHT_TOKENS)
            )
            thought = reply.choices[0].message.content or ""
            found, common = await asyncio.gather(
                look_up(f"{question} {thought}", turn), common_words(messages)
            )
            messages += [
                {"role": "assistant", "content": thought},
                {"role": "user", "content": f"Found:\n{found}\n\nSo far about: {common}"},
            ]
    return thought


async def look_up(query: str, turn: int) -> str:
    """Find a paragraph that has not been found in an earlier turn."""
    return await asyncio.to_thread(best_paragraph, query, skip=turn)


async def common_words(messages: list[Any]) -> str:
    """Name the words the conversation uses most."""
    words = " ".join(message["content"] for message in messages).lower().split()
    counted = Counter(word for word in words if len(word) > 6 and word.isascii())
    return ", ".join(word for word, _ in counted.most_common(5))
