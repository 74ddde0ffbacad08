"""
Calls that a framework sends by itself, past the official client, and calls that it repeats.

The SDK's own additions to the official client are used for requests of any kind, so headers,
dialects, the doctor and the end of an application are the same on every path. A framework that
tries again makes a new request, which the official client takes for a new call; inside `one_call`
all of them are attempts at one, until one succeeds.
"""

from __future__ import annotations

import functools
import inspect
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from email.message import Message
from types import SimpleNamespace
from typing import Any

from justitia_sdk.errors import NoActiveApplication
from justitia_sdk.outgoing import RETRY_COUNT_HEADER, add_hints, hear_server

from ._adapter import Method, Patches, logger

# Where language models are asked; a framework's other requests are no concern of the server's.
_ENDPOINTS = ("/chat/completions", "/completions", "/responses", "/embeddings", "/messages")

Headers = Iterable[tuple[str, str]]


class Call:
    """
    One LLM call: its name, and how often it was sent.

    Attributes:
        is_open: Whether it goes on; contexts that were copied meanwhile, as those of a framework's
            logging threads, hold it longer.
        misuse: What strict mode had against it; a framework may make an error of its own of that.
    """

    def __init__(self) -> None:
        self.is_open = True
        self.misuse: NoActiveApplication | None = None
        self.renew()

    def attempt(self) -> tuple[str, int]:
        """Return the call's name and the number of attempts before this one."""
        self._num_sent += 1
        return self._key, self._num_sent - 1

    def renew(self) -> None:
        """Let what is sent from now on be another call."""
        self._key = uuid.uuid4().hex
        self._num_sent = 0


_call: ContextVar[Call | None] = ContextVar("justitia_call", default=None)


def _current() -> Call | None:
    call = _call.get()
    return call if call is not None and call.is_open else None


def one_call(original: Method) -> Method:
    """Return *original*, plain or asynchronous, all failed requests of which are one call."""
    if inspect.iscoroutinefunction(original):

        async def acall(*args: Any, **kwargs: Any) -> Any:
            with _opened():
                return await original(*args, **kwargs)

        return functools.wraps(original)(acall)

    def call(*args: Any, **kwargs: Any) -> Any:
        with _opened():
            return original(*args, **kwargs)

    return functools.wraps(original)(call)


@contextmanager
def _opened() -> Iterator[None]:
    """Open a call, unless one is open: it is repeated as a whole."""
    if _current() is not None:
        yield
        return
    call = Call()
    token = _call.set(call)
    try:
        yield
    except Exception:
        if call.misuse is not None:
            raise call.misuse from None
        raise
    finally:
        call.is_open = False
        _call.reset(token)


def hints_for(url: str, headers: Headers) -> dict[str, str]:
    """
    Return what to add to the headers of a request; nothing unless it asks a language model.

    Args:
        url: Where it goes.
        headers: What it carries already.

    Raises:
        NoActiveApplication: In strict mode, outside any scope.
    """
    added: dict[str, str] = {}
    with _failing_open("call_without_hints"):
        if (base_url := _base_of(str(url))) is not None:
            call = _current() or Call()
            with _heeding_misuse(call):
                added = _added(base_url, _message(headers), call)
    return added


def _added(base_url: str, headers: Message, call: Call) -> dict[str, str]:
    names = len(headers)
    key, headers[RETRY_COUNT_HEADER] = _told(call)
    request = SimpleNamespace(method="POST", headers=headers)
    add_hints(SimpleNamespace(base_url=base_url), request, SimpleNamespace(idempotency_key=key))
    return dict(headers.items()[names + 1 :])


def heard(url: str, headers: Headers, *, is_good: bool) -> None:
    """Take notice of a reply: whose it is, and whether its call is done."""
    with _failing_open("reply_unheard"):
        if (base_url := _base_of(str(url))) is None:
            return
        reply = SimpleNamespace(headers=_message(headers))
        hear_server(SimpleNamespace(base_url=base_url), reply)
        if is_good and (call := _current()) is not None:
            call.renew()


def _message(headers: Headers) -> Message:
    """Return *headers* such that their names know no case."""
    message = Message()
    for name, value in headers:
        message[name] = str(value)
    return message


@contextmanager
def _failing_open(event: str) -> Iterator[None]:
    try:
        yield
    except NoActiveApplication:
        raise
    except Exception:
        logger.warning(event, exc_info=True)


@contextmanager
def _heeding_misuse(call: Call) -> Iterator[None]:
    """Count no attempt that strict mode forbids: should it be repeated, it is forbidden again."""
    try:
        yield
    except NoActiveApplication as exc:
        call.misuse = exc
        call.renew()
        raise


def _base_of(url: str) -> str | None:
    """Return the base URL, as the official client writes it; None of what is no LLM call."""
    path = url.partition("?")[0].rstrip("/")
    end = next((each for each in _ENDPOINTS if path.endswith(each)), None)
    return None if end is None else path.removesuffix(end) + "/"


def _told(call: Call) -> tuple[str, str]:
    key, number = call.attempt()
    return key, str(number)


def number_attempts(patches: Patches) -> None:
    """
    Let the official client's requests inside `one_call` bear that call's id and their number.

    Changes: methods of the official client's base classes; call `justitia_sdk.instrument` before.
    """
    from openai._base_client import AsyncAPIClient, BaseClient, SyncAPIClient

    patches.replace(BaseClient, "_build_request", _numbering)
    patches.replace(SyncAPIClient, "_process_response", _succeeding)
    patches.replace(AsyncAPIClient, "_process_response", _succeeding)


def _numbering(original: Method) -> Method:
    def _build_request(self: Any, options: Any, **kwargs: Any) -> Any:
        if (call := _current()) is None:
            return original(self, options, **kwargs)
        with _heeding_misuse(call):
            return original(self, _numbered(options, call), **kwargs)

    return _build_request


def _numbered(options: Any, call: Call) -> Any:
    try:
        numbered = options.model_copy()
        numbered.idempotency_key, number = _told(call)
        given = options.headers if isinstance(options.headers, dict) else {}
        numbered.headers = {RETRY_COUNT_HEADER: number, **given}
    except Exception:
        logger.warning("attempt_without_number", exc_info=True)
        return options
    return numbered


def _succeeding(original: Method) -> Method:
    # An asynchronous original returns a coroutine, which passes through.
    def _process_response(self: Any, *args: Any, **kwargs: Any) -> Any:
        if (call := _current()) is not None:
            call.renew()
        return original(self, *args, **kwargs)

    return _process_response
