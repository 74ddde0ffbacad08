"""
Who delayed whom: how long one application waited, behind whom, and whom it kept waiting.

While a sequence of an application is in the server and not in the batch, it waits behind those who
hold the memory, in proportion to what each holds:

    behind[b] = sum over steps in which the application waits of step time * held(b) / held by all

so that the parts sum to the time it waited; what its own sequences hold counts as itself. The same
sum with the parts exchanged tells whom it kept waiting. The rest of its completion time it was
served in full, or away: at a tool, or on the way between two steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field


@dataclass(slots=True)
class Waits:
    """
    The waits of one application, and of others behind it.

    Attributes:
        app_id: The application.
        served_s: Seconds in which all its sequences in the server were in the batch.
        behind: Seconds it waited, by who held the memory; itself included.
        kept_waiting: Seconds that others waited because of the memory it held.
    """

    app_id: str
    served_s: float = 0.0
    behind: dict[str, float] = field(default_factory=dict)
    kept_waiting: dict[str, float] = field(default_factory=dict)

    @property
    def waited_s(self) -> float:
        """Seconds in which some of its sequences waited."""
        return sum(self.behind.values())

    def note(self, took_s: float, held: Mapping[str, int], waiting: Set[str]) -> None:
        """
        Take a step into account.

        Args:
            took_s: Its length.
            held: KV tokens by application, of sequences in the batch.
            waiting: Applications with sequences in the server that are not in the batch.
        """
        all_held = sum(held.values()) or 1
        if self.app_id in waiting:
            _add(self.behind, {other: took_s * tokens / all_held for other, tokens in held.items()})
        elif self.app_id in held:
            self.served_s += took_s
        if mine := took_s * held.get(self.app_id, 0) / all_held:
            _add(self.kept_waiting, dict.fromkeys(waiting - {self.app_id}, mine))


def _add(sums: dict[str, float], seconds: Mapping[str, float]) -> None:
    for app_id, each in seconds.items():
        sums[app_id] = sums.get(app_id, 0.0) + each
