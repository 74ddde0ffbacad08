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

from .context import current_scope, justitia_servers
from .failopen import fail_open
from .ids import new_ulid
from .protocol import HINTS_HEADER, SERVER_HEADER

RETRY_COUNT_HEADER = "x-stainless-retry-count"  # set by the client on every attempt, from 0


def add_hints(client: Any, request: Any, options: Any) -> None:
    """
    Put the ambient scope's hints on *request*, unless it has some; outside any scope do nothing.

    Args:
        client: The official client that sends it.
        request: The HTTP request of one attempt.
        options: The client's options of the call; their idempotency key is constant over retries.
    """
    with fail_open("hints", "the call goes out without hints"):
        scope = current_scope()
        if scope is None or request.method != "POST":
            return
        scope.application.note_asked(str(client.base_url), request.headers.get("Authorization"))
        if HINTS_HEADER not in request.headers:
            attempt = attempt_of(request)
            request.headers[HINTS_HEADER] = scope.header(call=_call_of(options), attempt=attempt)


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
