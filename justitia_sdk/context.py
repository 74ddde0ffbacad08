"""
Who is calling: the application and the stage that calls made here belong to.

Owns the one context variable of the SDK. A scope is immutable; `attach` makes it the ambient one
and returns a token, `detach` takes the token back; nothing else moves ambient state. What an
application is, `applications` says; HTTP libraries are unknown here.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, Token
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Protocol, TypeVar

from .errors import UsageError
from .failopen import logger
from .protocol import ApplicationHints, CallHints, Hints

T = TypeVar("T")


class Member(Protocol):
    """What a scope asks of its application."""

    @property
    def facts(self) -> ApplicationHints:
        """What the server is told of it."""

    def note_asked(self, base_url: str, authorization: str | None) -> None:
        """Remember where a call goes."""

    def note_justitia(self, base_url: str) -> None:
        """Take notice that *base_url* is a Justitia server."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The application and stage that calls made here belong to."""

    application: Member
    stage: str | None = None
    stage_index: int | None = None

    def hints(self, *, call: str, attempt: int = 0) -> Hints:
        """Return the hints of one attempt of one call."""
        facts = CallHints(call, attempt, self.stage, self.stage_index)
        return Hints(self.application.facts, facts)


_current: ContextVar[Scope | None] = ContextVar("justitia_scope", default=None)
_inherited: Scope | None = None  # what this process was started in


def current_scope() -> Scope | None:
    """Return the ambient scope, or None outside any application."""
    return _current.get() or _inherited


def current_stage() -> str | None:
    """Return the name of the open stage, or None."""
    scope = current_scope()
    return None if scope is None else scope.stage


def inherit(scope: Scope | None) -> None:
    """Make *scope* that of all calls of this process outside any other."""
    global _inherited
    _inherited = scope


def attach(scope: Scope) -> Token[Scope | None]:
    """Make *scope* the ambient one; give the token to `detach`."""
    return _current.set(scope)


def detach(token: Token[Scope | None]) -> None:
    """Restore what was ambient before; in a foreign context there is nothing to restore."""
    try:
        _current.reset(token)
    except (ValueError, RuntimeError):
        logger.debug("scope_left_in_another_context")


class Manager(Generic[T]):
    """Base of what a ``with`` or ``async with`` opens."""

    def _enter(self) -> T:
        raise NotImplementedError

    def _exit(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> T:
        return self._enter()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._exit()

    async def __aenter__(self) -> T:
        return self._enter()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._exit()


class ScopeManager(Manager[T]):
    """Base of what opens one scope, once at a time."""

    _token: Token[Scope | None] | None = None

    def _open(self, scope: Scope) -> None:
        if self._token is not None:
            raise UsageError("this scope is open already: make one for each with statement")
        self._token = attach(scope)

    def _close(self) -> None:
        token, self._token = self._token, None
        if token is not None:
            detach(token)


class StageScope(ScopeManager["StageScope"]):
    """What `Application.stage` returns: a stage, open inside ``with`` or ``async with``."""

    def __init__(self, name: str, scope: Callable[[], Scope]) -> None:
        self.name = name
        self._scope = scope

    def _enter(self) -> StageScope:
        self._open(self._scope())
        return self

    def _exit(self) -> None:
        self._close()
