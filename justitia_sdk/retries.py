"""
When a failed call is tried again, and how long after: the official client's own rules, by tenacity.

The rules are asked of the client itself, so that they stay the same: connection errors, time-outs,
408, 409, 429 and 5xx, `x-should-retry`, `Retry-After`, else exponential back-off with jitter. One
rule is added: a call of which a gateway says that it was cancelled on purpose is not sent again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openai import APIConnectionError, APIStatusError
from openai._base_client import BaseClient
from openai._compat import model_copy
from tenacity import RetryCallState, retry_if_exception, stop_after_attempt

from .outgoing import RETRY_COUNT_HEADER

Client = BaseClient[Any, Any]

DROPPED_REASON_HEADER = "x-llm-d-request-dropped-reason"
CANCELLED = "rejected-context-cancelled"


def retry_rules(client: Client, options: Any) -> dict[str, Any]:
    """Return tenacity's arguments for one call of *client*, *options* being as the user asked."""
    max_retries = options.get_max_retries(client.max_retries)

    def is_worth_it(exc: BaseException) -> bool:
        if isinstance(exc, APIStatusError):
            reason = exc.response.headers.get(DROPPED_REASON_HEADER)
            return reason != CANCELLED and client._should_retry(exc.response)
        return isinstance(exc, APIConnectionError)  # time-outs are connection errors

    def delay_s(state: RetryCallState) -> float:
        exc = state.outcome.exception() if state.outcome is not None else None
        headers = exc.response.headers if isinstance(exc, APIStatusError) else None
        remaining = max_retries - state.attempt_number + 1
        return client._calculate_retry_timeout(remaining, options, headers)

    return {
        "stop": stop_after_attempt(max_retries + 1),
        "retry": retry_if_exception(is_worth_it),
        "wait": delay_s,
        "reraise": True,
    }


def can_be_sent_again(options: Any) -> bool:
    """Return whether the body is kept whole; of streams and files only the client itself knows."""
    content = getattr(options, "content", None)
    return not options.files and (content is None or isinstance(content, bytes | bytearray))


def with_call_id(client: Client, options: Any) -> Any:
    """Return a copy of *options*, ours to change, whose idempotency key names the call."""
    options = model_copy(options)
    options.idempotency_key = options.idempotency_key or client._idempotency_key()
    return options


def once(options: Any) -> Any:
    """Return *options*, which are ours, such that the client itself does not send them again."""
    options.max_retries = 0
    return options


def for_attempt(options: Any, state: RetryCallState) -> Any:
    """Return *options*, which are ours, such that they tell the attempt's number."""
    given = options.headers if isinstance(options.headers, Mapping) else {}
    options.headers = {**given, RETRY_COUNT_HEADER: str(state.attempt_number - 1)}
    return options
