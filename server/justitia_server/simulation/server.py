"""The server to simulate."""

from __future__ import annotations

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

    @property
    def capacity(self) -> int:
        """M: KV tokens that fit."""
        return self.num_blocks * self.block_size

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

    def check(self, workload: list[Arriving]) -> None:
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
