"""`instrument`: all clients, or one."""

import openai

import justitia_sdk as justitia

justitia.instrument()
justitia.instrument(dialect="vllm")
justitia.instrument(openai.AsyncOpenAI())

justitia.instrument(dialect=1)  # type: ignore[arg-type]
done = justitia.instrument()  # type: ignore[func-returns-value]
