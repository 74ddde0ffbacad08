"""`wrap_executor`: an executor like any other."""

from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import assert_type

import justitia_sdk as justitia


def takes_executor(executor: Executor) -> None: ...


with justitia.wrap_executor(ThreadPoolExecutor()) as pool:
    takes_executor(pool)
    assert_type(pool.submit(len, "hi"), Future[int])
    assert_type(pool.map(len, ["hi"]), Iterator[int])
justitia.wrap_executor(ProcessPoolExecutor())

justitia.wrap_executor(len)  # type: ignore[arg-type]
