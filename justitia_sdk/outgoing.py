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
from .failopen import fail_open
from .ids import new_ulid
from .protocol import HINTS_HEADER, SERVER_HEADER

RETRY_COUNT_HEADER = "x-stainless-retry-count"  # set by the client on every attempt, from 0
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
    with fail_open("hints", "the call goes out without hints"):
        dialect, scope = dialect_of(client), current_scope()
        if scope is None or not has_body(dialect) or not isinstance(options.json_data, dict):
            return options
        told = body_in(dialect, scope.hints(call=_call_of(options)))
        if told:
            changed = options.copy() if not hasattr(options, "model_copy") else options.model_copy()
            changed.json_data = merged(told, options.json_data)
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
        if HINTS_HEADER not in request.headers:
            note_outside()
        return
    with fail_open("hints", "the call goes out without hints"):
        _add_headers(client, request, options, scope)


def _add_headers(client: Any, request: Any, options: Any, scope: Scope) -> None:
    headers = request.headers
    scope.application.note_asked(str(client.base_url), headers.get("Authorization"))
    if HINTS_HEADER in headers:
        return
    hints = scope.hints(call=_call_of(options), attempt=attempt_of(request))
    for name, value in headers_in(dialect_of(client), hints).items():
        if name not in headers:
            headers[name] = value


def hear_server(client: Any, response: Any) -> None:
    """Take notice if a Justitia server has answered: it is told when applications end."""
    with fail_open("reply", "the server will not be told when the application ends"):
        if SERVER_HEADER not in response.headers:
            return
        base_url = str(client.base_url)
        justitia_servers.add(base_url)
        if (scope := current_scope()) is not None:
            scope.application.note_justitia(base_url)


def attempt_of(request: Any) -> int:
    """Return how many attempts went before this request."""
    count = request.headers.get(RETRY_COUNT_HEADER, "")
    return int(count) if count.isdecimal() else 0


def _call_of(options: Any) -> str:
    key = getattr(options, "idempotency_key", None)
    # A user's own key may be of any length and alphabet, hence the digest.
    return uuid.uuid5(uuid.NAMESPACE_OID, key).hex if key else new_ulid()
