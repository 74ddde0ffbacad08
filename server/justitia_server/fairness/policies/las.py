"""
Least attained service by application (PLAS): whoever has used little goes first, no prediction.

Attained service is output tokens of all the application's calls, in levels that double: within a
level calls are served in the order they came. An application whose calls have waited long for what
they got (iterations waited at least BETA times tokens received) is promoted before every level
until one of its calls is admitted, and its two sums begin anew.

Reference: Luo et al., "Autellix: An Efficient Serving Engine for LLM Agents as General Programs",
arXiv:2502.13965, section 4.2 (PLAS and anti-starvation); running calls are not preempted here.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

from ..accounts import Account, Call
from .base import BasePolicy, Key, Victim, place_in_application

FIRST_QUANTUM_TOKENS = 64
BETA = 8.0


@dataclass(slots=True)
class _Program:
    """What anti-starvation needs of an application."""

    account: Account
    waiting_since: int | None = None  # iteration from which on some call of it waits
    num_waiting: int = 0
    num_iterations_waited: int = 0
    num_tokens_at_reset: int = 0
    is_promoted: bool = False
    check_at: int = -1  # its valid entry in the heap

    def starves_at(self, least: int) -> int:
        """Return the iteration from which on it starves, if it goes on waiting and gets nothing."""
        assert self.waiting_since is not None
        got = self.account.num_output_tokens - self.num_tokens_at_reset
        patience = max(BETA * got, BETA * least)
        return self.waiting_since + int(patience) - self.num_iterations_waited


class Las(BasePolicy):
    """Serve the application with the least attained service first."""

    name = "las"
    victim = Victim.LAST_ADMITTED
    reads_service = True

    def __init__(self) -> None:
        self._programs: dict[str, _Program] = {}
        self._checks: list[tuple[int, int, str]] = []  # (iteration, arrival number, application)
        self._iteration = 0

    def groups(self, account: Account) -> tuple[str, ...]:
        """Return the application."""
        return (account.app_id,)

    def key(self, call: Call, depth: int) -> Key:
        """Return (level, arrival number of the call), then the place in the application."""
        if depth == 1:
            return place_in_application(call)
        if self._programs[call.account.app_id].is_promoted:
            return (-1, call.arrival_seq)
        return (level_of(call.account.num_output_tokens), call.arrival_seq)

    def wait(self, call: Call) -> None:
        """Begin to count iterations waited."""
        program = self._programs.setdefault(call.account.app_id, _Program(call.account))
        program.num_waiting += 1
        if program.waiting_since is None:
            program.waiting_since = self._iteration
            self._check_later(program)

    def admit(self, call: Call) -> None:
        """Count the iterations waited; a promotion is used up."""
        program = self._programs[call.account.app_id]
        self._stop_waiting(program)
        if program.is_promoted:
            program.is_promoted = False
            program.num_iterations_waited = 0
            program.num_tokens_at_reset = call.account.num_output_tokens
            if program.waiting_since is not None:
                program.waiting_since = self._iteration
                self._check_later(program)

    def end(self, call: Call) -> None:
        """Let a call that was never admitted wait no more."""
        if not call.was_admitted:
            self._stop_waiting(self._programs[call.account.app_id])

    def finish(self, account: Account) -> None:
        """Forget the application."""
        self._programs.pop(account.app_id, None)

    def starving(self, iteration: int) -> Iterable[Account]:
        """Promote those who starve at *iteration* and return them. Cost: O(promoted x log n)."""
        self._iteration = iteration
        promoted: list[Account] = []
        while self._checks and self._checks[0][0] <= iteration:
            check_at, _, app_id = heapq.heappop(self._checks)
            program = self._programs.get(app_id)
            if program is None or program.check_at != check_at or program.waiting_since is None:
                continue
            if program.starves_at(FIRST_QUANTUM_TOKENS) <= iteration:
                program.is_promoted = True
                program.check_at = -1
                promoted.append(program.account)
            else:  # it got something meanwhile
                self._check_later(program)
        return promoted

    def _check_later(self, program: _Program) -> None:
        if not program.is_promoted:
            program.check_at = max(program.starves_at(FIRST_QUANTUM_TOKENS), self._iteration + 1)
            entry = (program.check_at, program.account.arrival_seq, program.account.app_id)
            heapq.heappush(self._checks, entry)

    def _stop_waiting(self, program: _Program) -> None:
        program.num_waiting -= 1
        if program.num_waiting == 0 and program.waiting_since is not None:
            program.num_iterations_waited += self._iteration - program.waiting_since
            program.waiting_since = None


def level_of(num_tokens: int) -> int:
    """Return the level: 0 below the first quantum, then one more each time it doubles."""
    return (num_tokens // FIRST_QUANTUM_TOKENS).bit_length()
