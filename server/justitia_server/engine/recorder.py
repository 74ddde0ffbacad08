"""
The recorder: what came to the engine, kept application by application until it is fetched.

Of every call: tokens of its prompt and output, when it came and when it ended, its stage, and how
many tokens of its prompt the prefix cache had. No text. Calls that produced nothing are left out,
such as those that failed and were tried again. The samples of one prompt (`n` of the OpenAI API)
are calls of their own to the engine, `0_ID`, `1_ID`, …; those of equal length become one.

Memory is bounded. An application of very many calls is taken down in parts, each an application of
its own; so is the oldest one when very many calls are kept. What nobody fetches is lost, the oldest
first, and counted.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..fairness.accounts import ApplicationFacts, Call, State

MOST_CALLS_EACH = 10_000  # of one application
MOST_CALLS_OPEN = 200_000  # of applications that have not ended
MOST_CALLS_ENDED = 200_000  # of those that have, and are to be fetched
MOST_CALLS_TAKEN = 2_000  # at a time, about: writing them down holds the engine up


class RecordedCall(NamedTuple):
    """
    One call that has ended.

    Attributes:
        stage: A label, or None.
        num_prompt_tokens: p.
        num_output_tokens: d.
        num_samples: So many sequences of its one prompt had that length.
        num_cached_tokens: Leading tokens of the prompt that were in the prefix cache.
        began_at: When it came to the engine; Unix seconds, of the earliest sample.
        ended_at: When it ended; of the latest.
    """

    stage: str | None
    num_prompt_tokens: int
    num_output_tokens: int
    num_samples: int
    num_cached_tokens: int
    began_at: float
    ended_at: float


@dataclass(slots=True)
class _Application:
    facts: ApplicationFacts
    calls: dict[tuple[str, int], RecordedCall] = field(default_factory=dict)  # by request, d

    def as_json(self) -> dict[str, Any]:
        facts = self.facts
        return {
            "app_id": facts.app_id,
            "app_type": facts.app_type,
            "tenant": facts.tenant,
            "weight": facts.weight,
            "calls": list(self.calls.values()),
        }


class Recorder:
    """The calls of one engine, by application."""

    def __init__(self, *, to_unix: float = 0.0, most_calls_each: int = MOST_CALLS_EACH) -> None:
        """
        Begin empty.

        Args:
            to_unix: What makes Unix seconds of the engine's.
            most_calls_each: Calls of an application taken down together.
        """
        self.num_lost = 0  # applications
        self._to_unix = to_unix
        self._most_calls_each = most_calls_each
        self._began: dict[Call, float] = {}  # of calls in the engine
        self._cached: dict[Call, int] = {}
        self._open: dict[str, _Application] = {}  # by id; the one longest here first
        self._ended: deque[_Application] = deque()
        self._num_calls_open = self._num_calls_ended = 0

    def __len__(self) -> int:
        """How many applications are to be fetched."""
        return len(self._ended)

    def begin(self, call: Call, now: float) -> None:
        """Take notice that *call* has come."""
        self._began[call] = now + self._to_unix

    def hit(self, call: Call, num_cached_tokens: int) -> None:
        """Take notice that so many tokens of *call*'s prompt need not be computed."""
        self._cached[call] = num_cached_tokens

    def end(self, call: Call, num_output_tokens: int, now: float) -> None:
        """Take notice that *call* has ended, completed or not; the ledger knows by now."""
        ended_at = now + self._to_unix
        began_at, num_cached = self._began.pop(call, ended_at), self._cached.pop(call, 0)
        if num_output_tokens:
            told = RecordedCall(
                call.facts.stage, call.num_prompt_tokens, num_output_tokens, 1,
                num_cached, began_at, ended_at,
            )  # fmt: skip
            self._keep(call, told)
        if call.account.state is State.FINISHED:
            self.close(call.account.app_id)

    def close(self, app_id: str) -> None:
        """Take notice that an application has ended, known here or not."""
        application = self._open.pop(app_id, None)
        if application is None:
            return
        self._num_calls_open -= len(application.calls)
        self._num_calls_ended += len(application.calls)
        self._ended.append(application)
        while self._num_calls_ended > MOST_CALLS_ENDED:
            self._num_calls_ended -= len(self._ended.popleft().calls)
            self.num_lost += 1

    def close_all(self) -> None:
        """Take notice that the engine ends, and with it every application."""
        for app_id in list(self._open):
            self.close(app_id)

    def take(self, most_calls: float = MOST_CALLS_TAKEN) -> list[dict[str, Any]]:
        """Remove and return the applications that ended first, of about *most_calls* calls."""
        taken: list[dict[str, Any]] = []
        num_calls = 0
        while self._ended and num_calls < most_calls:
            application = self._ended.popleft()
            num_calls += len(application.calls)
            taken.append(application.as_json())
        self._num_calls_ended -= num_calls
        return taken

    def take_num_lost(self) -> int:
        """Return how many applications were lost since this was last asked."""
        num_lost, self.num_lost = self.num_lost, 0
        return num_lost

    def _keep(self, call: Call, told: RecordedCall) -> None:
        facts = call.account.facts
        application = self._open.get(facts.app_id)
        if application is None:
            application = self._open[facts.app_id] = _Application(facts)
        key = (prompt_id(call.request_id), told.num_output_tokens)
        if (sibling := application.calls.get(key)) is not None:
            application.calls[key] = _together(sibling, told)
            return
        application.calls[key] = told
        self._num_calls_open += 1
        if len(application.calls) >= self._most_calls_each:
            self.close(facts.app_id)
        elif self._num_calls_open > MOST_CALLS_OPEN:
            self.close(next(iter(self._open)))


def prompt_id(request_id: str) -> str:
    """Return the id that the samples of one prompt share: vLLM puts `0_`, `1_`, … before it."""
    number, _, rest = request_id.partition("_")
    return rest if rest and number.isdecimal() else request_id


def _together(one: RecordedCall, other: RecordedCall) -> RecordedCall:
    """Return two samples of a prompt as one call; what both found cached came from others."""
    return one._replace(
        num_samples=one.num_samples + other.num_samples,
        num_cached_tokens=min(one.num_cached_tokens, other.num_cached_tokens),
        began_at=min(one.began_at, other.began_at),
        ended_at=max(one.ended_at, other.ended_at),
    )
