"""
The forms of the delay bound: at most so many iterations after the fair finish.

d_max is what the longest call takes alone, prefill included; C_max the largest application's cost
with memory rounded up to whole blocks; both are maxima over the busy period. M is the memory in
tokens.
"""

from __future__ import annotations

from collections.abc import Callable

from .driver import Outcome, Server

Limit = Callable[[Outcome, Server], float]


def one_level(outcome: Outcome, server: Server) -> float:
    """Return 2 d_max + C_max / M: one tenant, one stage, memory alone binding."""
    period = outcome.period
    return 2 * period.longest_call + period.largest_cost / server.capacity


def booked(outcome: Outcome, server: Server) -> float:
    """Return what the ledger says; it knows maxima of the busy period so far only."""
    assert outcome.bound is not None
    return outcome.bound


def critical_path(outcome: Outcome, server: Server) -> float:
    """Return 2 d_max + C_max / M + its own critical path: several stages, as designed."""
    return one_level(outcome, server) + server.path(outcome.application, 0)


def waiting_path(outcome: Outcome, server: Server) -> float:
    """
    Return L + L_max + C_max / M.

    L is its critical path with d_max before each stage but the first, L_max the largest of those.
    """
    period = outcome.period
    own = server.path(outcome.application, period.longest_call)
    return own + period.longest_path + period.largest_cost / server.capacity


def by_rates(outcome: Outcome, server: Server) -> float:
    """Return (1 + R / r) d_max + C_max / r: where slots or the prefill budget bind."""
    period = outcome.period
    ratio = period.most_rate / period.least_rate
    return (1 + ratio) * period.longest_call + period.largest_cost / period.least_rate


def pushed(outcome: Outcome, server: Server) -> float:
    """Return the one-level bound and what pushed applications had been given, over M."""
    assert outcome.pushed is not None
    return one_level(outcome, server) + outcome.pushed.service / server.capacity


def arrived_later(outcome: Outcome, server: Server) -> float:
    """Return the one-level bound and the work that pushed, over M."""
    assert outcome.pushed is not None
    return one_level(outcome, server) + outcome.pushed.arrived_later / server.capacity
