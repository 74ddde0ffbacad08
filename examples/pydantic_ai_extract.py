"""
Facts drawn from letters, as typed objects, with PydanticAI.

Covers: `pydantic_ai.instrument()` and `pydantic_ai.application(agent)`; structured output.
Scenario: four letters are read at once, each an application of its own; the summons counts twice as
much as the others.

    justitia serve --toy        # in another terminal
    python examples/pydantic_ai_extract.py
"""

from __future__ import annotations

import asyncio
import os
from typing import Literal

from openai import AsyncOpenAI
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from justitia_integrations import pydantic_ai

LETTERS = ["Pay 20 francs by May.", "The fence stands on our land.", "Your order has come."]
SUMMONS = "You are to appear in court on 3 June."


class Facts(BaseModel):
    """What matters in a letter."""

    about: Literal["money", "land", "goods", "law"]
    needs_answer: bool


async def main() -> None:
    """Read all letters at the same time."""
    pydantic_ai.instrument()
    async with AsyncOpenAI(
        base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1"),
        api_key=os.environ.get("OPENAI_API_KEY", "none"),
    ) as client:
        provider = OpenAIProvider(openai_client=client)
        model = OpenAIChatModel(os.environ.get("OPENAI_MODEL", "toy"), provider=provider)
        reader = Agent(model, name="letter", output_type=NativeOutput(Facts))
        urgent = pydantic_ai.application(reader, "court_letter", weight=2.0)
        runs = [urgent.run(SUMMONS), *(reader.run(letter) for letter in LETTERS)]
        for letter, result in zip([SUMMONS, *LETTERS], await asyncio.gather(*runs), strict=True):
            print(f"{letter} → {result.output}")


if __name__ == "__main__":
    asyncio.run(main())
