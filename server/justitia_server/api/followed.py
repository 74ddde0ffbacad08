"""
A call on its way through the API process: what its outputs tell of the application's course.

vLLM yields a call's outputs from one generator, which is wrapped here. Samples of one prompt
(`n` > 1) are calls of their own, as in the engine. Nothing here may break a call: what goes wrong
is counted, and the outputs go on.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from ..prediction.following import Following
from .metrics import count_failure

_NOT_COMPLETED = ("abort", "error")


class FollowedCall:
    """One call, or its samples, from its beginning to its end."""

    def __init__(
        self,
        following: Following,
        *,
        num_prompt_tokens: int,
        num_samples: int = 1,
        call_id: str | None = None,
        attempt: int = 0,
        is_delta: bool = False,
        on_news: Callable[[Following], None] = lambda following: None,
    ) -> None:
        """
        Be ready to follow; nothing is noted yet.

        Args:
            following: Its application.
            num_prompt_tokens: p.
            num_samples: Sequences of its one prompt.
            call_id: Constant over retries, if told.
            attempt: 0 for the first try.
            is_delta: Each output holds only what is new, else all so far.
            on_news: Told when the application's course has changed.
        """
        self._following = following
        self._num_prompt_tokens = num_prompt_tokens
        self._call_id = call_id
        self._attempt = attempt
        self._is_delta = is_delta
        self._on_news = on_news
        self._num_output_tokens = [0] * num_samples
        self._num_open = 0

    def begin(self) -> None:
        """Take notice that it begins."""
        self._num_open = len(self._num_output_tokens)
        self._following.begin_call(
            self._num_prompt_tokens,
            call_id=self._call_id,
            attempt=self._attempt,
            num_samples=self._num_open,
        )
        self._on_news(self._following)

    def take(self, output: Any) -> None:
        """Take notice of an output of vLLM's."""
        numbers = self._num_output_tokens
        for sample in output.outputs:
            number = len(sample.token_ids)
            numbers[sample.index] = numbers[sample.index] + number if self._is_delta else number
            if sample.finish_reason is not None:
                self._end(numbers[sample.index], sample.finish_reason)

    def close(self) -> None:
        """Take notice that no output comes any more: what is still open has been aborted."""
        while self._num_open:
            self._num_open -= 1
            self._following.abort_call(self._num_prompt_tokens)

    def _end(self, num_output_tokens: int, reason: str) -> None:
        if reason in _NOT_COMPLETED or not self._num_open:
            return  # `close` sees to it
        self._num_open -= 1
        self._following.end_call(
            self._num_prompt_tokens,
            num_output_tokens,
            call_id=self._call_id,
            attempt=self._attempt,
        )
        self._on_news(self._following)


async def follow(
    outputs: AsyncGenerator[Any, None], call: FollowedCall
) -> AsyncGenerator[Any, None]:
    """Yield *outputs* as they are, and let *call* take notice of them."""
    async with aclosing(outputs):
        _noting(call.begin)
        try:
            async for output in outputs:
                _noting(call.take, output)
                yield output
        finally:
            _noting(call.close)


def _noting(note: Callable[..., None], *told: Any) -> None:
    try:
        note(*told)
    except Exception as exc:  # whatever it is, the user's call goes on
        count_failure("follow", exc)
