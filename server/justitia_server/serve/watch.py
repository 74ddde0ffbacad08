"""Look at a server's `/metrics` while a run goes on: memory, calls, iterations, preemptions."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from types import TracebackType
from typing import Self

_INTERVAL_S = 0.25
_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class ServerUse:
    """
    What the server's own metrics say of one run.

    Attributes:
        num_iterations: Engine iterations.
        busy_s: Seconds in which some call was running, from samples.
        mean_kv_ratio: Part of the KV blocks in use, mean over the busy samples.
        peak_kv_ratio: The largest sample of the same.
        peak_calls_waiting: Most calls that waited for memory at one time.
        num_preemptions: Calls that lost their memory and had to begin again.
    """

    num_iterations: int
    busy_s: float
    mean_kv_ratio: float
    peak_kv_ratio: float
    peak_calls_waiting: int
    num_preemptions: int

    @property
    def iterations_per_s(self) -> float:
        """Iterations a busy second."""
        return self.num_iterations / self.busy_s if self.busy_s else 0.0


@dataclass(frozen=True, slots=True)
class Sample:
    """The metrics at one moment; counters count from the server's start."""

    kv_ratio: float
    calls_running: int
    calls_waiting: int
    num_iterations: int
    num_preemptions: int


def read_sample(text: str) -> Sample:
    """Read vLLM's metrics from Prometheus' text format."""
    totals: dict[str, float] = {}
    for line in text.splitlines():
        if line.startswith("vllm:"):
            name, _, value = line.rpartition(" ")
            key = name.partition("{")[0]
            totals[key] = totals.get(key, 0.0) + float(value)
    return Sample(
        kv_ratio=totals.get("vllm:kv_cache_usage_perc", 0.0),
        calls_running=int(totals.get("vllm:num_requests_running", 0)),
        calls_waiting=int(totals.get("vllm:num_requests_waiting", 0)),
        num_iterations=int(totals.get("vllm:iteration_tokens_total_count", 0)),
        num_preemptions=int(totals.get("vllm:num_preemptions_total", 0)),
    )


def use_between(samples: list[Sample], *, span_s: float) -> ServerUse:
    """
    Return what *samples*, taken evenly over *span_s* seconds, say of the run between them.

    Raises:
        ValueError: There are none.
    """
    if not samples:
        raise ValueError("the server's metrics could not be read once")
    busy = [sample for sample in samples if sample.calls_running]
    return ServerUse(
        num_iterations=samples[-1].num_iterations - samples[0].num_iterations,
        busy_s=span_s * len(busy) / len(samples),
        mean_kv_ratio=sum(sample.kv_ratio for sample in busy) / max(1, len(busy)),
        peak_kv_ratio=max(sample.kv_ratio for sample in samples),
        peak_calls_waiting=max(sample.calls_waiting for sample in samples),
        num_preemptions=samples[-1].num_preemptions - samples[0].num_preemptions,
    )


class Watch:
    """Samples a server's metrics four times a second, in a thread, while the block runs."""

    def __init__(self, address: str) -> None:
        self._url = f"{address}/metrics"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self.samples: list[Sample] = []

    def __enter__(self) -> Self:
        self._take()
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=2 * _TIMEOUT_S)
        if exc_type is None:
            self._take()

    @property
    def latest(self) -> Sample | None:
        """The newest sample, if there is one."""
        return self.samples[-1] if self.samples else None

    def _poll(self) -> None:
        while not self._stop.wait(_INTERVAL_S):
            self._take()

    def _take(self) -> None:
        """Take a sample; a server too busy to answer is asked again next time."""
        try:
            with urllib.request.urlopen(self._url, timeout=_TIMEOUT_S) as response:
                self.samples.append(read_sample(response.read().decode()))
        except (urllib.error.URLError, OSError):
            return
