"""
Generated tokens a second of the simulator, on one core.

    python tests/benchmarks/simulation_speed.py [--policy justitia]

With scarce memory (459 blocks of 16) and with plenty (6,000 blocks), the public families at load 2;
the best and the median of some runs, since other work on the host only slows.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")

from justitia_server.simulation.drawing import Draw, draw_workload
from justitia_server.simulation.run import simulate
from justitia_server.simulation.server import Server
from justitia_server.simulation.shipped import named_arrivals, named_families
from justitia_server.simulation.step_time import read_step_time

MODEL = "A100-80GB SXM/Llama-2-7B"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policy", default="justitia")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    for blocks in (459, 6000):
        server = Server(read_step_time(MODEL), blocks)
        draw = Draw(210, 2.0, server.rate, 7000)
        workload = draw_workload(named_families(), named_arrivals("vtc_lmsys"), draw, 1)
        num_tokens = sum(each.num_output_tokens for each in workload)
        speeds = []
        for _ in range(options.runs):
            began = time.perf_counter()
            simulate(workload, server, options.policy)
            speeds.append(num_tokens / (time.perf_counter() - began))
        print(
            f"{blocks:>5} blocks, {options.policy}: {max(speeds):,.0f} tokens/s at best, "
            f"{statistics.median(speeds):,.0f} in the median of {options.runs}"
        )


if __name__ == "__main__":
    main()
