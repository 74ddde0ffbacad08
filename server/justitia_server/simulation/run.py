"""
Running a workload on vLLM's real scheduler, with modelled step times.

Scheduler, queues, block tables, admission and preemption are vLLM's with ours inside; the model is
absent, and a step takes as long as `step_time` says. With overlap a step is scheduled when the one
before it begins to be computed, and its output is seen when it has been computed, as on a GPU.

A call is submitted at the end of the iteration in which the last of those it waits for ended, and
its delay later; its samples at once. An application ends with its last call. Everything is
deterministic: equal workloads, servers, policies and seeds give equal outcomes.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from justitia_sdk.errors import InternalError

from ..engine.carrier import EXTRA_ARGS_KEY, pack
from ..engine.offline import Step
from ..engine.settings import Settings
from ..fairness.accounts import DEFAULT_TENANT, Account, ApplicationFacts, CallFacts
from ..fairness.policies.registry import make_policy
from .costs import Costs, make_costs, true_cost
from .outcomes import Outcome, Run
from .prompts import prompt_of
from .server import Server
from .shadows import Shadow
from .waits import Waits
from .workload import Arriving, Call

NUM_HOLDINGS = 400  # looks at who holds the memory, about

Progress = Callable[[int, int], None]  # applications ended, of how many


@dataclass(slots=True)
class _Running:
    """An application under way."""

    application: Arriving
    levels: list[int]  # of each call: how many calls the longest chain before it has
    waits_for: list[int]  # of each call: how many of `after` have not ended
    facts: ApplicationFacts | None = None
    account: Account | None = None
    num_calls_left: int = 0
    num_samples_left: dict[int, int] = field(default_factory=dict)  # by call under way
    num_open: int = 0  # sequences in the server
    fed_at: float = 0.0  # when it last got a token, or came to have anything in the server
    starved_s: float = 0.0
    finished_at: float = 0.0
    finished_iteration: int = 0


def simulate(
    workload: Sequence[Arriving],
    server: Server,
    policy: str,
    *,
    predicted_cost: str = "true",
    seed: int = 0,
    costs: Costs | None = None,
    explain: str | None = None,
    progress: Progress | None = None,
) -> Run:
    """
    Run *workload* under *policy* and return what became of everyone.

    Args:
        workload: By arrival.
        server: The engine, and how fast it is.
        policy: One of `justitia serve --policy`.
        predicted_cost: What the scheduler is told: `true`, `online`, … (`costs`).
        seed: Of prediction errors.
        costs: Tells the scheduler costs in place of `predicted_cost`.
        explain: An application whose waits are to be taken down.
        progress: Told how many applications have ended.

    Raises:
        ConfigurationError: A call that does not fit, or no such policy or prediction.
    """
    server.check(workload)
    costs = costs or make_costs(predicted_cost, make_policy(policy).cost, seed)
    return Simulation(workload, server, policy, costs, seed, explain, progress).run()


class Simulation:
    """One run."""

    def __init__(
        self,
        workload: Sequence[Arriving],
        server: Server,
        policy: str,
        costs: Costs,
        seed: int,
        explain: str | None,
        progress: Progress | None,
    ) -> None:
        self._workload = workload
        self._server = server
        self._costs = costs
        self._progress = progress
        self._run = Run(policy, seed, capacity=server.capacity)
        self._waits = self._run.waits = Waits(explain) if explain else None
        self._engine = server.engine(Settings(policy=policy))
        self._ledger = self._engine.scheduler.ledger
        self._now = 0.0
        self._engine.scheduler.clock = lambda: self._now
        self._free_at = 0.0  # when the step before has been computed
        self._planned_at: list[float] = []  # of steps whose output is still to come
        self._due: list[tuple[float, int, _Running, int]] = []  # calls, by the time they are due
        self._num_due = 0
        self._calls: dict[str, tuple[_Running, int]] = {}  # by request
        self._held: dict[str, int] = {}  # KV tokens with which its next token is charged
        self._all: list[_Running] = []
        self._num_present = 0  # applications that have arrived and not ended
        self._num_ended = self._num_samples = self._num_added = 0
        self._delivered = Shadow()
        self._nominal = Shadow()
        self._look_every_s = _expected_s(workload, server) / NUM_HOLDINGS
        self._look_at = 0.0  # when to note again who holds what
        self._adding_s = self._stepping_s = self._usage_s = 0.0

    def run(self) -> Run:
        """Run to the end."""
        for application in self._workload:
            self._start(application)
        while self._due or self._engine.has_work:
            if not self._engine.has_work:
                self._now = max(self._now, self._due[0][0])
            self._submit_due()
            self._revise()
            self._step()
        return self._close()

    # -- calls in ------------------------------------------------------------------------

    def _start(self, application: Arriving) -> None:
        calls = application.calls
        levels: list[int] = []
        for call in calls:
            levels.append(1 + max((levels[before] for before in call.after), default=-1))
        running = _Running(application, levels, [len(set(call.after)) for call in calls])
        running.num_calls_left = len(calls)
        self._all.append(running)
        for call in calls:
            if not call.after:
                self._await(running, call, application.arrival_s)

    def _await(self, running: _Running, call: Call, since: float) -> None:
        self._num_due += 1
        heapq.heappush(self._due, (since + call.delay_s, self._num_due, running, call.id))

    def _submit_due(self) -> None:
        while self._due and self._due[0][0] <= self._now:
            _, _, running, place = heapq.heappop(self._due)
            self._submit(running, running.application.calls[place])

    def _submit(self, running: _Running, call: Call) -> None:
        application = running.application
        if running.facts is None:
            running.facts = self._arrive(application)
        if not running.num_open:
            running.fed_at = self._now
        running.num_open += call.samples
        running.num_samples_left[call.id] = call.samples
        told = pack(running.facts, self._call_facts(running, call))
        prompt = prompt_of(application, call) if self._server.prefix_caching else call.prompt_tokens
        began = time.perf_counter()
        for sample in range(call.samples):
            request_id = f"{sample}_{application.app_id}/{call.id}"  # as vLLM names samples
            self._calls[request_id] = (running, call.id)
            self._held[request_id] = call.prompt_tokens
            self._engine.add(
                request_id,
                prompt=prompt,
                num_output_tokens=call.output_tokens,
                extra_args={EXTRA_ARGS_KEY: told},
            )
        self._adding_s += time.perf_counter() - began
        self._num_added += call.samples
        if running.account is None:
            running.account = self._ledger.find(application.app_id)

    def _call_facts(self, running: _Running, call: Call) -> CallFacts:
        told = self._costs.begin(running.application.app_id, call)
        return CallFacts(
            stage_index=running.levels[call.id],
            predicted_output_tokens=told.output_tokens,
            is_scout=told.is_scout,
        )

    def _arrive(self, application: Arriving) -> ApplicationFacts:
        tenant = application.tenant or DEFAULT_TENANT
        self._num_present += 1
        for shadow in (self._delivered, self._nominal):
            shadow.arrive(application.app_id, tenant, application.cost, application.weight)
        prediction = self._costs.predict(application)
        return ApplicationFacts(
            application.app_id,
            application.app_type,
            tenant,
            application.weight,
            prediction.cost,
            prediction.source,
            prediction.declared_cost,
        )

    def _revise(self) -> None:
        """Tell the books of predictions that have changed with what has ended and begun."""
        for told in self._costs.revisions():
            self._ledger.revise(told.app_id, told.cost, self._now, both_ways=told.both_ways)

    # -- iterations ----------------------------------------------------------------------

    def _step(self) -> None:
        began = time.perf_counter()
        planned = self._engine.schedule()
        is_due = self._engine.is_output_due(planned)
        self._stepping_s += time.perf_counter() - began
        if planned is not None:
            self._planned_at.append(self._now)
        if is_due:
            self._process()
        elif planned is None:
            self._wait()

    def _wait(self) -> None:
        """Nothing could be scheduled: go on to the next call that is due."""
        if not self._due:
            raise InternalError("calls wait, and none can ever be scheduled: please report")
        self._now = max(self._now, self._due[0][0])

    def _process(self) -> None:
        began = time.perf_counter()
        step = self._engine.next_output
        took = self._server.step_time.step_s(step.num_decoding, step.num_kv_tokens, step.chunks)
        self._free_at = max(self._free_at, self._planned_at.pop(0)) + took
        self._now = self._free_at
        self._run.busy_s += took
        self._usage_s += took * self._engine.kv_usage_ratio
        self._run.num_preemptions += step.num_preempted
        if self._waits is not None:
            self._note_waits(self._waits, took)
        self._engine.process()
        self._stepping_s += time.perf_counter() - began
        if self._now >= self._look_at:
            self._note_holdings()
        self._take(step)

    def _held_tokens(self) -> dict[str, int]:
        """Return the KV tokens that sequences in the batch hold, by application."""
        held: dict[str, int] = {}
        for request in self._engine.scheduler.running:
            app_id = self._calls[request.request_id][0].application.app_id
            held[app_id] = held.get(app_id, 0) + request.num_computed_tokens
        return held

    def _note_waits(self, waits: Waits, took: float) -> None:
        running = {request.request_id for request in self._engine.scheduler.running}
        waiting = {
            self._calls[request_id][0].application.app_id
            for request_id in self._calls.keys() - running
        }
        waits.note(took, self._held_tokens(), waiting)

    def _note_holdings(self) -> None:
        self._run.holdings.append((self._now, self._held_tokens()))
        self._look_at = self._now + self._look_every_s

    def _take(self, step: Step) -> None:
        """Take what a step delivered; its iteration is the one just closed."""
        held, calls, now, service = self._held, self._calls, self._now, 0
        for request_id, num_tokens in step.delivered.items():
            if not num_tokens:
                continue
            before = held[request_id]
            held[request_id] = before + num_tokens
            service += num_tokens * before + num_tokens * (num_tokens + 1) // 2
            running = calls[request_id][0]
            if now - running.fed_at > running.starved_s:
                running.starved_s = now - running.fed_at
            running.fed_at = now
        iteration = self._run.num_iterations
        self._run.num_iterations += 1
        self._delivered.feed(service, now, iteration)
        self._nominal.feed(self._server.capacity, now, iteration)
        for request_id in step.finished:
            self._end(request_id)
        if step.finished and not self._num_present:
            for shadow in (self._delivered, self._nominal):
                shadow.close(now, iteration)

    def _end(self, request_id: str) -> None:
        """Take notice that a sequence has ended, and with it perhaps its call."""
        running, place = self._calls.pop(request_id)
        del self._held[request_id]
        running.num_open -= 1
        running.num_samples_left[place] -= 1
        self._costs.end(running.application.app_id, running.application.calls[place])
        if running.num_samples_left[place]:
            return
        running.num_calls_left -= 1
        application = running.application
        for call in application.calls[place + 1 :]:
            if place in call.after:
                running.waits_for[call.id] -= 1
                if not running.waits_for[call.id]:
                    self._await(running, call, self._now)
        if not running.num_calls_left:
            self._finish(running)

    def _finish(self, running: _Running) -> None:
        running.finished_at = self._now
        running.finished_iteration = self._run.num_iterations - 1
        self._ledger.finish(running.application.app_id, self._now)
        for sample in self._ledger.samples.after(self._num_samples):
            self._costs.observe(sample)
            self._num_samples = sample.seq
        self._num_present -= 1
        self._num_ended += 1
        if self._progress is not None:
            self._progress(self._num_ended, len(self._all))

    # -- the end -------------------------------------------------------------------------

    def _close(self) -> Run:
        run = self._run
        if self._engine.scheduler.errors:
            raise InternalError(f"errors in the books: {dict(self._engine.scheduler.errors)}")
        run.kv_usage = self._usage_s / run.busy_s
        run.arrival_us = self._adding_s / self._num_added * 1e6
        run.step_us = self._stepping_s / run.num_iterations * 1e6
        seconds_each = run.busy_s / run.num_iterations
        run.outcomes = [self._outcome(each, seconds_each) for each in self._all]
        return run

    def _outcome(self, running: _Running, seconds_each: float) -> Outcome:
        application, account = running.application, running.account
        assert account is not None
        assert running.facts is not None
        app_id = application.app_id
        fair, nominal = (
            shadow.fair_finishes[app_id] for shadow in (self._delivered, self._nominal)
        )
        bound = account.bound_iterations or 0.0
        return Outcome(
            app_id=app_id,
            app_type=application.app_type,
            tenant=application.tenant,
            arrival_s=application.arrival_s,
            finish_s=running.finished_at,
            cost=application.cost,
            predicted_cost=running.facts.predicted_cost,
            true_cost=true_cost(application, self._ledger.policy.cost),
            num_output_tokens=application.num_output_tokens,
            fair_finish_s=fair.at_s,
            fair_finish_nominal_s=nominal.at_s,
            late_iterations=running.finished_iteration - fair.iteration,
            late_iterations_nominal=running.finished_iteration - nominal.iteration,
            bound_iterations=bound,
            bound_s=bound * seconds_each,
            is_single_stage=application.is_single_stage,
            starved_s=running.starved_s,
        )


def _expected_s(workload: Sequence[Arriving], server: Server) -> float:
    """Return about how long the run will take: until the last arrival, or all the work."""
    work = sum(each.cost for each in workload)
    return max(workload[-1].arrival_s, work / server.rate)
