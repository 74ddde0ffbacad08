"""`OpenAI`, `AsyncOpenAI`: the official clients, with hints and retries that keep one call id."""

from __future__ import annotations

from typing import Any

import openai
from tenacity import AsyncRetrying, Retrying

from .dialects import check_dialect
from .hinted import HintedClient
from .outgoing import attempt_of
from .retries import can_be_sent_again, for_attempt, once, retry_rules, with_call_id

WORTH_RULES = (openai.APIConnectionError, openai.APIStatusError)  # others are never sent again


class RetryingClient(HintedClient):
    """Mixin: replies report the retries made here, not the client's own, which are off."""

    def __init__(self, *args: Any, dialect: str | None = None, **kwargs: Any) -> None:
        """
        Make a client, with the official one's arguments.

        Args:
            args: The official client's.
            dialect: In which server's words hints are sent; Justitia's own by default.
            kwargs: The official client's.

        Raises:
            ConfigurationError: There is no such dialect.
        """
        self._justitia_dialect = None if dialect is None else check_dialect(dialect)
        super().__init__(*args, **kwargs)

    def _process_response(self, *, response: Any, **kwargs: Any) -> Any:
        kwargs["retries_taken"] = attempt_of(response.request)
        return super()._process_response(response=response, **kwargs)


class OpenAI(RetryingClient, openai.OpenAI):
    """
    `openai.OpenAI` with hints; takes the same arguments and can stand in for it anywhere.

    ``max_retries`` means what it always did. A call keeps its id over its attempts.
    """

    def request(
        self, cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None
    ) -> Any:
        """Send one call, and again where the rules allow it."""
        if not can_be_sent_again(options):
            return super().request(cast_to, options, stream=stream, stream_cls=stream_cls)
        ours = once(with_call_id(self, options))
        try:  # without the rules, which most calls never need
            return super().request(cast_to, ours, stream=stream, stream_cls=stream_cls)
        except WORTH_RULES as exc:
            failed = exc
        for attempt in Retrying(**retry_rules(self, options)):
            with attempt:
                if attempt.retry_state.attempt_number == 1:
                    raise failed
                again = for_attempt(ours, attempt.retry_state)
                return super().request(cast_to, again, stream=stream, stream_cls=stream_cls)
        raise AssertionError("tenacity returns or raises")


class AsyncOpenAI(RetryingClient, openai.AsyncOpenAI):
    """`openai.AsyncOpenAI` with hints; see `OpenAI`."""

    async def request(
        self, cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None
    ) -> Any:
        """Send one call, and again where the rules allow it."""
        if not can_be_sent_again(options):
            return await super().request(cast_to, options, stream=stream, stream_cls=stream_cls)
        ours = once(with_call_id(self, options))
        try:
            return await super().request(cast_to, ours, stream=stream, stream_cls=stream_cls)
        except WORTH_RULES as exc:
            failed = exc
        async for attempt in AsyncRetrying(**retry_rules(self, options)):
            with attempt:
                if attempt.retry_state.attempt_number == 1:
                    raise failed
                again = for_attempt(ours, attempt.retry_state)
                return await super().request(cast_to, again, stream=stream, stream_cls=stream_cls)
        raise AssertionError("tenacity returns or raises")
