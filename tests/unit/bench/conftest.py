"""What the bench's tests share: time that passes only when everybody waits, and applications."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Coroutine
from typing import Any

import pytest

from justitia_server.simulation.workload import Arriving, Call


class VirtualClock:
    """Time that passes, to whoever is next, when every task waits for it."""

    def __init__(self) -> None:
        self._now = 0.0
        self._seq = itertools.count()
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self._now

    async def sleep_until(self, at_s: float) -> None:
        if at_s > self._now:
            future = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (at_s, next(self._seq), future))
            await future

    async def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run *coroutine* to its end."""
        task = asyncio.ensure_future(coroutine)
        while not task.done():
            for _ in range(20):  # until nobody has anything to do
                await asyncio.sleep(0)
            if self._waiting:
                self._now, _, future = heapq.heappop(self._waiting)
                if not future.done():
                    future.set_result(None)
        return task.result()


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def application():
    """Makes an application; its calls by what is not as usual."""

    def make(app_id: str, *calls: dict[str, Any], arrival_s: float = 0.0, **more: Any) -> Arriving:
        usual = {"prompt_tokens": 10, "output_tokens": 5}
        made = [Call(id=place, **{**usual, **call}) for place, call in enumerate(calls)]
        facts = {"app_type": "t", **more}
        return Arriving(app_id=app_id, calls=made, arrival_s=arrival_s, **facts)

    return make
