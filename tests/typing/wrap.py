"""`wrap`: the very client, whatever its class."""

from typing import assert_type

import openai

import justitia_sdk as justitia


class Subclass(openai.OpenAI):
    """Somebody's own kind of client."""


assert_type(justitia.wrap(openai.OpenAI()), openai.OpenAI)
assert_type(justitia.wrap(openai.AsyncOpenAI(), dialect="sglang"), openai.AsyncOpenAI)
assert_type(justitia.wrap(Subclass()), Subclass)

justitia.wrap()  # type: ignore[call-arg]
justitia.wrap(openai.OpenAI(), "sglang")  # type: ignore[call-arg]
