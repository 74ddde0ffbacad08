"""
What has been seen of a running application, in numbers that do not grow with it.

Calls come in *waves*: a wave is every call that begins until none is open any more, so a call that
begins while none is open opens the next wave. A serial agent has one call a wave; of a map and
reduce the first wave is the map.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(slots=True)
class Course:
    """
    The calls of one application so far.

    Attributes:
        num_begun: Calls that have begun.
        num_done: Calls completed.
        num_open: Calls begun and neither completed nor aborted.
        num_waves: Waves begun.
        wave_size: Calls begun in the latest wave.
        first_wave_size: Calls of the first wave.
        first_prompt_tokens: p of the first call.
        last_prompt_tokens: p of the latest call begun.
        prompt_tokens: Sum of p over the calls begun.
        open_prompt_tokens: Sum of p over the calls open.
        first_output_tokens: d of the first call completed.
        last_output_tokens: d of the latest call completed.
        output_tokens: Sum of d over the calls completed.
        cost: Service of the calls completed, as if nothing were shared (`fairness.cost`).
    """

    num_begun: int = 0
    num_done: int = 0
    num_open: int = 0
    num_waves: int = 0
    wave_size: int = 0
    first_wave_size: int = 0
    first_prompt_tokens: int = 0
    last_prompt_tokens: int = 0
    prompt_tokens: int = 0
    open_prompt_tokens: int = 0
    first_output_tokens: int = 0
    last_output_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0

    def begin_call(self, num_prompt_tokens: int) -> None:
        """Take notice of a call that begins."""
        if not self.num_open:
            self.num_waves += 1
            self.wave_size = 0
        if not self.num_begun:
            self.first_prompt_tokens = num_prompt_tokens
        self.num_begun += 1
        self.num_open += 1
        self.wave_size += 1
        if self.num_waves == 1:
            self.first_wave_size = self.wave_size
        self.last_prompt_tokens = num_prompt_tokens
        self.prompt_tokens += num_prompt_tokens
        self.open_prompt_tokens += num_prompt_tokens

    def retry_call(self, num_prompt_tokens: int, *, was_done: bool = False) -> None:
        """Take notice of a call's next attempt: the call counts once, what was used stays used."""
        self.num_open += 1
        self.num_done -= was_done
        self.open_prompt_tokens += num_prompt_tokens

    def end_call(self, num_prompt_tokens: int, num_output_tokens: int, cost: float) -> None:
        """Take notice of a call that has completed, and of what it cost."""
        self.num_open -= 1
        self.open_prompt_tokens -= num_prompt_tokens
        if not self.num_done:
            self.first_output_tokens = num_output_tokens
        self.num_done += 1
        self.last_output_tokens = num_output_tokens
        self.output_tokens += num_output_tokens
        self.cost += cost

    def abort_call(self, num_prompt_tokens: int) -> None:
        """Take notice of a call that has ended without completing."""
        self.num_open -= 1
        self.open_prompt_tokens -= num_prompt_tokens

    def glimpse(self) -> Course:
        """Return a copy, which stays as it is."""
        return replace(self)
