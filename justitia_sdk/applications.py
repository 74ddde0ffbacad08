"""
An application: one end-to-end run, all calls of which are served as a whole.

Owns its identity, what is known of its structure, and its end; where it is open, `context` knows.
In a process started with an application's `env`, calls outside any scope belong to that one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextvars import ContextVar, Token
from dataclasses import replace
from typing import Any, cast
from urllib.parse import quote
from weakref import WeakValueDictionary

from .audience import Audience
from .baggage import carrier_of, environment_of, read_baggage
from .checks import check_name, check_number
from .context import Manager, Scope, StageScope, attach, current_scope, detach, inherit
from .dialects import check_dialect, headers_in
from .failopen import fail_open, logger
from .ids import new_ulid
from .plan import Plan, Stage
from .protocol import ApplicationHints, application_fields, fitted
from .receipts import Receipt, areceive, receive
from .structure import Structure


class Application:
    """
    One end-to-end run: all calls made inside its scope, served as a whole.

    You get one from ``with justitia.application(…) as app`` or `current_application`. Opened
    inside another, it is a part of that one (its root): the same ``app_id``, and its name is the
    stage of its calls.
    """

    def __init__(
        self,
        facts: ApplicationHints,
        *,
        root: Application | None = None,
        is_joined: bool = False,
        stages: tuple[str, ...] = (),
    ) -> None:
        """
        Make one; `justitia_sdk.application` does.

        Args:
            facts: What the server is told, of a root; of a part its name and its own plan.
            root: The application it is a part of, if any.
            is_joined: Whether it was opened in another process, which also ends it.
            stages: Stages that have their numbers already, in their order.
        """
        self._facts = fitted(facts)  # once, not with every call
        self._root = root
        self._structure = Structure(facts.plan, numbered=stages)
        self._audience = Audience()
        self._is_joined = is_joined
        self._is_finished = False
        self._pid = os.getpid()
        if root is None:
            live[facts.app] = self

    def __repr__(self) -> str:
        return f"Application({self.type!r}, app_id={self.app_id!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        part = None if self._root is None else self._facts
        return _resumed, (self.facts, tuple(self.root._structure.stages), part)

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
        """Its own structure, as far as it was declared or found out; prints as a small tree."""
        return self._structure.plan

    @property
    def weight(self) -> float:
        """Its share of the server relative to others; the root's."""
        return self.facts.weight

    @property
    def is_finished(self) -> bool:
        """Whether the root was finished; calls made later still go through, hints and all."""
        return self.root._is_finished

    def stage(
        self,
        name: str,
        *,
        calls: int | tuple[int, int] | None = None,
        parallel: int | None = None,
        output_tokens: int | None = None,
    ) -> StageScope:
        """
        Open stage *name* for the calls inside ``with app.stage(name):`` (or ``async with``).

        Stages are numbered from 0, as the plan has them, else in the order in which they are first
        opened. With *calls* the server hears of the fan-out before the calls arrive.

        Args:
            name: The label of its calls.
            calls: How many there will be, exactly or as a range ``(least, most)``.
            parallel: How many of them at the same time; all, if not said.
            output_tokens: Expected output tokens of each.

        Raises:
            ConfigurationError: An argument has no meaning.
        """
        stage = Stage.of(name, calls=calls, parallel=parallel, output_tokens=output_tokens)
        is_counted, is_sized = calls is not None, output_tokens is not None
        if (is_counted or is_sized) and self.root._structure.declare(stage, is_counted=is_counted):
            self.root._announce()
        return StageScope(name, lambda: self.scope_of(name))

    def expect(self, plan: Plan) -> None:
        """
        Take note of structure that was found out; what the user declared stands.

        Changes: the plan; the server is told in the background, and with the next call.
        """
        if self.root._structure.expect(plan):
            self.root._announce()

    def tool(self, name: str, *, expected_s: float | None = None) -> ToolScope:
        """
        Say, by ``with app.tool(name):`` (or ``async with``), that a tool or a person is at work.

        Args:
            name: Which.
            expected_s: About how many seconds it will take, if known; a server does not take the
                application for abandoned before.

        Raises:
            ConfigurationError: An argument has no meaning.
        """
        check_name("tool name", name)
        if expected_s is not None:
            check_number("expected_s", expected_s, above=0.0)
        return ToolScope(self, name, expected_s)

    def headers(self, *, stage: str | None = None, dialect: str | None = None) -> dict[str, str]:
        """
        Return the headers of one new call, for a client that Justitia does not wrap.

        Args:
            stage: Label of the call if no stage is open.
            dialect: In which server's words; Justitia's own by default.

        Raises:
            ConfigurationError: There is no such dialect.
        """
        dialect = check_dialect(dialect)
        with fail_open("hints", "the call goes out without hints"):
            scope = self._scope_here()
            if scope.stage is None and stage is not None:
                scope = self.scope_of(stage)
            return headers_in(dialect, scope.hints(call=new_ulid()))
        return {}

    def handle(self) -> Handle:
        """
        Return what opens this application, at the present stage, anywhere: ``with handle:``.

        It can be used by many threads and tasks, and pickled for another process.
        """
        return Handle(self._scope_here())

    def carrier(self) -> dict[str, str]:
        """Return W3C ``baggage`` and ``traceparent`` headers that name it, for `join`."""
        return carrier_of(self.app_id, self.facts.type)

    def env(self) -> dict[str, str]:
        """
        Return variables for a child process, whose calls then belong to this application.

        For example::

            subprocess.run(command, env={**os.environ, **app.env()})
        """
        return environment_of(self.app_id, self.facts.type, os.environ)

    def finish(self) -> None:
        """
        Tell the server, in the background, that no more calls will come; leaving the scope does.

        Does nothing the second time, for a part of another application, in a process that joined
        it or was forked, and where no Justitia server is known to be: nothing has come from there
        yet that said so.
        """
        if self._root is not None or self._is_joined or os.getpid() != self._pid:
            return
        self._is_finished = True
        self._audience.tell_end(self._path("finish"))

    def report(self, *, timeout_s: float = 2.0, wait_s: float = 0.0) -> Receipt:
        """
        Return what the server has to say of it: waiting, cost, fair finish, lateness.

        Args:
            timeout_s: Longest wait for one answer.
            wait_s: How long to wait for the fair finish to be settled, where it is not.

        Raises:
            ServerUnavailable: No Justitia server has answered its calls, or none answers now.
            ServerError: None of them knows it (any more).
        """
        return receive(self.app_id, self.root._audience.servers, timeout_s=timeout_s, wait_s=wait_s)

    async def areport(self, *, timeout_s: float = 2.0, wait_s: float = 0.0) -> Receipt:
        """Return what `report` does, without blocking the event loop."""
        servers = self.root._audience.servers
        return await areceive(self.app_id, servers, timeout_s=timeout_s, wait_s=wait_s)

    def note_asked(self, base_url: str, authorization: str | None) -> None:
        """Remember where a call goes: a Justitia server there is to hear of the end."""
        self.root._audience.note_asked(base_url, authorization)

    def note_justitia(self, base_url: str) -> None:
        """Take notice that *base_url* is a Justitia server, perhaps after the end."""
        root = self.root
        if root._is_finished and root._audience.has_asked(base_url):
            root.finish()

    def note_event(self, event: str, **fields: Any) -> None:
        """Tell its servers, in the background and until its end, what goes on besides calls."""
        if not self.is_finished:
            self.root._audience.tell(self._path("events"), {"event": event, **fields})

    def scope_of(self, stage: str | None) -> Scope:
        """Return the scope of a stage, which gets the next number if it is new."""
        if stage is None:
            return Scope(self)
        return Scope(self, stage, self.root._structure.number_of(stage))

    def _scope_here(self) -> Scope:
        """Return a scope of this application, at the open stage if that is one of its own."""
        scope, here = current_scope(), current_application()
        if scope is None or here is None or here.root is not self.root:
            return Scope(self)
        return Scope(self, scope.stage, scope.stage_index)

    def _announce(self) -> None:
        """Let the plan as it is now go out with every call, and at once where calls went."""
        while (plan := self._structure.plan) is not self._facts.plan:  # newer by another thread
            self._facts = fitted(replace(self._facts, plan=plan))
        if not self._is_finished:
            self._audience.tell("/applications", application_fields(self._facts))

    def _path(self, action: str) -> str:
        return f"/applications/{quote(self.app_id, safe='')}/{action}"


live: WeakValueDictionary[str, Application] = WeakValueDictionary()  # the roots of this process


def _resumed(
    facts: ApplicationHints, stages: tuple[str, ...], part: ApplicationHints | None
) -> Application:
    """Return the application of a handle that came from elsewhere: the very one if it is here."""
    root = live.get(facts.app) or Application(facts, is_joined=True, stages=stages)
    return root if part is None else Application(part, root=root)


def joined(app_id: str, app_type: str | None) -> Application:
    """Return the application of that id: the one of this process, else one opened elsewhere."""
    facts = ApplicationHints(app_id) if app_type is None else ApplicationHints(app_id, app_type)
    return _resumed(facts, (), None)


def current_application() -> Application | None:
    """Return the innermost open application, or None."""
    scope = current_scope()
    return None if scope is None else cast(Application, scope.application)


def inherit_from(environment: Mapping[str, str]) -> None:
    """Let calls outside any scope belong to the application that *environment* names, if any."""
    with fail_open("environment", "calls outside any scope belong to no application"):
        told = read_baggage({"BAGGAGE": environment.get("BAGGAGE", "")})
        inherit(None if told is None else Scope(joined(*told)))


inherit_from(os.environ)


class ToolScope(Manager["ToolScope"]):
    """What `Application.tool` returns: the time of a tool, inside ``with`` or ``async with``."""

    def __init__(self, application: Application, name: str, expected_s: float | None) -> None:
        self.application = application
        self.name = name
        self.expected_s = expected_s

    def _enter(self) -> ToolScope:
        expected = {} if self.expected_s is None else {"expected_s": self.expected_s}
        self.application.note_event("tool_start", name=self.name, **expected)
        return self

    def _exit(self) -> None:
        self.application.note_event("tool_end", name=self.name)


_held: ContextVar[tuple[tuple[Handle, Token[Scope | None]], ...]] = ContextVar(
    "justitia_handles", default=()
)


class Handle(Manager[Application]):
    """What `Application.handle` returns: opens the application in a thread, task or process."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    def __reduce__(self) -> tuple[Any, ...]:
        return Handle, (self.scope,)

    @property
    def application(self) -> Application:
        """The application it opens."""
        return cast(Application, self.scope.application)

    def _enter(self) -> Application:
        # Tokens lie in the context, not here: many threads and tasks use one handle at once.
        _held.set((*_held.get(), (self, attach(self.scope))))
        return self.application

    def _exit(self) -> None:
        *outer, (handle, token) = _held.get() or ((None, None),)
        if handle is not self or token is None:
            logger.debug("handle_left_in_another_context")
            return
        _held.set(tuple(outer))
        detach(token)
