"""
vLLM's scheduler with our order inside: it translates and delegates, and decides nothing itself.

Where we hook in, and what for:

- `add_request`                  a call arrives: account, tag, `request.priority`
- `waiting`, `kv_holding_waiting`  replaced by our queue: who is admitted next
- `policy` (vLLM's)              which running call gives up its memory
- `_update_after_schedule`       prefill and recomputation, counted apart and not charged
- `_preempt_request`             counted
- `_free_request`                a call ends, completed or aborted
- `sharing`                      which KV blocks are held together (`prefix_sharing`)
- `update_from_output`           an iteration ends: the meter reads service when it must (`meter`)
- `shutdown`                     what is kept for files, if any, is written (`writing`)

Whatever goes wrong in our books, be it a bug, is logged once a kind, counted, and never stops the
engine: hence the bare `except Exception` around every step into them.
Tested with the vLLM named in `version`.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from vllm.config import VllmConfig
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.request_queue import SchedulingPolicy
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.request import Request, RequestStatus

from ..fairness.accounts import UNHINTED_TYPE, Account, ApplicationFacts, Call, CallFacts
from ..fairness.ledger import Ledger, LedgerOptions
from ..fairness.policies.base import Victim
from ..fairness.policies.registry import make_policy
from .carrier import EXTRA_ARGS_KEY, unpack
from .meter import Meter
from .prefix_sharing import watch_sharing
from .recorder import Recorder
from .request_queue import ApplicationRequestQueue, Rank, bind_call, call_of
from .settings import Settings
from .step_log import StepLog
from .step_shape import shape_of
from .version import check_vllm_version
from .writing import write_rest

logger = logging.getLogger("justitia.server.engine")

_COMPLETED = frozenset(
    {
        RequestStatus.FINISHED_STOPPED,
        RequestStatus.FINISHED_LENGTH_CAPPED,
        RequestStatus.FINISHED_REPETITION,
    }
)
_VICTIM_RULE = {
    # vLLM's own: the last of `running` under FCFS, the largest `priority` under PRIORITY.
    Victim.LAST_ADMITTED: SchedulingPolicy.FCFS,
    Victim.LAST_IN_ORDER: SchedulingPolicy.PRIORITY,
}


class FairOrder(Scheduler):  # type: ignore[misc]
    """Serve applications in the order of a Justitia policy; over either of vLLM's schedulers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        check_vllm_version()
        super().__init__(*args, **kwargs)
        self.clock = time.monotonic  # seconds; simulations have their own
        self.settings = Settings.from_config(self.vllm_config.additional_config)
        policy = make_policy(self.settings.policy)
        self.ledger = Ledger(policy, self._ledger_options())
        self.policy = _VICTIM_RULE[policy.victim]
        self.meter = Meter(self.ledger, most_tokens_per_step=1 + self.num_spec_tokens)
        self.waiting = ApplicationRequestQueue(policy, self.meter, self._now)
        self.kv_holding_waiting = ApplicationRequestQueue(policy, self.meter, self._now)
        self.ledger.on_fall = self._refresh
        self.errors: Counter[str] = Counter()
        wants_sharing = self.settings.prefix_cost == "shared" and policy.cost.holds_memory
        self.sharing = (
            watch_sharing(self, self.meter.share, self._report) if wants_sharing else None
        )
        to_unix = time.time() - self.clock()
        self.step_log = StepLog(to_unix=to_unix) if self.settings.step_log else None
        self.recorder = Recorder(to_unix=to_unix) if self.settings.record else None
        logger.info("policy %s over %d KV tokens", policy.name, self.ledger.options.capacity)

    def _ledger_options(self) -> LedgerOptions:
        settings = self.settings
        num_blocks = self.kv_cache_config.num_blocks - 1  # vLLM keeps one for padding
        return LedgerOptions(
            capacity=num_blocks * self.block_size,
            block_size=self.block_size,
            prefill_tokens_per_iteration=self.max_num_scheduled_tokens,
            idle_grace_s=settings.idle_grace_s,
            idle_timeout_s=settings.idle_timeout_s,
            tenant_weights=settings.tenant_weights,
            follow_up=settings.revisions == "both",
        )

    def _now(self) -> float:
        return self.clock()

    def _refresh(self, account: Account) -> None:
        self.waiting.refresh(account)
        self.kv_holding_waiting.refresh(account)

    # -- calls in and out ----------------------------------------------------------------

    def add_request(self, request: Request) -> None:
        """Open the call's account, tag it, and queue it."""
        if request.request_id not in self.requests:  # else the next input of a session
            call = self._take_in(request)
            bind_call(request, call)
            request.priority = Rank(self.ledger.policy, call)
            if self.recorder is not None:
                self._note(self.recorder.begin, call, self.clock())
        if self.step_log is not None:
            self._note(self.step_log.wake, self.clock())
        super().add_request(request)

    def _take_in(self, request: Request) -> Call:
        sampling = request.sampling_params
        told = (sampling.extra_args or {}).get(EXTRA_ARGS_KEY) if sampling else None
        if told is not None:
            try:
                return self._add_call(request, *unpack(told))
            except Exception as exc:
                self._report("add_call", exc)
        # Its own small application; the id is the engine's and cannot meet a client's.
        cost = self.ledger.policy.cost.call_cost(
            request.num_prompt_tokens, max(request.max_tokens, 1)
        )
        alone = ApplicationFacts(
            f"call-{request.request_id}",
            UNHINTED_TYPE,
            predicted_cost=float(max(cost, 1)),
            is_single_call=True,
        )
        return self._add_call(request, alone, CallFacts())

    def _add_call(self, request: Request, facts: ApplicationFacts, call: CallFacts) -> Call:
        return self.ledger.add_call(
            facts,
            call,
            request.request_id,
            num_prompt_tokens=request.num_prompt_tokens,
            max_output_tokens=request.max_tokens,
            now=self.clock(),
        )

    def _free_request(self, request: Request, delay_free_blocks: bool = False) -> Any:
        freed = super()._free_request(request, delay_free_blocks=delay_free_blocks)
        call, completed = call_of(request), request.status in _COMPLETED
        now = self.clock()
        try:
            self.meter.close(call)
            if self.sharing is not None:
                self.sharing.forget(call)
            self.ledger.end_call(call, now, completed=completed)
        except Exception as exc:
            self._report("end_call", exc)
        if self.recorder is not None:
            self._note(self.recorder.end, call, request.num_output_tokens, now)
        call.request = None  # else a circle, and every request waits for the garbage collector
        return freed

    # -- service -------------------------------------------------------------------------

    def update_from_output(self, scheduler_output: SchedulerOutput, model_output: Any) -> Any:
        """Let vLLM take the model's output, then close the iteration in our books."""
        if not scheduler_output.total_num_scheduled_tokens:
            outputs = super().update_from_output(scheduler_output, model_output)
        else:
            if self.sharing is not None and self.sharing.due:
                self._note(self.sharing.begin_output, scheduler_output)
            self.meter.is_under_way = True
            outputs = super().update_from_output(scheduler_output, model_output)
            num_outputs = 0
            for each in outputs.values():
                num_outputs += len(each.outputs)
            try:
                self.meter.end_step(self.clock(), num_outputs)
            except Exception as exc:
                self._report("end_step", exc)
        if self.step_log is not None:
            self._note(self._log_step, self.step_log, scheduler_output)
        return outputs

    def _update_after_schedule(self, scheduler_output: SchedulerOutput) -> None:
        scheduled = scheduler_output.num_scheduled_tokens
        if self.sharing is not None and self.sharing.blocks.has_changed and scheduled:
            self._note(self.sharing.end_schedule, scheduler_output)
        num_beyond = scheduler_output.total_num_scheduled_tokens - len(scheduled)
        if num_beyond > 0:  # not only decodes
            self._count_prefill(scheduled, num_beyond)
        if self.recorder is not None:
            self._note(self._record_hits, self.recorder, scheduler_output)
        super()._update_after_schedule(scheduler_output)
        if self.step_log is not None and scheduled:
            self._note(self._plan_step, self.step_log, scheduler_output)

    def _count_prefill(self, scheduled: dict[str, int], num_beyond: int) -> None:
        """
        Count the tokens about to be computed that deliver nothing; one alone is not seen.

        Of those *scheduled*, *num_beyond* are beyond one a request. Those just admitted stand last,
        so the search begins there, and ends when so many are found.
        """
        for request_id, num_tokens in reversed(scheduled.items()):
            if num_tokens == 1:
                continue
            request = self.requests[request_id]
            account = call_of(request).account
            if request.num_preemptions:
                account.num_recomputed_tokens += num_tokens
            else:
                account.num_prefill_tokens += num_tokens
            num_beyond -= num_tokens - 1
            if not num_beyond:
                return

    def _preempt_request(self, request: Request, *args: Any, **kwargs: Any) -> None:
        call_of(request).account.num_preemptions += 1
        super()._preempt_request(request, *args, **kwargs)

    def _update_request_as_session(self, session: Request, update: Any) -> None:
        call = call_of(session)
        self.meter.close(call)
        super()._update_request_as_session(session, update)  # what was said is prompt from now on
        call.num_prompt_tokens = session.num_prompt_tokens
        call.num_output_tokens = call.shared_since = session.num_output_tokens

    # -- what is kept for files ----------------------------------------------------------

    def _plan_step(self, log: StepLog, scheduler_output: SchedulerOutput) -> None:
        log.plan(shape_of(scheduler_output, self.requests))

    def _log_step(self, log: StepLog, scheduler_output: SchedulerOutput) -> None:
        if scheduler_output.total_num_scheduled_tokens:
            log.end(self.clock(), has_more=self.get_num_unfinished_requests() > 0)
        else:
            log.rest(self.clock())

    def _record_hits(self, recorder: Recorder, scheduler_output: SchedulerOutput) -> None:
        """Tell what calls found in the prefix cache when first admitted."""
        for new in scheduler_output.scheduled_new_reqs:
            request = self.requests[new.req_id]
            if new.num_computed_tokens and not request.num_preemptions:
                recorder.hit(call_of(request), new.num_computed_tokens)

    def shutdown(self) -> None:
        """Write what is kept for files and nobody has fetched; then end as vLLM does."""
        self._note(write_rest, self.settings, self.step_log, self.recorder)
        super().shutdown()

    def _note(self, note: Callable[..., None], *told: Any) -> None:
        try:
            note(*told)
        except Exception as exc:
            self._report(note.__name__, exc)

    # -- failing open, loudly ------------------------------------------------------------

    def _report(self, where: str, exc: Exception) -> None:
        kind = f"{where}:{type(exc).__name__}"
        self.errors[kind] += 1
        if self.errors[kind] == 1:
            logger.error(
                "scheduling goes on after %s (further ones are counted)", kind, exc_info=exc
            )


class JustitiaSyncScheduler(FairOrder):
    """For where nothing is scheduled ahead: vLLM's plain scheduler spares bookkeeping there."""


class JustitiaScheduler(FairOrder, AsyncScheduler):  # type: ignore[misc]
    """
    The class to name in `--scheduler-cls`.

    vLLM schedules ahead only for subclasses of its asynchronous scheduler, so this is one; where it
    does not schedule ahead all the same (the CPU engine never does), it steps aside.
    """

    def __new__(cls, vllm_config: VllmConfig, **kwargs: Any) -> Any:
        """Return a scheduler of the kind that *vllm_config* asks for."""
        if not vllm_config.scheduler_config.async_scheduling:
            return JustitiaSyncScheduler(vllm_config=vllm_config, **kwargs)
        return super().__new__(cls)
