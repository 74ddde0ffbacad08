"""
LlamaIndex: applications that last until the streams begun in them are read.

A streamed answer asks the model when it is read, and that is when its run has long returned. Knows
nothing of LlamaIndex but this.
"""

from __future__ import annotations

import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import Any

import justitia_sdk

from ._adapter import Method, logger


@contextmanager
def or_warn(consequence: str) -> Iterator[None]:
    """Fail open: what goes wrong inside costs a warning, never the run."""
    try:
        yield
    except Exception:
        logger.warning(consequence, exc_info=True)


class Run:
    """
    An application that ends once its span has ended and the streams begun in it are read.

    Args:
        scope: What `justitia_sdk.application` returned.
        owner: The agent, workflow or engine that runs.
    """

    def __init__(self, scope: Any, owner: object) -> None:
        self.owner = owner
        context = copy_context()  # leaving *scope* itself would end the application
        self._application = context.run(scope.__enter__)
        self._handle = context.run(self._application.handle)
        self._holds: set[object] = set()

    def __enter__(self) -> None:
        self._let_go = self.hold()
        self._outer = current_run.get()
        current_run.set(self)
        self._handle.__enter__()

    def __exit__(self, *_exc: object) -> None:
        self._handle.__exit__(None, None, None)
        current_run.set(self._outer)
        self._let_go()

    def hold(self) -> Callable[[], None]:
        """Keep the application open until what is returned is called, which counts once."""
        hold = object()
        self._holds.add(hold)

        def let_go() -> None:
            self._holds.discard(hold)
            if not self._holds:
                self._application.finish()

        return let_go


current_run: ContextVar[Run | None] = ContextVar("justitia_llama_index_run", default=None)


def keeping_streams(names: tuple[str, ...], original: Method) -> Method:
    """Return the ``__init__`` of a response whose streams keep the scope it was made in."""

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        with or_warn("stream_without_scope"):
            for name in names:
                setattr(self, name, _kept(getattr(self, name)))

    return __init__


def _kept(stream: Any) -> Any:
    """Return *stream*, read in the scope that is open now, whose application it keeps open."""
    steps = {Generator: _steps, AsyncGenerator: _asteps}
    kind = next((kind for kind in steps if isinstance(stream, kind)), None)
    if kind is None or justitia_sdk.current_application() is None:
        return stream
    run = current_run.get()
    let_go = run.hold() if run else lambda: None
    kept = justitia_sdk.copy_scope(steps[kind])(stream, let_go)
    weakref.finalize(kept, let_go)  # where it is never read
    return kept


def _steps(stream: Any, let_go: Callable[[], None]) -> Iterator[Any]:
    try:
        yield from stream
    finally:
        let_go()


async def _asteps(stream: Any, let_go: Callable[[], None]) -> AsyncIterator[Any]:
    try:
        async for item in stream:
            yield item
    finally:
        let_go()
