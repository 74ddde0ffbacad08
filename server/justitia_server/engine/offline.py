"""
vLLM's own scheduler and KV manager without a model: proofs and simulation stand on it.

The scheduler, its queues, block tables, admission and preemption are vLLM's (and ours inside);
only the model is absent: every sequence that a step has finished prefilling or decodes gets one
token, the same one. So a step costs about 2 ms at 256 running and its length in seconds is
whatever the caller makes it.

`overlap=True` is asynchronous scheduling as GPUs run it: step n + 1 is scheduled before the
output of step n is processed, with output placeholders, and stale outputs after a preemption.
"""

from __future__ import annotations

import json
import tempfile
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from vllm.config import VllmConfig
from vllm.engine.arg_utils import EngineArgs
from vllm.sampling_params import SamplingParams
from vllm.utils.hashing import get_hash_fn_by_name
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request, RequestStatus
from vllm.v1.structured_output import StructuredOutputManager

from .scheduler import JustitiaScheduler
from .settings import Settings
from .step_shape import shape_of

_TOKEN = 7  # what the absent model says, always
_MODEL_CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
    "vocab_size": 128,
    "max_position_embeddings": 1_000_000,
    "torch_dtype": "float32",
}


@dataclass(frozen=True, slots=True)
class OfflineOptions:
    """
    The engine to be: the options of vLLM that the scheduler reads.

    Attributes:
        num_blocks: KV blocks.
        block_size: Tokens a block.
        max_num_seqs: Most sequences in a batch.
        max_num_batched_tokens: Most tokens one step computes.
        max_model_len: Longest sequence.
        prefix_caching: Share KV blocks of equal prompt prefixes.
        overlap: Schedule asynchronously.
    """

    num_blocks: int
    block_size: int = 16
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192
    max_model_len: int = 32_768
    prefix_caching: bool = False
    overlap: bool = False


@dataclass(slots=True)
class Step:
    """
    One engine step: what was computed, and what its output delivered.

    Attributes:
        num_scheduled_tokens: Tokens computed, by request.
        sampling: Requests that get a token from it.
        num_decoding: Sequences that decode.
        num_kv_tokens: KV tokens those hold.
        chunks: Of every prompt under way, the tokens computed before and in this step.
        delivered: Tokens delivered, by request; filled when the output is processed.
        finished: Requests that ended with it; filled when the output is processed.
        num_preempted: Requests preempted while it was scheduled.
    """

    num_scheduled_tokens: dict[str, int]
    sampling: frozenset[str]
    num_decoding: int
    num_kv_tokens: int
    chunks: list[tuple[int, int]]
    num_preempted: int
    delivered: dict[str, int] = field(default_factory=dict)
    finished: list[str] = field(default_factory=list)


class OfflineEngine:
    """Steps vLLM's scheduler with modelled output."""

    def __init__(
        self,
        options: OfflineOptions,
        settings: Settings | None = None,
        *,
        scheduler_class: type[Any] = JustitiaScheduler,
        scheduling_policy: str = "priority",
    ) -> None:
        """
        Build a scheduler.

        Args:
            options: The engine to be.
            settings: Ours, for our scheduler.
            scheduler_class: The scheduler; vLLM's own, to compare with.
            scheduling_policy: vLLM's own policy, for vLLM's own scheduler.
        """
        self.options = options
        config = _engine_config(options, scheduling_policy)
        config.additional_config = (settings or Settings()).as_config()
        self.scheduler = scheduler_class(
            vllm_config=config,
            kv_cache_config=_kv_cache_config(options),
            structured_output_manager=StructuredOutputManager(config),
            block_size=options.block_size,
            log_stats=False,
        )
        self._hasher = _block_hasher(options.block_size) if options.prefix_caching else None
        self._in_flight: deque[tuple[Step, SchedulerOutput]] = deque()

    def add(
        self,
        request_id: str,
        *,
        prompt: int | Sequence[int],
        num_output_tokens: int,
        extra_args: dict[str, Any] | None = None,
        arrival_time: float | None = None,
        priority: int = 0,
    ) -> Request:
        """
        Queue a request that will produce exactly *num_output_tokens*.

        Args:
            request_id: Its id.
            prompt: Token ids, or how many.
            num_output_tokens: d.
            extra_args: As in `SamplingParams`; our carrier goes here.
            arrival_time: vLLM's tie-breaker.
            priority: vLLM's own, for vLLM's own scheduler.
        """
        token_ids = [1] * prompt if isinstance(prompt, int) else list(prompt)
        sampling = SamplingParams(
            max_tokens=num_output_tokens, ignore_eos=True, extra_args=extra_args
        )
        sampling.update_from_generation_config({}, eos_token_id=0)
        request = Request(
            request_id,
            token_ids,
            sampling,
            None,
            arrival_time=arrival_time,
            priority=priority,
            block_hasher=self._hasher,
        )
        self.scheduler.add_request(request)
        return request

    def abort(self, request_id: str) -> None:
        """End a request as a client that goes away does."""
        self.scheduler.finish_requests(request_id, RequestStatus.FINISHED_ABORTED)

    def step(self) -> Step | None:
        """
        Schedule one step and process the output that is due.

        Synchronously that is this step's own; with `overlap` the one before's. Returns the step
        whose output was processed, or None where nothing was due yet.
        """
        planned = self.schedule()
        return self.process() if self.is_output_due(planned) else None

    def schedule(self) -> Step | None:
        """Schedule one step and return it; None where nothing could be."""
        num_preempted = 0
        while not (output := self.scheduler.schedule()).total_num_scheduled_tokens:
            if not self._in_flight:
                self.scheduler.update_from_output(output, _model_output([], frozenset()))
            # vLLM ends the step when the call it looks at is its own victim; next time it fits.
            if not output.preempted_req_ids:
                return None
            num_preempted += len(output.preempted_req_ids)
        step = self._plan(output, num_preempted)
        self._in_flight.append((step, output))
        return step

    def is_output_due(self, planned: Step | None) -> bool:
        """Tell whether, after `schedule` gave *planned*, an output is to be processed."""
        depth = 1 if self.options.overlap and planned is not None else 0
        return len(self._in_flight) > depth

    @property
    def next_output(self) -> Step:
        """The step whose output is processed next; IndexError where none is to come."""
        return self._in_flight[0][0]

    def process(self) -> Step:
        """Process the oldest output and return its step."""
        step, output = self._in_flight.popleft()
        answer = _model_output(list(step.num_scheduled_tokens), step.sampling)
        for outputs in self.scheduler.update_from_output(output, answer).values():
            for each in outputs.outputs:
                step.delivered[each.request_id] = len(each.new_token_ids)
                if each.finish_reason is not None:
                    step.finished.append(each.request_id)
        return step

    @property
    def has_work(self) -> bool:
        """Whether any request is unfinished or any output unprocessed."""
        return bool(self._in_flight) or bool(self.scheduler.get_num_unfinished_requests())

    @property
    def kv_usage_ratio(self) -> float:
        """Share of the KV blocks in use."""
        usage: float = self.scheduler.kv_cache_manager.usage
        return usage

    def _plan(self, output: SchedulerOutput, num_preempted: int) -> Step:
        requests, preempted = self.scheduler.requests, output.preempted_req_ids
        scheduled = output.num_scheduled_tokens
        shape = shape_of(output, requests)
        return Step(
            dict(scheduled),
            frozenset([each for each in scheduled if not requests[each].is_prefill_chunk]),
            shape.num_decoding,
            shape.num_kv_tokens,
            shape.chunks,
            num_preempted=num_preempted + (len(preempted) if preempted else 0),
        )


def _model_output(request_ids: list[str], sampling: frozenset[str]) -> ModelRunnerOutput:
    return ModelRunnerOutput(
        req_ids=request_ids,
        req_id_to_index={request_id: index for index, request_id in enumerate(request_ids)},
        sampled_token_ids=[[_TOKEN] if each in sampling else [] for each in request_ids],
    )


def _engine_config(options: OfflineOptions, scheduling_policy: str) -> VllmConfig:
    config = EngineArgs(
        model=_model_directory(),
        skip_tokenizer_init=True,
        load_format="dummy",
        enforce_eager=True,
        dtype="float32",
        block_size=options.block_size,
        max_model_len=options.max_model_len,
        max_num_seqs=options.max_num_seqs,
        max_num_batched_tokens=options.max_num_batched_tokens,
        enable_prefix_caching=options.prefix_caching,
        scheduling_policy=scheduling_policy,
    ).create_engine_config()
    config.cache_config.num_gpu_blocks = options.num_blocks
    # The CPU platform always turns it off; a GPU never does.
    config.scheduler_config.async_scheduling = options.overlap
    return config


def _kv_cache_config(options: OfflineOptions) -> KVCacheConfig:
    spec = FullAttentionSpec(
        block_size=options.block_size, num_kv_heads=1, head_size=1, dtype=torch.float32
    )
    return KVCacheConfig(
        num_blocks=options.num_blocks,
        kv_cache_tensors=[],
        kv_cache_groups=[KVCacheGroupSpec(["layer"], spec)],
    )


def _block_hasher(block_size: int) -> Any:
    hash_function = get_hash_fn_by_name("sha256")
    init_none_hash(hash_function)
    return get_request_block_hasher(block_size, hash_function)


@lru_cache(maxsize=1)
def _model_directory() -> str:
    """Return a directory with a model's configuration and nothing else."""
    directory = Path(tempfile.mkdtemp(prefix="justitia-offline-"))
    (directory / "config.json").write_text(json.dumps(_MODEL_CONFIG))
    return str(directory)
