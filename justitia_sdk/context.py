"""
Who is calling: the application and the stage that calls made here belong to.

Owns the one context variable of the SDK, and which addresses are known to be Justitia servers. A
scope is immutable; `attach` makes it the ambient one and returns a token, `detach` takes the token
back; nothing else moves ambient state. Knows nothing of HTTP libraries.
"""

from __future__ import annotations

import os
import threading
from contextvars import ContextVar, Token
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from .errors import UsageError
from .failopen import fail_open, logger
from .finishing import Ending, finisher
from .ids import new_ulid
from .protocol import (
    HINTS_HEADER,
    ApplicationHints,
    CallHints,
    Hints,
    Plan,
    Stage,
    encode_hints,
)

justitia_servers: set[str] = set()  # base URLs of this process whose replies said what they are


class Application:
    """
    One end-to-end run: all calls made inside its scope, served as a whole.

    You get one from ``with justitia.application(…) as app`` or `current_application`. Opened
    inside another, it is a part of that one (its root): the same ``app_id``, and its name is the
    stage of its calls.
    """

    def __init__(self, facts: ApplicationHints, *, root: Application | None = None) -> None:
        self._facts = facts
        self._root = root
        self._stages: dict[str, int] = {}
        self._asked: dict[str, str | None] = {}  # base URL of its calls -> credential
        self._told: set[str] = set()  # those of them that heard of the end
        self._is_finished = False
        self._lock = threading.RLock()
        self._pid = os.getpid()

    def __repr__(self) -> str:
        return f"Application({self.type!r}, app_id={self.app_id!r})"

    @property
    def root(self) -> Application:
        """The outermost application, which the server schedules; itself when not nested."""
        return self._root or self

    @property
    def facts(self) -> ApplicationHints:
        """What the server is told: the root's facts, whoever asks."""
        return self.root._facts

    @property
    def app_id(self) -> str:
        """The id the server knows it by, a ULID; the root's."""
        return self.facts.app

    @property
    def type(self) -> str:
        """Its own name: the kind of application, for learning."""
        return self._facts.type

    @property
    def plan(self) -> Plan | None:
        """Its own declared structure, if any."""
        return self._facts.plan

    @property
    def weight(self) -> float:
        """Its share of the server relative to others; the root's."""
        return self.facts.weight

    @property
    def is_finished(self) -> bool:
        """Whether the root was finished; calls made later still go through, hints and all."""
        return self.root._is_finished

    def stage(self, name: str) -> StageScope:
        """
        Open stage *name* for the calls inside ``with app.stage(name):`` (or ``async with``).

        Stages are numbered from 0 in the order in which they are first opened.

        Raises:
            ConfigurationError: *name* is empty, too long or cannot be printed.
        """
        Stage(name)  # speaks up before any call
        return StageScope(self, name)

    def headers(self, *, stage: str | None = None) -> dict[str, str]:
        """
        Return the headers of one new call, for a client that Justitia does not wrap.

        Args:
            stage: Label of the call if no stage is open.
        """
        with fail_open("hints", "the call goes out without hints"):
            scope = current_scope()
            if scope is None or scope.application.root is not self.root:
                scope = Scope(self)
            if scope.stage is None and stage is not None:
                scope = scope.application.scope_of(stage)
            return {HINTS_HEADER: scope.header(call=new_ulid())}
        return {}

    def finish(self) -> None:
        """
        Tell the server, in the background, that no more calls will come; leaving the scope does.

        Does nothing the second time, for a nested application, in a forked child, and where no
        Justitia server is known to be: nothing has come from there yet that said so.
        """
        if self._root is not None or os.getpid() != self._pid:
            return
        with self._lock:
            self._is_finished = True
        self._tell()

    def note_asked(self, base_url: str, authorization: str | None) -> None:
        """Remember where a call goes: a Justitia server there is to hear of the end."""
        root = self.root
        with root._lock:
            root._asked[base_url] = authorization

    def note_justitia(self, base_url: str) -> None:
        """Take notice that *base_url* is a Justitia server, perhaps after the end."""
        root = self.root
        if root._is_finished and base_url in root._asked and os.getpid() == root._pid:
            root._tell()

    def _tell(self) -> None:
        """Tell the Justitia servers that were asked, each once."""
        with self._lock:
            untold = (self._asked.keys() & justitia_servers) - self._told
            self._told |= untold
            endings = [Ending(self.app_id, url, self._asked[url]) for url in untold]
        for ending in endings:
            finisher.tell(ending)

    def scope_of(self, stage: str | None) -> Scope:
        """Return the scope of a stage, which gets the next number if it is new."""
        if stage is None:
            return Scope(self)
        root = self.root
        with root._lock:
            index = root._stages.setdefault(stage, len(root._stages))
        return Scope(self, stage, index)


@dataclass(frozen=True, slots=True)
class Scope:
    """The application and stage that calls made here belong to."""

    application: Application
    stage: str | None = None
    stage_index: int | None = None

    def header(self, *, call: str, attempt: int = 0) -> str:
        """Return the hints header of one attempt of one call."""
        facts = CallHints(call, attempt, self.stage, self.stage_index)
        return encode_hints(Hints(self.application.facts, facts))


_current: ContextVar[Scope | None] = ContextVar("justitia_scope", default=None)


def current_scope() -> Scope | None:
    """Return the ambient scope, or None outside any application."""
    return _current.get()


def current_application() -> Application | None:
    """Return the innermost open application, or None."""
    scope = _current.get()
    return None if scope is None else scope.application


def attach(scope: Scope) -> Token[Scope | None]:
    """Make *scope* the ambient one; give the token to `detach`."""
    return _current.set(scope)


def detach(token: Token[Scope | None]) -> None:
    """Restore what was ambient before; in a foreign context there is nothing to restore."""
    try:
        _current.reset(token)
    except (ValueError, RuntimeError):
        logger.debug("scope_left_in_another_context")


class ScopeManager:
    """Base of what a ``with`` or ``async with`` opens: one scope, once at a time."""

    _token: Token[Scope | None] | None = None

    def _open(self, scope: Scope) -> None:
        if self._token is not None:
            raise UsageError("this scope is open already: make one for each with statement")
        self._token = attach(scope)

    def _close(self) -> None:
        token, self._token = self._token, None
        if token is not None:
            detach(token)


class StageScope(ScopeManager):
    """What `Application.stage` returns: a stage, open inside ``with`` or ``async with``."""

    def __init__(self, application: Application, name: str) -> None:
        self.application = application
        self.name = name

    def __enter__(self) -> Self:
        self._open(self.application.scope_of(self.name))
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()
