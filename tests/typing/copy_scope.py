"""`copy_scope`: the function keeps its signature."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import assert_type

import justitia_sdk as justitia


def work(text: str, *, times: int = 1) -> list[str]:
    return [text] * times


assert_type(justitia.copy_scope(work)("hi", times=2), list[str])
with ThreadPoolExecutor() as pool:
    assert_type(pool.submit(justitia.copy_scope(work), "hi"), Future[list[str]])

justitia.copy_scope(work)(1)  # type: ignore[arg-type]
justitia.copy_scope("work")  # type: ignore[arg-type]
