"""Reading vLLM's metrics, and what the samples of a run add up to."""

from __future__ import annotations

import pytest

from justitia_server.serve.watch import Sample, read_sample, use_between

METRICS = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="toy"} 7.0
vllm:num_requests_waiting{engine="0",model_name="toy"} 16.0
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 16.0
vllm:kv_cache_usage_perc{engine="0",model_name="toy"} 0.94
vllm:iteration_tokens_total_sum{engine="0",model_name="toy"} 9000.0
vllm:iteration_tokens_total_count{engine="0",model_name="toy"} 120.0
vllm:num_preemptions_total{engine="0",model_name="toy"} 3.0
process_cpu_seconds_total 12.5
"""


def test_reads_memory_calls_and_counters() -> None:
    """Each figure comes from the metric of exactly that name."""
    assert read_sample(METRICS) == Sample(0.94, 7, 16, 120, 3)


def test_idle_samples_count_for_neither_time_nor_memory() -> None:
    """Mean memory and the iteration rate are those of the busy seconds."""
    samples = [
        Sample(0.0, 0, 0, 100, 1),
        Sample(0.8, 5, 9, 300, 1),
        Sample(1.0, 6, 4, 500, 2),
        Sample(0.0, 0, 0, 600, 2),
    ]
    use = use_between(samples, span_s=4.0)
    assert (use.busy_s, use.num_iterations, use.iterations_per_s) == (2.0, 500, 250.0)
    assert (use.mean_kv_ratio, use.peak_kv_ratio) == (0.9, 1.0)
    assert (use.peak_calls_waiting, use.num_preemptions) == (9, 1)


def test_no_samples_is_an_error() -> None:
    """A report without the server's figures would look as if memory had been free."""
    with pytest.raises(ValueError, match="could not be read"):
        use_between([], span_s=1.0)
