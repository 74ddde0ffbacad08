"""
What is known of one application and of one call: facts told, and the running account.

Facts are frozen and come from outside (hints, predictions). An account lives from the first
thing heard of an application to its end; a call lives inside its account. Units: `fairness.cost`.
Instants are the caller's monotonic seconds (`_at`) and engine iterations (`_iteration`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from .spells import Phase, Spells, Tools

if TYPE_CHECKING:
    from .call_queue import CallQueue
    from .tenants import Tag

DEFAULT_TENANT = "default"
UNHINTED_TYPE = "unhinted"  # a call that names no application is one of its own, of this type


@dataclass(frozen=True, slots=True)
class ApplicationFacts:
    """
    What is told of an application before it is served.

    Attributes:
        app_id: Its id.
        app_type: Its kind, for learning.
        tenant: Who is billed.
        weight: Its share of the server, above 0.
        predicted_cost: C, service of all its calls, above 0.
        prediction_source: Which rung of the predictor said so.
        declared_cost: What its plan says, taken at its word; 0 where none was declared.
        is_single_call: It is one call that names no application: it ends with that call,
            completed or not.
        predicted_by: Number of the API process that said so: it keeps the example, no other.
    """

    app_id: str
    app_type: str = "application"
    tenant: str = DEFAULT_TENANT
    weight: float = 1.0
    predicted_cost: float = 1.0
    prediction_source: str = "prior"
    declared_cost: float = 0.0
    is_single_call: bool = False
    predicted_by: int = 0


@dataclass(frozen=True, slots=True)
class CallFacts:
    """
    What is told of a call besides its prompt.

    Attributes:
        call_id: Its id, constant over retries.
        attempt: 0 for the first try.
        stage: Name of its stage, if any.
        stage_index: Place of the stage in the application; earlier is served first.
        last: Whether the application ends with it.
        critical_path: Iterations from its start to the end of the application, as the plan has it;
            within a stage the longest is served first. 0 where nothing is known.
        predicted_output_tokens: d as predicted, if it was.
        is_scout: It is ordered by its own cost instead of its application's, so that what it
            reveals of the application is known early.
    """

    call_id: str | None = None
    attempt: int = 0
    stage: str | None = None
    stage_index: int = 0
    last: bool = False
    critical_path: float = 0.0
    predicted_output_tokens: int | None = None
    is_scout: bool = False


class State(StrEnum):
    """Where an application stands in the real server."""

    ANNOUNCED = "announced"  # told of, no call yet: it has not arrived
    IN_FLIGHT = "in_flight"  # has calls waiting or running
    IDLE = "idle"  # between calls: at a tool, or at a person
    FINISHED = "finished"


@dataclass(slots=True, eq=False)
class Account:
    """One application: what it was promised, what it got, and how it stands to the reference."""

    facts: ApplicationFacts
    opened_at: float
    state: State = State.ANNOUNCED
    stage: str | None = None
    tools: Tools = field(default_factory=Tools)
    spells: Spells = field(default_factory=Spells)
    arrival_seq: int = 0
    arrived_at: float | None = None
    arrived_iteration: int = 0
    predicted_cost: float = 0.0  # as last revised; the reference follows it
    tag: Tag | None = None  # S, F, and what F was formed with; from its arrival to its end
    attained_service: float = 0
    untold_service: float = 0  # used beyond its tag before that was moved up to cover it
    shared_service: float = 0  # what others were charged in its place for blocks held together
    booked_debt: float = 0  # what its tenant was told to owe for it so far
    notice_at: float = 0.0  # attained service at which its tag is to be looked at again
    num_open: int = 0  # calls waiting or running
    num_waiting: int = 0  # kept by the queue they wait in
    num_done: int = 0  # calls; one that was tried again after it had completed counts once
    num_aborted: int = 0  # attempts
    num_retries: int = 0
    num_late: int = 0  # calls that came after its end
    num_output_tokens: int = 0
    num_prefill_tokens: int = 0
    num_recomputed_tokens: int = 0
    num_preemptions: int = 0
    is_paused: bool = False  # idle for longer than the grace period
    is_finishing: bool = False  # told to finish while calls were in flight
    end_reason: str | None = None
    last_active_at: float = 0.0
    last_call_ended_at: float = 0.0
    last_call_ended_iteration: int = 0
    longest_chain: int = 0  # iterations of the longest chain of calls done, each alone
    chain_depth: int = 0  # calls of the deepest such chain
    finished_at: float | None = None
    finished_iteration: int | None = None
    fair_finished_at: float | None = None
    fair_finished_iteration: int | None = None
    bound_iterations: float | None = None

    @property
    def app_id(self) -> str:
        """Its id."""
        return self.facts.app_id

    @property
    def virtual_start(self) -> float:
        """S: V at its arrival, later by the time it was out; 0 before it has arrived."""
        return self.tag.virtual_start if self.tag else 0.0

    @property
    def virtual_finish(self) -> float:
        """F, the tag its calls are ordered by; 0 before it has arrived."""
        return self.tag.virtual_finish if self.tag else 0.0

    @property
    def num_running(self) -> int:
        """Calls admitted to the engine's batch."""
        return self.num_open - self.num_waiting

    def enter_phase(self, now: float) -> None:
        """Take notice of what it does from now on, as its calls stand."""
        if self.num_open > self.num_waiting:
            phase = Phase.RUNNING
        else:
            phase = Phase.WAITING if self.num_open else Phase.IDLE
        self.spells.enter(phase, now)

    @property
    def lateness_iterations(self) -> int | None:
        """Finish minus fair finish, in iterations; positive is late; None until both are known."""
        if self.finished_iteration is None or self.fair_finished_iteration is None:
            return None
        return self.finished_iteration - self.fair_finished_iteration

    @property
    def lateness_s(self) -> float | None:
        """Finish minus fair finish, in seconds; positive is late; None until both are known."""
        if self.finished_at is None or self.fair_finished_at is None:
            return None
        return self.finished_at - self.fair_finished_at


@dataclass(slots=True, eq=False)
class Call:
    """One LLM request of an application, from its arrival to its end."""

    request_id: str
    account: Account
    facts: CallFacts
    arrival_seq: int
    num_prompt_tokens: int
    num_output_tokens: int = 0
    num_prefill_iterations: int = 0  # before the one that gives the first output token, alone
    predicted_cost: float = 0.0
    shared_tokens: float = 0.0  # KV tokens it holds that other holders are charged for
    shared_since: int = 0  # output tokens it had when these were last set or charged for
    shared_before: float = 0.0  # service others were charged for it up to then, not taken off yet
    tag: Tag | None = None  # of its own, for a scout call
    was_admitted: bool = False
    queue: CallQueue | None = field(default=None, repr=False)  # where it waits, if it does
    is_open: bool = True
    chain_before: int = 0  # iterations of the chain of calls it had to wait for
    depth_before: int = 0  # calls of the deepest such chain
    request: Any = field(default=None, repr=False)  # the engine's own object, for translation

    def share(self, shared_tokens: float, num_output_tokens: int) -> None:
        """Hold *shared_tokens* for which others are charged, after *num_output_tokens*."""
        self.shared_before += (num_output_tokens - self.shared_since) * self.shared_tokens
        self.shared_since = num_output_tokens
        self.shared_tokens = shared_tokens

    def take_shared(self, num_output_tokens: int) -> float:
        """Return what others were charged in its place since it was last charged; begin anew."""
        service = (num_output_tokens - self.shared_since) * self.shared_tokens + self.shared_before
        self.shared_since = num_output_tokens
        self.shared_before = 0.0
        return service
