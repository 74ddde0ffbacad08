"""
`instrument`: every official OpenAI client of the process sends hints, however it was made.

Replaces methods of the client's base classes (see `outgoing`), so clients that exist already,
subclasses and copies by `with_options` are covered; `uninstrument` puts the originals back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from .dialects import DEFAULT_DIALECT, check_dialect
from .errors import UsageError
from .failopen import fail_open
from .outgoing import DIALECT_ATTRIBUTE, Dialect, add_body, add_hints, hear_server

C = TypeVar("C")
Method = Callable[..., Any]

_lock = threading.Lock()
_replaced: dict[tuple[type, str], tuple[Method, Method]] = {}  # where -> (original, ours)
_is_on = threading.Event()


def instrument(client: object | None = None, *, dialect: str | None = None) -> None:
    """
    Make every OpenAI client of this process, or only *client*, send hints from now on.

    A second call changes nothing but the dialect. Outside an application scope nothing is sent.

    Args:
        client: A client of the official library; all, if not given.
        dialect: In which server's words hints are sent; as before if not given, at first
            Justitia's own.

    Raises:
        UsageError: *client* is not a client of the official library.
        ConfigurationError: There is no such dialect.

    Changes: methods of the official client's base classes, or the class of *client*.
    """
    chosen = check_dialect(dialect)
    if client is not None:
        _instrument_one(client, dialect)
        return
    if dialect is not None:
        Dialect.of_all = chosen
    with _lock, fail_open("instrument", "this version of openai is unknown; no hints are sent"):
        if not _is_on.is_set():
            _replace_methods()
            _is_on.set()


def wrap(client: C, *, dialect: str | None = None) -> C:
    """
    Return *client*, an existing client of the official library, which sends hints from now on.

    Args:
        client: Sync or async, of any subclass.
        dialect: In which server's words hints are sent; as before if not given, at first
            Justitia's own.

    Raises:
        UsageError: *client* is not a client of the official library.
        ConfigurationError: There is no such dialect.

    Changes: the class of *client*; how it retries stays as it is.
    """
    instrument(client, dialect=dialect)
    return client


def is_instrumented() -> bool:
    """Tell whether `instrument` is in force for all clients of this process."""
    return _is_on.is_set()


def uninstrument() -> None:
    """Undo ``instrument()``; without effect on clients that were instrumented one by one."""
    Dialect.of_all = DEFAULT_DIALECT
    with _lock:
        _is_on.clear()
        for (owner, name), (original, ours) in _replaced.items():
            # Another library may have wrapped ours since; ours then stays, and passes through.
            if vars(owner).get(name) is ours:
                setattr(owner, name, original)
        _replaced.clear()


def _replace_methods() -> None:
    from openai._base_client import AsyncAPIClient, BaseClient, SyncAPIClient

    wanted: list[tuple[type, str, Callable[[Method], Method]]] = [
        (BaseClient, "_build_request", _hinting),
        (BaseClient, "_make_status_error_from_response", _hearing),
        (SyncAPIClient, "_process_response", _hearing),
        (AsyncAPIClient, "_process_response", _hearing),
    ]
    found = [(owner, name, vars(owner)[name], wrap) for owner, name, wrap in wanted]
    for owner, name, original, wrap in found:
        ours = wrap(original)
        _replaced[owner, name] = (original, ours)
        setattr(owner, name, ours)


def _hinting(original: Method) -> Method:
    def _build_request(self: Any, options: Any, **kwargs: Any) -> Any:
        if not _is_on.is_set() or _hints_itself(self):
            return original(self, options, **kwargs)
        request = original(self, add_body(self, options), **kwargs)
        add_hints(self, request, options)
        return request

    return _build_request


def _hearing(original: Method) -> Method:
    # An asynchronous original returns a coroutine, which passes through.
    def _hear_response(self: Any, *args: Any, **kwargs: Any) -> Any:
        if _is_on.is_set() and not _hints_itself(self):
            hear_server(self, kwargs["response"] if "response" in kwargs else args[0])
        return original(self, *args, **kwargs)

    return _hear_response


def _hints_itself(client: object) -> bool:
    """Whether *client* is of a class made by `hinted`."""
    return hasattr(client, DIALECT_ATTRIBUTE)


def _instrument_one(client: object, dialect: str | None) -> None:
    from openai import AsyncOpenAI, OpenAI

    from .hinted import hinted_class

    if not isinstance(client, OpenAI | AsyncOpenAI):
        raise UsageError(f"instrument takes an OpenAI client, not {client!r:.60}")
    # The class, not the object's methods: copies by with_options are then covered as well.
    with fail_open("instrument_client", "this client sends no hints"):
        client.__class__ = hinted_class(type(client))
        if dialect is not None:
            setattr(client, DIALECT_ATTRIBUTE, dialect)
