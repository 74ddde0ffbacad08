"""
Several policies on the same workloads: run in parallel, measured against each other, summed up.

A study has one or more workloads (one for each seed, or one from a file) and some policies. `vtc`
and `srjf` with true costs are run besides where they are not asked for, since measures are told
against them; so is every application alone, for Jain's index.
"""

from __future__ import annotations

import contextlib
import difflib
import multiprocessing
import os
import queue
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from justitia_sdk.errors import ConfigurationError

from ..fairness.policies.registry import make_policy
from .costs import make_costs
from .findings import Findings
from .measures import measures_of
from .outcomes import Run
from .run import simulate
from .server import Server
from .workload import Arriving

COMPARED = ("vtc", "srjf")
ALONE = "alone"  # every application by itself, under the plain order
ALONE_GAP_S = 1e7

Ended = Callable[["Job", int, int], None]  # applications ended, of how many


@dataclass(frozen=True, slots=True)
class Study:
    """
    What to run.

    Attributes:
        workloads: By seed; a file's under 0.
        server: The engine, and how fast it is.
        policies: Names, as of `justitia serve --policy`.
        predicted_cost: What the scheduler is told: `true`, `online`, … (`costs`).
        explain: An application whose waits are to be taken down, if any.
    """

    workloads: Mapping[int, Sequence[Arriving]]
    server: Server
    policies: Sequence[str]
    predicted_cost: str = "true"
    explain: str | None = None

    @property
    def jobs(self) -> list[Job]:
        """All runs, each once; of a seed those asked for first."""
        jobs: list[Job] = []
        for seed in self.workloads:
            jobs += [Job(policy, seed, self.predicted_cost) for policy in self.policies]
            # What is compared with knows the truth.
            jobs += [Job(name, seed, "true") for name in (*COMPARED, ALONE)]
        return list(dict.fromkeys(jobs))

    def check(self) -> None:
        """
        Make sure, before anything runs, that everything can.

        Raises:
            ConfigurationError: A call does not fit; no such policy, prediction, application.
        """
        for policy in self.policies:
            make_costs(self.predicted_cost, make_policy(policy).cost, seed=0)
        for workload in self.workloads.values():
            self.server.check(workload)
        if self.explain is not None:
            self._check_known(self.explain)

    def _check_known(self, app_id: str) -> None:
        known = [each.app_id for workload in self.workloads.values() for each in workload]
        if app_id not in known:
            near = difflib.get_close_matches(app_id, known) or known[:3]
            raise ConfigurationError(
                f"no application is called {app_id!r}; there are, for example, {', '.join(near)}"
            )


@dataclass(frozen=True, slots=True)
class Job:
    """One run of a study."""

    policy: str
    seed: int
    predicted_cost: str


def run_study(study: Study, *, num_processes: int | None = None, ended: Ended) -> Findings:
    """
    Run everything and measure it.

    Args:
        study: What to run.
        num_processes: At once; the number of cores unless told.
        ended: Told of progress, from this process.

    Raises:
        ConfigurationError: A call that does not fit, or no such policy or prediction.
    """
    study.check()
    return find(study, run_jobs(study, study.jobs, num_processes=num_processes, ended=ended))


def run_jobs(
    study: Study, jobs: Sequence[Job], *, num_processes: int | None = None, ended: Ended
) -> dict[Job, Run]:
    """Run *jobs* of *study*; arguments and errors as of `run_study`."""
    if num_processes == 1:
        return {job: _run(study, job, ended) for job in jobs}
    return _run_in_processes(study, jobs, num_processes or os.cpu_count() or 1, ended)


def _run_in_processes(
    study: Study, jobs: Sequence[Job], num_processes: int, ended: Ended
) -> dict[Job, Run]:
    context = multiprocessing.get_context("spawn")
    with (
        context.Manager() as manager,
        ProcessPoolExecutor(min(num_processes, len(jobs)), mp_context=context) as pool,
    ):
        told = manager.Queue()
        futures = {job: pool.submit(_run_telling, study, job, told) for job in jobs}
        while not all(future.done() for future in futures.values()):
            with contextlib.suppress(queue.Empty):
                ended(*told.get(timeout=0.2))
            for future in futures.values():
                if future.done() and future.exception() is not None:
                    pool.shutdown(wait=False, cancel_futures=True)
                    future.result()  # raises
        return {job: future.result() for job, future in futures.items()}


def _run_telling(study: Study, job: Job, told: queue.Queue[tuple[Job, int, int]]) -> Run:
    """Run *job* in a process of its own; tell of every hundredth part."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")

    def ended(job: Job, done: int, of: int) -> None:
        if done * 100 // of > (done - 1) * 100 // of:
            told.put((job, done, of))

    return _run(study, job, ended)


def _run(study: Study, job: Job, ended: Ended) -> Run:
    workload = study.workloads[job.seed]
    policy = job.policy
    if policy == ALONE:
        policy = "fcfs"
        workload = [
            each.model_copy(update={"arrival_s": place * ALONE_GAP_S})
            for place, each in enumerate(workload)
        ]
    return simulate(
        workload,
        study.server,
        policy,
        predicted_cost=job.predicted_cost,
        seed=job.seed,
        explain=study.explain,
        progress=lambda done, of: ended(job, done, of),
    )


def find(study: Study, done: Mapping[Job, Run]) -> Findings:
    """Measure what *study* asks for; *done* holds all its jobs."""
    findings = Findings()
    for seed in study.workloads:
        findings.alone[seed] = done[Job(ALONE, seed, "true")]
        alone_s = {each.app_id: each.jct_s for each in findings.alone[seed].outcomes}
        beside = {name: done[Job(name, seed, "true")] for name in COMPARED}
        findings.compared |= {(name, seed): run for name, run in beside.items()}
        for policy in study.policies:
            run = done[Job(policy, seed, study.predicted_cost)]
            findings.runs[policy, seed] = run
            findings.measures[policy, seed] = measures_of(run, alone_s=alone_s, beside=beside)
    return findings
