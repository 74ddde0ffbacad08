"""
A LlamaIndex workflow that was there before Justitia: one line is added.

Covers: `justitia_integrations.llama_index.instrument()`, runs as applications, steps as stages.
Scenario: of each of two letters three readers say at once what they see in it, and an editor joins
their opinions; the server sees two applications of four calls.

    justitia serve --toy        # in another terminal
    python examples/llama_index_workflow.py
"""

import asyncio
import os

from llama_index.core.workflow import Event, StartEvent, StopEvent, Workflow, step
from llama_index.llms.openai_like import OpenAILike

from justitia_integrations import llama_index as justitia_llama_index

justitia_llama_index.instrument()  # added: every run is an application from here on
LLM = OpenAILike(
    api_base=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1"),
    api_key=os.environ.get("OPENAI_API_KEY", "none"),
    model=os.environ.get("OPENAI_MODEL", "toy"),
    is_chat_model=True,
    max_tokens=24,
)


class Opinions(Event):
    """What the readers said."""

    texts: list[str]


class Letter(Workflow):
    """Has a letter read by all readers at once, and their opinions joined."""

    @step
    async def read(self, ev: StartEvent) -> Opinions:
        """Ask all readers at once."""
        asked = [LLM.acomplete(f"As {who}: {ev.letter}") for who in ("lawyer", "cook", "child")]
        return Opinions(texts=[str(reply) for reply in await asyncio.gather(*asked)])

    @step
    async def edit(self, ev: Opinions) -> StopEvent:
        """Join what they said."""
        return StopEvent(result=str(await LLM.acomplete(f"In one word: {' '.join(ev.texts)}")))


async def main() -> None:
    """Have the letters read."""
    for letter in ("The pump is loud and I want my money back.", "Thank you for the new pump."):
        await Letter(timeout=120).run(letter=letter)
        print("Letter: 1 application of 4 calls")


if __name__ == "__main__":
    asyncio.run(main())
