"""
What the demo writes down about each call, seen from the client's own HTTP connection.

The same for every server: start and end are this process's clock; token counts are the reply's
`usage`. When a call really ran, rather than waited, is what vLLM says in the reply's `metrics`
(`--enable-per-request-metrics`): time from its first scheduling to its last token. Without that
field the start of running stays unknown. A preempted call counts as running while it waits again.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from typing import Any

import openai

_TLS = ssl.create_default_context()  # building one takes longer than a call
_PATH = "/chat/completions"


class CallRecorder:
    """The calls of one application. Instants are seconds since *origin* (monotonic)."""

    def __init__(self, origin: float, *, on_reply: Callable[[], None] = lambda: None) -> None:
        self.calls: list[dict[str, Any]] = []
        self._origin = origin
        self._on_reply = on_reply

    def client(self) -> openai.DefaultHttpxClient:
        """Return an HTTP client for `OpenAI` or `ChatOpenAI` that records its calls."""
        hooks = {"request": [self._sent], "response": [self._received]}
        return openai.DefaultHttpxClient(event_hooks=hooks, verify=_TLS)

    def async_client(self) -> openai.DefaultAsyncHttpxClient:
        """Return the same for `AsyncOpenAI`."""

        async def sent(request: Any) -> None:
            self._sent(request)

        async def received(response: Any) -> None:
            await response.aread()
            self._received(response)

        hooks = {"request": [sent], "response": [received]}
        return openai.DefaultAsyncHttpxClient(event_hooks=hooks, verify=_TLS)

    def _sent(self, request: Any) -> None:
        request.extensions["sent_s"] = time.monotonic() - self._origin

    def _received(self, response: Any) -> None:
        if not response.request.url.path.endswith(_PATH) or response.status_code != 200:
            return
        response.read()
        end_s = time.monotonic() - self._origin
        self.calls.append(call_record(response.json(), response.request.extensions, end_s))
        self._on_reply()


def call_record(reply: dict[str, Any], extensions: dict[str, Any], end_s: float) -> dict[str, Any]:
    """Return one call as the results file has it."""
    start_s = extensions["sent_s"]
    running_s = _running_s(reply.get("metrics") or {})
    return {
        "start_s": round(start_s, 4),
        "running_from_s": None if running_s is None else round(max(start_s, end_s - running_s), 4),
        "end_s": round(end_s, 4),
        "prompt_tokens": reply["usage"]["prompt_tokens"],
        "output_tokens": reply["usage"]["completion_tokens"],
    }


def _running_s(metrics: dict[str, Any]) -> float | None:
    """Return the seconds from the call's first scheduling to its last token, if known."""
    first, rest = metrics.get("time_to_first_token_ms"), metrics.get("generation_time_ms")
    return None if first is None or rest is None else (first + rest) / 1000
