"""`join`: from headers of any mapping, or from the environment."""

import os
from typing import assert_type

import openai

import justitia_sdk as justitia

assert_type(justitia.join(), justitia.Handle | None)
assert_type(justitia.join({"baggage": "…"}), justitia.Handle | None)
assert_type(justitia.join(os.environ), justitia.Handle | None)
with justitia.join() or justitia.application("lookup") as app:
    assert_type(app, justitia.Application)

justitia.join("baggage")  # type: ignore[arg-type]
justitia.join(openai.OpenAI())  # type: ignore[arg-type]
