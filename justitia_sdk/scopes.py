"""
`application`: one meaning in three forms, ``with``, ``async with`` and decorator.

Owns the checks of what the user passes, so that a mistake is raised before any call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ParamSpec, TypeVar

from .applications import Application, current_application
from .context import ScopeManager
from .errors import ConfigurationError
from .failopen import fail_open
from .functions import in_scope
from .ids import new_ulid
from .plan import Plan
from .protocol import MAX_HINTS_BYTES, ApplicationHints

P = ParamSpec("P")
R = TypeVar("R")


def application(
    name: str,
    *,
    input: object = None,
    plan: Plan | None = None,
    weight: float = 1.0,
    deadline_s: float | None = None,
) -> ApplicationScope:
    """
    Say that the calls made inside belong together, as one application.

    Use it as ``with application("triage") as app:``, the same with ``async with``, or as a
    decorator of a function, asynchronous function or generator; each call of the function is
    then an application of its own. Inside another application it is a part of that one, whose
    weight, plan, deadline and input count.

    Args:
        name: The kind of application, the same for every run: the server learns by it.
        input: What the run works on, as text or as anything with a text form; its beginning helps
            the server to predict the demand.
        plan: The structure, if known.
        weight: Share of the server relative to other applications.
        deadline_s: Seconds within which the result is wanted, if that matters.

    Raises:
        ConfigurationError: An argument has no meaning.
    """
    if not isinstance(name, str):
        raise ConfigurationError(
            f'an application needs a name, as in application("triage"), not {name!r:.60}'
        )
    if not isinstance(plan, Plan | None):
        raise ConfigurationError(f"plan must be a justitia Plan, not {plan!r:.60}")
    text = _text_of(input)
    facts = ApplicationHints(
        app="unopened",
        type=name,
        weight=weight,
        deadline_s=deadline_s,
        plan=plan,
        input=text[:MAX_HINTS_BYTES] or None,
        input_chars=len(text) if len(text) > MAX_HINTS_BYTES else None,
    )
    return ApplicationScope(facts)


def _text_of(value: object) -> str:
    """Return the text form of the input; a form that fails is as good as none."""
    if value is None:
        return ""
    with fail_open("input", "the input is left out of the hints"):
        return str(value)
    return ""


class ApplicationScope(ScopeManager[Application]):
    """What `application` returns: opens an application, by ``with`` or around a function."""

    def __init__(self, facts: ApplicationHints) -> None:
        self._facts = facts
        self._application: Application | None = None

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Return *function* decorated: an application of its own for each call."""
        if not callable(function) or isinstance(function, type):
            raise ConfigurationError(f"application decorates a function, not {function!r:.60}")
        return in_scope(function, lambda: ApplicationScope(self._facts))

    def _enter(self) -> Application:
        facts = replace(self._facts, app=new_ulid())
        outer = current_application()
        # A task that outlives the application it was started in opens applications of its own.
        if outer is None or outer.is_finished:
            application = Application(facts)
            self._open(application.scope_of(None))
        else:
            application = Application(facts, root=outer.root)
            self._open(application.scope_of(facts.type))
        self._application = application
        return application

    def _exit(self) -> None:
        self._close()
        if self._application is not None:
            self._application.finish()
