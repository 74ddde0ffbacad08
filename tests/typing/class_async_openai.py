"""`AsyncOpenAI`: the same, asynchronous."""

from typing import assert_type

import openai
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam

import justitia_sdk as justitia

messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hi"}]


def takes_official(client: openai.AsyncOpenAI) -> None: ...


async def use() -> None:
    client = justitia.AsyncOpenAI(api_key="key", max_retries=2)
    takes_official(client)
    reply = await client.chat.completions.create(model="toy", messages=messages)
    assert_type(reply, ChatCompletion)
    stream = await client.chat.completions.create(model="toy", messages=messages, stream=True)
    async for chunk in stream:
        assert_type(chunk.choices[0].delta.content, str | None)
    async with justitia.AsyncOpenAI(dialect="vllm") as opened:
        assert_type(opened, justitia.AsyncOpenAI)
    assert_type(client.with_options(timeout=1.0), justitia.AsyncOpenAI)


justitia.AsyncOpenAI(dialect=1)  # type: ignore[arg-type]
