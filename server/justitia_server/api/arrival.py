"""
The hints header on its way in: an ASGI middleware that reads it into a context variable.

It only reads. What the arrival becomes is decided where the call meets the engine (`intake`).
A header that cannot be read never stops a call: it is counted, warned of once, and dropped.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from justitia_sdk.errors import HintError
from justitia_sdk.protocol import HINTS_HEADER, SERVER_HEADER, VERSION, Hints, decode_hints

from ..fairness.accounts import DEFAULT_TENANT
from .metrics import count_hints
from .tenants import tenant_of_header

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HINTS = HINTS_HEADER.lower().encode()
_ATTEMPT = b"x-stainless-retry-count"  # the official OpenAI clients count their retries here
_REPLY = (SERVER_HEADER.lower().encode(), str(VERSION).encode())


@dataclass(frozen=True, slots=True)
class Arrival:
    """What an HTTP request says of itself before its body is read."""

    hints: Hints
    tenant: str
    attempt: int


arrival: ContextVar[Arrival | None] = ContextVar("justitia_arrival", default=None)


class ArrivalMiddleware:
    """Set `arrival` for the request's context and mark every reply as a Justitia server's."""

    def __init__(self, app: ASGIApp, *, has_keys: bool) -> None:
        """
        Wrap *app*.

        Args:
            app: The next ASGI application.
            has_keys: The server checks API keys, so that a key tells the tenant.
        """
        self._app = app
        self._has_keys = has_keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), _REPLY]
            await send(message)

        headers = dict(scope["headers"])
        token = arrival.set(
            Arrival(
                _read_hints(headers.get(_HINTS), is_call=scope["method"] == "POST"),
                self._tenant(headers),
                _read_attempt(headers.get(_ATTEMPT)),
            )
        )
        try:
            await self._app(scope, receive, send_marked)
        finally:
            arrival.reset(token)

    def _tenant(self, headers: dict[bytes, bytes]) -> str:
        """Return who is billed: one tenant a checked key, never what a client says."""
        if not self._has_keys:
            return DEFAULT_TENANT
        return tenant_of_header(headers.get(b"authorization"))


def _read_hints(value: bytes | None, *, is_call: bool) -> Hints:
    if value is None:
        return Hints()
    try:
        return decode_hints(value.decode("latin-1"))
    except HintError as exc:
        if is_call:
            count_hints(exc.kind, str(exc))
        return Hints()


def _read_attempt(value: bytes | None) -> int:
    return int(value) if value is not None and value.isdigit() and len(value) < 4 else 0
