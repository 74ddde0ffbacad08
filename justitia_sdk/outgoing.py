"""
What is added to a request of the official client, and what is read from its reply.

The places are methods of the client's own. `_build_request` runs once for every attempt, sync and
async alike, with the number of attempts before, and every subclass reaches it (AzureOpenAI replaces
`_prepare_options` without calling it). `_process_response` sees every good reply,
`_make_status_error_from_response` every bad one. They are private, so what is done here fails open.
Requests and replies are typed `Any`: httpx or httpx2, as the client's version has it.
"""

from __future__ import annotations

import uuid
from typing import Any

from .audience import justitia_servers
from .context import Scope, current_scope
from .dialects import DEFAULT_DIALECT, body_in, has_body, headers_in, merged
from .doctor import note_outside
from .failopen import fail_open, warn_once
from .ids import new_ulid
from .protocol import HINTS_HEADER, SERVER_HEADER

RETRY_COUNT_HEADER = "x-stainless-retry-count"  # set by the client on every attempt, from 0
OWN_KEY = "stainless-python-retry-"  # before the random part of keys the client makes
DIALECT_ATTRIBUTE = "_justitia_dialect"  # of a client that speaks another than the default


class Dialect:
    """What clients without a dialect of their own speak."""

    of_all = DEFAULT_DIALECT


def dialect_of(client: Any) -> str:
    """Return the dialect that *client* speaks."""
    return getattr(client, DIALECT_ATTRIBUTE, None) or Dialect.of_all


def add_body(client: Any, options: Any) -> Any:
    """
    Return *options* with what the dialect says in the body; the user's own fields win.

    Args:
        client: The official client that sends it.
        options: The client's options of the call.
    """
    dialect, scope = dialect_of(client), current_scope()
    if scope is None or not has_body(dialect) or not _has_json(options):
        return options
    with fail_open("hints", "the call goes out without hints"):
        if told := body_in(dialect, scope.hints(call=_call_of(options))):
            # The client lays the user's extra fields over the body without merging.
            extra = options.extra_json or {}
            own = {**options.json_data, **extra}
            changed = options.model_copy() if hasattr(options, "model_copy") else options.copy()
            changed.extra_json = {**extra, **merged(told, {k: own[k] for k in told if k in own})}
            return changed
    return options


def add_hints(client: Any, request: Any, options: Any) -> None:
    """
    Put the ambient scope's hints on *request*, unless it has some; outside any scope do nothing.

    Args:
        client: The official client that sends it.
        request: The HTTP request of one attempt.
        options: The client's options of the call; their idempotency key is constant over retries.

    Raises:
        NoActiveApplication: In strict mode, outside any scope.
    """
    if request.method != "POST":
        return
    scope = current_scope()
    if scope is None:
        if HINTS_HEADER not in request.headers and not attempt_of(request):
            note_outside()
        return
    try:
        _add_headers(client, request, options, scope)
    except Exception:
        warn_once("hints", "the call goes out without hints")


def _add_headers(client: Any, request: Any, options: Any, scope: Scope) -> None:
    headers, dialect = request.headers, dialect_of(client)
    scope.application.note_asked(base_url_of(client), headers.get("Authorization"))
    if HINTS_HEADER in headers:
        return
    hints = scope.hints(call=_call_of(options), attempt=attempt_of(request))
    for name, value in headers_in(dialect, hints).items():
        if dialect == DEFAULT_DIALECT or name not in headers:
            headers[name] = value


def hear_server(client: Any, response: Any) -> None:
    """Take notice if a Justitia server has answered: it is told when applications end."""
    try:
        if SERVER_HEADER not in response.headers:
            return
        base_url = base_url_of(client)
        justitia_servers.add(base_url)
        if (scope := current_scope()) is not None:
            scope.application.note_justitia(base_url)
    except Exception:
        warn_once("reply", "the server will not be told when the application ends")


def base_url_of(client: Any) -> str:
    """Return the client's base URL as text, which is made once for each URL it has had."""
    url = client.base_url
    made_of, text = getattr(client, "_justitia_base_url", (None, ""))
    if made_of is not url:
        text = str(url)
        client._justitia_base_url = (url, text)
    return text


def attempt_of(request: Any) -> int:
    """Return how many attempts went before this request."""
    count = request.headers.get(RETRY_COUNT_HEADER, "")
    return int(count) if count.isdecimal() else 0


def _has_json(options: Any) -> bool:
    """Whether a body goes out that is an object; an upload's form is none."""
    return options.method == "post" and isinstance(options.json_data, dict) and not options.files


def _call_of(options: Any) -> str:
    key: str | None = getattr(options, "idempotency_key", None)
    if not key:
        return new_ulid()
    if key.startswith(OWN_KEY):
        return key.removeprefix(OWN_KEY)
    # A user's own key may be of any length and alphabet, and is nobody else's business.
    return uuid.uuid5(uuid.NAMESPACE_OID, key).hex
