"""
The control call: what the API process may ask of the scheduler, and its answers.

One method on the engine core takes an operation's name and its arguments as JSON and returns
JSON, between two engine steps. Instants leave as Unix seconds; inside they are monotonic.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Protocol

from justitia_sdk.errors import AccountingError, ApplicationClosed, JustitiaError

from ..fairness.accounts import Account, ApplicationFacts, State
from ..fairness.ledger import Ledger
from .recorder import Recorder
from .step_log import StepLog

CONTROL_METHOD = "justitia_control"
NUM_LISTED = 200
NUM_STEPS_DRAINED = 4096  # at a time: the engine waits meanwhile


class Scheduler(Protocol):
    """What the control call needs of the scheduler."""

    ledger: Ledger
    clock: Callable[[], float]
    errors: dict[str, int]
    step_log: StepLog | None
    recorder: Recorder | None

    def get_request_counts(self) -> tuple[int, int]:
        """Return how many requests run and wait."""


def control(scheduler: Scheduler, operation: str, arguments: str) -> str:
    """
    Carry out *operation* and return its answer as JSON.

    A refusal is an answer too: `{"error": {"type": …, "message": …}}`.
    """
    try:
        answer = _OPERATIONS[operation](scheduler, **json.loads(arguments))
    except JustitiaError as exc:
        answer = {"error": {"type": type(exc).__name__, "message": str(exc)}}
    return json.dumps(answer)


def _list(scheduler: Scheduler) -> dict[str, Any]:
    """Return every application not finished, and the latest that are."""
    ledger, now = scheduler.ledger, scheduler.clock()
    ledger.read(now)
    finished = list(ledger.finished.values())[-NUM_LISTED:]
    accounts = [*ledger.in_flight.values(), *reversed(finished)]
    return {"applications": [_describe(account, ledger, now) for account in accounts]}


def _show(scheduler: Scheduler, app_id: str) -> dict[str, Any]:
    now = scheduler.clock()
    scheduler.ledger.read(now)
    account = scheduler.ledger.find(app_id)
    return {"application": account and _describe(account, scheduler.ledger, now)}


def _announce(scheduler: Scheduler, facts: dict[str, Any], revises: bool = True) -> dict[str, Any]:
    """Open an account; of one that runs already, revise the prediction if what is told is new."""
    ledger, now = scheduler.ledger, scheduler.clock()
    told = ApplicationFacts(**facts)
    account = ledger.announce(told, now)
    if account.tag is not None and told.declared_cost and revises:
        _revise(scheduler, [(account.app_id, told.predicted_cost, False)])
    return {"application": _describe(account, ledger, now)}


def _revise(scheduler: Scheduler, revisions: list[tuple[str, float, bool]]) -> dict[str, Any]:
    """
    Replace predicted costs: (application, cost, whether the order follows upwards) each.

    An application that is not in flight here, be it that it has ended meanwhile or that another
    engine serves it, is passed over. None is predicted below what it has used.
    """
    ledger, now = scheduler.ledger, scheduler.clock()
    ledger.read(now)
    num_revised = 0
    for app_id, cost, both_ways in revisions:
        account = ledger.in_flight.get(app_id)
        if account is None or account.tag is None:
            continue
        ledger.revise(app_id, max(cost, account.attained_service), now, both_ways=both_ways)
        num_revised += 1
    return {"num_revised": num_revised}


def _event(
    scheduler: Scheduler,
    app_id: str,
    kind: str,
    name: str | None,
    expected_s: float | None = None,
) -> dict[str, Any]:
    ledger, now = scheduler.ledger, scheduler.clock()
    is_known = ledger.note_event(app_id, kind, name, now, expected_s=expected_s)
    if not is_known and app_id in ledger.finished:
        raise ApplicationClosed(f"application {app_id} has finished")
    return _show(scheduler, app_id)


def _finish(scheduler: Scheduler, app_id: str) -> dict[str, Any]:
    with contextlib.suppress(AccountingError, ApplicationClosed):  # unknown or told before
        scheduler.ledger.finish(app_id, scheduler.clock())
    if scheduler.recorder is not None and app_id in scheduler.ledger.finished:
        scheduler.recorder.close(app_id)
    return _show(scheduler, app_id)


def _poll(scheduler: Scheduler, after_seq: int) -> dict[str, Any]:
    """Expire idle applications; return the samples after *after_seq* and the state."""
    ledger = scheduler.ledger
    expired = ledger.expire(scheduler.clock())
    if scheduler.recorder is not None:
        for app_id in expired:
            scheduler.recorder.close(app_id)
    samples = [asdict(sample) for sample in ledger.samples.after(after_seq)]
    return {"samples": samples, "expired": expired, "state": _state(scheduler)}


def _drain(scheduler: Scheduler) -> dict[str, Any]:
    """Give away what is kept for files, and how much was lost; some at a time."""
    answer: dict[str, Any] = {"steps": [], "applications": [], "lost": {}, "has_more": False}
    if (log := scheduler.step_log) is not None:
        answer["steps"] = log.take(NUM_STEPS_DRAINED)
        answer["lost"]["steps"] = log.take_num_lost()
        answer["has_more"] |= len(log) >= NUM_STEPS_DRAINED
    if (recorder := scheduler.recorder) is not None:
        answer["applications"] = recorder.take()
        answer["lost"]["applications"] = recorder.take_num_lost()
        answer["has_more"] |= len(recorder) > 0
    return answer


def _state(scheduler: Scheduler) -> dict[str, Any]:
    """Return the sizes of everything that could leak, and the totals."""
    ledger = scheduler.ledger
    num_running, num_waiting = scheduler.get_request_counts()
    return {
        "policy": ledger.policy.name,
        "capacity_tokens": ledger.options.capacity,
        "iteration": ledger.iteration,
        "clock": ledger.feed.name,
        "cost": ledger.policy.cost.name,
        "virtual_time": ledger.reference.virtual_time,
        "num_backlogged": len(ledger.reference),
        "num_in_flight": len(ledger.in_flight),
        "num_settling": ledger.num_settling,
        "num_running_calls": num_running,
        "num_waiting_calls": num_waiting,
        "num_finished": ledger.num_finished,
        "num_expired": ledger.num_expired,
        "errors": dict(scheduler.errors),
    }


_OPERATIONS: dict[str, Callable[..., dict[str, Any]]] = {
    "list": _list,
    "show": _show,
    "announce": _announce,
    "revise": _revise,
    "event": _event,
    "finish": _finish,
    "poll": _poll,
    "drain": _drain,
    "state": _state,
}


def _describe(account: Account, ledger: Ledger, now: float) -> dict[str, Any]:
    """Return an account as the HTTP API shows it."""
    to_unix = time.time() - now

    def instant(at: float | None) -> float | None:
        return None if at is None else round(at + to_unix, 6)

    facts = account.facts
    wait_s, run_s = account.spells.until(now)
    return {
        "id": facts.app_id,
        "type": facts.app_type,
        "tenant": facts.tenant,
        "weight": facts.weight,
        "state": str(_state_shown(account)),
        "stage": account.stage,
        "at_tool_since": instant(account.tools.since_at),
        "tool_expected_s": _microseconds(account.tools.expected_s),
        "wait_s": _microseconds(wait_s),
        "run_s": _microseconds(run_s),
        "tool_s": _microseconds(account.tools.until(now)),
        "calls": {
            "waiting": account.num_waiting,
            "running": account.num_running,
            "done": account.num_done,
            "aborted": account.num_aborted,
            "retries": account.num_retries,
            "late": account.num_late,
        },
        "predicted_cost": account.predicted_cost,
        "prediction_source": facts.prediction_source,
        "attained_cost": account.attained_service,
        "output_tokens": account.num_output_tokens,
        "prefill_tokens": account.num_prefill_tokens,
        "recomputed_tokens": account.num_recomputed_tokens,
        "preemptions": account.num_preemptions,
        "virtual_start": account.virtual_start,
        "virtual_finish": account.virtual_finish,
        "virtual_time": _virtual_time(account),
        "top_finish": account.tag.top_finish if account.tag and account.tag.is_live else None,
        "arrived_at": instant(account.arrived_at),
        "arrived_iteration": account.arrived_iteration,
        "finished_at": instant(account.finished_at),
        "finished_iteration": account.finished_iteration,
        "end_reason": account.end_reason,
        "fair_finish_at": instant(account.fair_finished_at),
        "fair_finish_iteration": account.fair_finished_iteration,
        "fair_finish_is_provisional": account.fair_finished_iteration is None
        or account.state is not State.FINISHED,
        "fair_finish_in_iterations": ledger.fair_finish_in(account),
        "lateness_iterations": account.lateness_iterations,
        "lateness_s": account.lateness_s,
        "bound_iterations": account.bound_iterations,
    }


def _microseconds(seconds: float | None) -> float | None:
    """Return *seconds* rounded to whole microseconds."""
    return None if seconds is None else round(seconds, 6)


def _virtual_time(account: Account) -> float | None:
    """Return V of its tenant's clock."""
    if account.tag is None:
        return None
    account.tag.tenant.catch_up()
    return account.tag.tenant.clock.virtual_time


def _state_shown(account: Account) -> str:
    if account.state is not State.IN_FLIGHT:
        return account.state
    return "running" if account.num_running else "waiting"
