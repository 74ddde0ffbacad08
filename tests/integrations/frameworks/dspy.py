"""DSPy: a plain module and a `ReAct` agent, by LiteLLM, as `OPENAI_BASE_URL` is set."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # asks the internet otherwise

import dspy

from integrations.framework import ANSWER, ASKED_FOR, Framework, Message, look

dspy.configure_cache(enable_disk_cache=False)


def model(**options: Any) -> dspy.LM:
    """Return a model that is not tried again and remembers nothing."""
    return dspy.LM("openai/toy", **{"max_tokens": 16, "num_retries": 0, "cache": False, **options})


def fields(**values: str) -> Message:
    """Return the answer of a model that fills in the fields of a signature."""
    lines = [f"[[ ## {name} ## ]]\n{value}" for name, value in values.items()]
    return {"role": "assistant", "content": "\n\n".join([*lines, "[[ ## completed ## ]]"])}


class Ask(dspy.Module):  # type: ignore[misc]
    """The plainest of programs."""

    def forward(self, text: str) -> dspy.Prediction:
        return dspy.Prediction(answer=dspy.settings.lm(text)[0])

    async def aforward(self, text: str) -> dspy.Prediction:
        return dspy.Prediction(answer=(await dspy.settings.lm.acall(text))[0])


class DSPy(Framework):
    name = "dspy"
    failure = dspy.LMServerError
    agent_type = "ReAct: question -> answer"
    agent_replies = (
        fields(
            next_thought="look",
            next_tool_name="look",
            next_tool_args=f'{{"what": "{ASKED_FOR}"}}',
        ),
        fields(next_thought="done", next_tool_name="finish", next_tool_args="{}"),
        fields(reasoning="seen", answer=ANSWER),
    )
    makes_do_with_noise = False  # a model of noise fills in no fields

    def ask(self, text: str) -> str:
        return str(model(cache=self.is_caching)(text)[0])

    async def aask(self, text: str) -> str:
        return str((await model().acall(text))[0])

    def stream(self, text: str) -> str:
        with dspy.context(lm=model()):
            parts = list(dspy.streamify(Ask(), async_streaming=False)(text))
        return "".join(text_of(part) for part in parts)

    async def astream(self, text: str) -> str:
        with dspy.context(lm=model()):
            parts = dspy.streamify(Ask(), is_async_program=True)(text)
            return "".join([text_of(part) async for part in parts])

    def fan_out(self, num_calls: int) -> list[str]:
        parallel = dspy.Parallel(num_threads=num_calls, disable_progress_bar=True)
        with dspy.context(lm=model()):
            return [each.answer for each in parallel([(Ask(), {"text": "hi"})] * num_calls)]

    def agent(self) -> dspy.ReAct:
        return dspy.ReAct("question -> answer", tools=[look], max_iters=3)

    def run(self, thing: dspy.ReAct, text: str) -> str:
        with dspy.context(lm=model()):
            return str(thing(question=text).answer)

    async def arun(self, thing: dspy.ReAct, text: str) -> str:
        with dspy.context(lm=model()):
            return str((await thing.acall(question=text)).answer)

    is_caching = False

    @contextmanager
    def caching(self) -> Iterator[None]:
        dspy.cache.reset_memory_cache()
        self.is_caching = True
        yield
        self.is_caching = False


def text_of(part: Any) -> str:
    """Return the text of a part of a stream; the last is the prediction."""
    return "" if isinstance(part, dspy.Prediction) else part.choices[0].delta.content or ""


framework = DSPy()
