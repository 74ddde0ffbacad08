"""`application`: a scope, and a decorator that keeps the signature of every kind of function."""

from collections.abc import AsyncIterator, Iterator
from typing import assert_type

import justitia_sdk as justitia

plan = justitia.Plan((justitia.Stage("map", (2, 4)),))

with justitia.application(
    "triage", input={"any": "thing"}, plan=plan, weight=2, deadline_s=9.5
) as app:
    assert_type(app, justitia.Application)


async def opened() -> None:
    async with justitia.application("triage") as app:
        assert_type(app, justitia.Application)
        assert_type(await coroutine("printer"), bytes)


@justitia.application("triage")
def function(ticket: str, *, times: int = 1) -> list[str]:
    return [ticket] * times


@justitia.application("triage")
async def coroutine(ticket: str) -> bytes:
    return ticket.encode()


@justitia.application("triage")
def generator(num: int) -> Iterator[int]:
    yield num


@justitia.application("triage")
async def asynchronous_generator(num: int) -> AsyncIterator[int]:
    yield num


class Agent:
    @justitia.application("agent")
    def run(self, text: str) -> int:
        return len(text)


assert_type(function("printer", times=2), list[str])
assert_type(generator(1), Iterator[int])
assert_type(asynchronous_generator(1), AsyncIterator[int])
assert_type(Agent().run("hi"), int)

function(1)  # type: ignore[arg-type]
function("printer", often=2)  # type: ignore[call-arg]
Agent().run()  # type: ignore[call-arg]
justitia.application()  # type: ignore[call-arg]
justitia.application(7)  # type: ignore[arg-type]
justitia.application("triage", "printer")  # type: ignore[call-arg]
justitia.application("triage", weight="much")  # type: ignore[arg-type]
justitia.application("triage", plan=[1])  # type: ignore[arg-type]
