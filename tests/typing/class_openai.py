"""`OpenAI`: stands in for the official client, whose types its users keep."""

from typing import assert_type

import openai
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam

import justitia_sdk as justitia

messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hi"}]


def takes_official(client: openai.OpenAI) -> None: ...


client = justitia.OpenAI(api_key="key", base_url="http://127.0.0.1/v1", max_retries=2)
takes_official(client)
assert_type(client, justitia.OpenAI)
assert_type(client.chat.completions.create(model="toy", messages=messages), ChatCompletion)
for chunk in client.chat.completions.create(model="toy", messages=messages, stream=True):
    assert_type(chunk.choices[0].delta.content, str | None)
with justitia.OpenAI(dialect="vllm") as opened:
    assert_type(opened, justitia.OpenAI)
assert_type(client.with_options(timeout=1.0), justitia.OpenAI)
assert_type(client.copy(), justitia.OpenAI)

client.chat.completions.create(model=1, messages=messages)  # type: ignore[call-overload]
justitia.OpenAI(dialect=1)  # type: ignore[arg-type]
client.with_options(retries=1)  # type: ignore[call-arg]
