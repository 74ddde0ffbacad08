"""The server to simulate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from justitia_sdk.errors import ConfigurationError

from ..engine.offline import OfflineEngine, OfflineOptions
from ..engine.settings import Settings
from .step_time import StepTime
from .workload import Arriving


@dataclass(frozen=True, slots=True)
class Server:
    """
    An engine and how fast it is.

    Attributes:
        step_time: Seconds a step takes.
        num_blocks: KV blocks for use.
        block_size: Tokens a block.
        max_num_seqs: Most sequences in a batch.
        max_num_batched_tokens: Most tokens one step computes.
        prefix_caching: Share KV blocks of equal prompt prefixes.
        overlap: Schedule a step while the one before is computed, as on a GPU.
    """

    step_time: StepTime
    num_blocks: int
    block_size: int = 16
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192
    prefix_caching: bool = False
    overlap: bool = True

    def __post_init__(self) -> None:
        if self.max_num_batched_tokens < self.max_num_seqs:
            raise ConfigurationError(
                f"a step of {self.max_num_batched_tokens} tokens (max_num_batched_tokens) cannot "
                f"hold {self.max_num_seqs} sequences (max_num_seqs): raise the one or lower the "
                "other"
            )

    @property
    def capacity(self) -> int:
        """M: KV tokens that fit."""
        return self.num_blocks * self.block_size

    @property
    def rate(self) -> float:
        """KV token-time per second with full memory, M / step(M): what offered load is over."""
        return self.capacity / self.step_time.step_s(1, self.capacity)

    def engine(self, settings: Settings) -> OfflineEngine:
        """Build vLLM's scheduler with ours inside."""
        options = OfflineOptions(
            num_blocks=self.num_blocks + 1,  # vLLM keeps one for padding
            block_size=self.block_size,
            max_num_seqs=self.max_num_seqs,
            max_num_batched_tokens=self.max_num_batched_tokens,
            max_model_len=max(self.capacity, 1024),
            prefix_caching=self.prefix_caching,
            overlap=self.overlap,
        )
        return OfflineEngine(options, settings)

    def check(self, workload: Sequence[Arriving]) -> None:
        """
        Make sure that every call fits.

        Raises:
            ConfigurationError: One does not: it would wait for ever.
        """
        for application in workload:
            for call in application.calls:
                longest = call.prompt_tokens + call.output_tokens
                if longest > self.capacity:
                    raise ConfigurationError(
                        f"call {call.id} of {application.app_id} needs {longest} KV tokens, and "
                        f"the server has {self.capacity}: give it more blocks, or leave it out"
                    )
