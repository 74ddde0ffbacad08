"""
Runs a workload of applications on vLLM's real scheduler, offline, and settles the accounts.

What is measured is vLLM's scheduler, its KV manager and our books. The driver only submits calls
when they are due: an application's next stage when the last call of the stage before has ended. It
keeps its own shadow reference and compares the books with it. Time is counted in engine iterations;
where the server is empty the driver goes straight to the next arrival.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from justitia_server.engine.carrier import EXTRA_ARGS_KEY, pack
from justitia_server.engine.offline import OfflineEngine, OfflineOptions, Step
from justitia_server.engine.settings import Settings
from justitia_server.fairness.accounts import DEFAULT_TENANT, Account, ApplicationFacts, CallFacts
from justitia_server.fairness.cost import call_cost
from justitia_server.fairness.ledger import Ledger
from justitia_server.fairness.samples import Sample
from justitia_server.simulation.costs import CallTold, Revised

from .shadow import Shadow

Call = tuple[int, int]  # prompt tokens p, output tokens d
Stages = tuple[tuple[Call, ...], ...]

MAX_ITERATIONS = 1_000_000


@dataclass(frozen=True, slots=True)
class Application:
    """
    One application to run.

    Attributes:
        app_id: Its id.
        arrival: Iteration from which on its first stage is here.
        stages: The calls of each stage.
        tenant: Who is billed.
        weight: w.
        app_type: Its kind, for a predictor in the loop.
        is_ended: Whether anyone says that it has ended.
    """

    app_id: str
    arrival: int
    stages: Stages
    tenant: str = DEFAULT_TENANT
    weight: float = 1.0
    app_type: str = "application"
    is_ended: bool = True

    @property
    def cost(self) -> float:
        """C: KV token-time of all its calls."""
        return float(sum(call_cost(p, d) for stage in self.stages for p, d in stage))

    @property
    def num_calls(self) -> int:
        """Calls of all its stages."""
        return sum(len(stage) for stage in self.stages)


@dataclass(frozen=True, slots=True)
class Server:
    """The engine to be, and the order it serves in."""

    num_blocks: int = 460  # 459 for use
    block_size: int = 16
    max_num_seqs: int = 1024
    max_num_batched_tokens: int = 65_536
    overlap: bool = False
    policy: str = "justitia"
    tenant_weights: tuple[tuple[str, float], ...] = ()
    iterations_per_s: float = 60.0

    @property
    def capacity(self) -> int:
        """M: KV tokens that fit; vLLM keeps one block for padding."""
        return (self.num_blocks - 1) * self.block_size

    def iterations_alone(self, call: Call) -> int:
        """Return the iterations *call* takes when it has the server for itself."""
        prompt, output = call
        return -(-prompt // self.max_num_batched_tokens) - 1 + output

    def least_rate(self, calls: Sequence[Call]) -> float:
        """
        Return the least service an iteration delivers, of *calls*, with as many as are let.

        That is M; or, where slots bind, what the least call earns for an iteration of a slot; or,
        where the prefill budget binds, what it earns for a token of the budget.
        """
        slots, budget = self.max_num_seqs, self.max_num_batched_tokens
        by_slots = min(slots * call_cost(*call) / self.iterations_alone(call) for call in calls)
        by_budget = min(budget * call_cost(*call) / (call[0] + call[1]) for call in calls)
        return min(self.capacity, by_slots, by_budget)

    def rounded_cost(self, application: Application) -> float:
        """Return C of *application* with the memory of each token rounded up to whole blocks."""
        return float(
            sum(
                -(-(prompt + index) // self.block_size) * self.block_size
                for stage in application.stages
                for prompt, output in stage
                for index in range(1, output + 1)
            )
        )

    def path(self, application: Application, wait: int) -> int:
        """Return the iterations of its longest calls, *wait* before each stage but the first."""
        longest = [max(map(self.iterations_alone, stage)) for stage in application.stages]
        return sum(longest) + wait * (len(longest) - 1)

    def engine(self) -> OfflineEngine:
        """Build it."""
        options = OfflineOptions(
            num_blocks=self.num_blocks,
            block_size=self.block_size,
            max_num_seqs=self.max_num_seqs,
            max_num_batched_tokens=self.max_num_batched_tokens,
            max_model_len=4096,
            overlap=self.overlap,
        )
        return OfflineEngine(
            options, Settings(policy=self.policy, tenant_weights=dict(self.tenant_weights))
        )


@dataclass(frozen=True, slots=True)
class Period:
    """
    The maxima of one busy period, from the workload and not from the books.

    Attributes:
        longest_call: d_max, iterations the longest call takes alone, prefill included.
        largest_cost: C_max, with memory rounded up to whole blocks.
        longest_path: Most iterations an application takes that waits d_max before each stage but
            the first; d_max where all have one stage.
        most_rate: Most service an iteration can deliver.
        least_rate: Least service an iteration delivers while as many calls run as are let.
    """

    longest_call: int
    largest_cost: float
    longest_path: int
    most_rate: float
    least_rate: float

    @classmethod
    def of(cls, applications: Sequence[Application], server: Server) -> Period:
        """Return the maxima over *applications*."""
        calls = [call for each in applications for stage in each.stages for call in stage]
        longest = max(map(server.iterations_alone, calls))
        return cls(
            longest,
            max(server.rounded_cost(each) for each in applications),
            max(server.path(each, longest) for each in applications),
            min(server.capacity, server.max_num_seqs * max(p + d for p, d in calls)),
            server.least_rate(calls),
        )


@dataclass(frozen=True, slots=True)
class Pushed:
    """
    Who was before an application, or before one with an earlier fair finish, and is finished later.

    Attributes:
        service: What they had been given by its fair finish.
        ahead: The same, less what the reference had given them.
        arrived_later: Work that had arrived in their tenants since the first of them was served.
    """

    service: float
    ahead: float
    arrived_later: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What became of one application; instants in iterations in which the engine worked.

    Attributes:
        application: It.
        arrived: The first iteration it could be served in.
        finished: The one in which its last call ended.
        fair_finished: The one in which the shadow reference finished it.
        period: The busy period it was in.
        bound: What the ledger says it may be late at most; None if it was never told of the end.
        num_preemptions: Of its calls.
        pushed: What `pushed.PushWatch` saw of it, if that watched.
    """

    application: Application
    arrived: int
    finished: int
    fair_finished: int
    period: Period
    bound: float | None
    num_preemptions: int
    pushed: Pushed | None = None

    @property
    def lateness(self) -> int:
        """Finish minus fair finish."""
        return self.finished - self.fair_finished

    @property
    def jct(self) -> int:
        """Iterations from its arrival to the end of its last call."""
        return self.finished - self.arrived + 1


@dataclass(slots=True)
class Result:
    """
    What became of a workload.

    Attributes:
        server: Where it ran.
        outcomes: By application.
        num_iterations: In which the engine worked.
        num_preemptions: In all.
        admitted: Calls in the order they were first computed in.
        complaints: What must not be: errors, leftovers, books that differ from the shadow.
    """

    server: Server
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    num_iterations: int = 0
    num_preemptions: int = 0
    admitted: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def of_tenant(self, tenant: str) -> list[Outcome]:
        """Return the outcomes of one tenant."""
        return [each for each in self.outcomes.values() if each.application.tenant == tenant]


class Hooks:
    """What may be put in the loop. Nothing by default: the truth is told, nobody watches."""

    tells_truth = True

    def facts(self, application: Application) -> ApplicationFacts:
        """Return what the scheduler is told of *application* at its arrival."""
        return facts_of(application, application.cost)

    def begin_call(self, application: Application, call: Call) -> CallTold:
        """Take notice of a call about to be submitted; return what is told of it."""
        return CallTold()

    def end_call(self, application: Application, call: Call) -> None:
        """Take notice of a call that has ended."""

    def revisions(self) -> Sequence[Revised]:
        """Return what is to be told anew after an iteration."""
        return ()

    def learn(self, sample: Sample) -> None:
        """Take notice of a finished application."""

    def arrived(self, ledger: Ledger) -> None:
        """Take notice that an application has arrived."""

    def fairly_finished(self, app_id: str, ledger: Ledger) -> None:
        """Take notice that the shadow reference has finished an application."""

    def pushed(self, app_id: str) -> Pushed | None:
        """Return `Outcome.pushed`."""
        return None


def facts_of(application: Application, cost: float) -> ApplicationFacts:
    """Return the facts of *application*, with *cost* as what is predicted."""
    return ApplicationFacts(
        application.app_id,
        application.app_type,
        application.tenant,
        application.weight,
        max(cost, 1.0),
    )


@dataclass(slots=True)
class _Running:
    """An application under way."""

    application: Application
    facts: ApplicationFacts
    arrived: int
    period: int
    account: Account | None = None  # since its first call
    stage: int = 0
    num_left: int = 0  # calls of the present stage that have not ended
    finished: int | None = None


class Driver:
    """Steps one engine through one workload."""

    def __init__(
        self, applications: Iterable[Application], server: Server, hooks: Hooks | None = None
    ) -> None:
        self.hooks = hooks or Hooks()
        self.engine = server.engine()
        self.ledger: Ledger = self.engine.scheduler.ledger
        self.shadow = Shadow(dict(server.tenant_weights))
        self.result = Result(server)
        self._iteration = 0  # tells the time
        self.engine.scheduler.clock = lambda: self._iteration / server.iterations_per_s
        self._to_come = sorted(applications, key=lambda each: each.arrival, reverse=True)
        self._started: list[_Running] = []
        self._calls: dict[str, tuple[_Running, Call]] = {}  # by request
        self._admitted: set[str] = set()
        self._num_samples = 0
        self._num_periods = 0  # busy periods that have ended

    def run(self) -> Result:
        """Run to the end and return what became of everyone."""
        while self._to_come or self.engine.has_work:
            if not self.engine.has_work:
                self._iteration = max(self._iteration, self._to_come[-1].arrival)
            while self._to_come and self._to_come[-1].arrival <= self._iteration:
                self._start(self._to_come.pop())
            step = self.engine.step()
            self._iteration += 1
            if step is not None:
                self._take(step)
            if self._iteration > MAX_ITERATIONS:
                raise RuntimeError("the workload does not end")
        self._close()
        return self.result

    # -- calls in and out ----------------------------------------------------------------

    def _start(self, application: Application) -> None:
        facts = self.hooks.facts(application)
        self.shadow.arrive(
            application.app_id, application.tenant, application.cost, application.weight
        )
        running = _Running(application, facts, self.ledger.iteration, self._num_periods)
        self._submit(running)
        running.account = self.ledger.find(application.app_id)
        self._started.append(running)
        self.hooks.arrived(self.ledger)

    def _submit(self, running: _Running) -> None:
        """Submit all calls of the present stage."""
        application, stage = running.application, running.stage
        is_last = application.is_ended and stage == len(application.stages) - 1
        running.num_left = len(application.stages[stage])
        for index, call in enumerate(application.stages[stage]):
            prompt, output = call
            request_id = f"{application.app_id}/{stage}/{index}"
            self._calls[request_id] = running, call
            self.shadow.expect(request_id, prompt)
            told = self.hooks.begin_call(application, call)
            facts = CallFacts(
                stage_index=stage,
                last=is_last,
                predicted_output_tokens=told.output_tokens,
                is_scout=told.is_scout,
            )
            self.engine.add(
                request_id,
                prompt=prompt,
                num_output_tokens=output,
                extra_args={EXTRA_ARGS_KEY: pack(running.facts, facts)},
            )

    def _go_on(self, running: _Running) -> None:
        """Submit the next stage, if there is one."""
        application = running.application
        running.stage += 1
        if running.stage == len(application.stages):
            running.finished = self.ledger.iteration - 1
            return
        self._submit(running)

    # -- iterations ----------------------------------------------------------------------

    def _take(self, step: Step) -> None:
        iteration = self.ledger.iteration - 1
        new = step.num_scheduled_tokens.keys() - self._admitted
        if new:
            self.result.admitted += [each for each in step.num_scheduled_tokens if each in new]
            self._admitted |= new
        self.result.num_preemptions += step.num_preempted
        service = self.shadow.charge(step.delivered)
        left = self.shadow.advance(service, iteration)
        ended = [self._calls.pop(request_id) for request_id in step.finished]
        for running, call in ended:
            self.hooks.end_call(running.application, call)
            running.num_left -= 1
            if not running.num_left:
                self._go_on(running)
        if not self.engine.has_work:
            left += self.shadow.end(iteration)
            self._num_periods += 1
        for app_id in left:
            self.hooks.fairly_finished(app_id, self.ledger)
        self._learn()
        for told in self.hooks.revisions():
            self._revise(told)

    def _revise(self, told: Revised) -> None:
        """Tell a cost anew, as the server does: not below what has been used."""
        account = self.ledger.in_flight[told.app_id]
        cost = max(told.cost, account.attained_service)
        now = self.engine.scheduler.clock()
        self.ledger.revise(told.app_id, cost, now, both_ways=told.both_ways)

    def _learn(self) -> None:
        for sample in self.ledger.samples.after(self._num_samples):
            self.hooks.learn(sample)
            self._num_samples = sample.seq

    # -- the end -------------------------------------------------------------------------

    def _close(self) -> None:
        result, ledger = self.result, self.ledger
        result.num_iterations = ledger.iteration
        if self.engine.scheduler.errors:
            result.complaints.append(f"errors: {dict(self.engine.scheduler.errors)}")
        if self.shadow.owed:
            result.complaints.append(f"the shadow still owes {self.shadow.owed}")
        unended = {each.facts.app_id for each in self._started if not each.application.is_ended}
        if set(ledger.in_flight) != unended:
            result.complaints.append(f"in flight at the end: {sorted(ledger.in_flight)}")
        if not unended and (ledger.num_settling or len(ledger.reference)):
            result.complaints.append(
                f"{ledger.num_settling} settling, {len(ledger.reference)} in the reference"
            )
        members: dict[int, list[Application]] = {}
        for running in self._started:
            members.setdefault(running.period, []).append(running.application)
        periods = {index: Period.of(each, result.server) for index, each in members.items()}
        for running in self._started:
            self._settle(running, periods[running.period])

    def _settle(self, running: _Running, period: Period) -> None:
        application, account = running.application, running.account
        app_id = application.app_id
        assert account is not None
        if account.attained_service != application.cost:
            self.result.complaints.append(f"{app_id}: charged {account.attained_service}")
        assert running.finished is not None
        outcome = Outcome(
            application,
            running.arrived,
            running.finished,
            self.shadow.fair_finishes[app_id],
            period,
            account.bound_iterations,
            account.num_preemptions,
            self.hooks.pushed(app_id),
        )
        self.result.outcomes[app_id] = outcome
        if application.is_ended:
            self._compare(outcome, account)

    def _compare(self, outcome: Outcome, account: Account) -> None:
        """Complain where the books differ from the shadow."""
        told = [account.finished_iteration]
        seen = [outcome.finished]
        if self._is_comparable:
            told.append(account.fair_finished_iteration)
            seen.append(outcome.fair_finished)
        if told != seen:
            self.result.complaints.append(f"{account.app_id}: booked {told}, seen {seen}")

    @property
    def _is_comparable(self) -> bool:
        """Whether the books' reference ought to be the shadow."""
        policy = self.ledger.policy
        return self.hooks.tells_truth and policy.clock == "delivered" and policy.cost.holds_memory


def run(
    applications: Iterable[Application], server: Server | None = None, hooks: Hooks | None = None
) -> Result:
    """Run a workload and return what became of everyone."""
    return Driver(applications, server or Server(), hooks).run()
