"""
Simulation against reality: the same workload simulated, and on a live server over real HTTP.

    python -m evaluation.reality                          # the toy model on this machine's CPU
    python -m evaluation.reality --shape Llama-2-7B       # on a GPU: random weights, true times
    python -m evaluation.reality --shape Llama-3-8B --blocks 29205

Four steps, each a command that users have: a bench of prompts and answers of all lengths with a
step log; the step times fitted from it; a bench of the workload under every policy; for each of
these a simulation of the same file. A bench's own step log says how fast the host was meanwhile
(hosts drift), its own recording how long a client needed from the end of a call until the next one
reached the engine: step times are scaled by the first, and the second is put before every call
that follows another. What was found goes to docs/results/data/reality-NAME.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

from justitia_server.serve.toy_defaults import set_toy_environment
from justitia_server.simulation.fitting import predicted_ms
from justitia_server.simulation.logged_steps import read_step_logs
from justitia_server.simulation.step_table import read_table
from justitia_server.simulation.step_time import read_step_time
from justitia_server.simulation.workload import Arriving, read_workload, write_workload

from .pages import RESULTS, write_pages
from .shapes import SHAPES, write_shape

POLICIES = "justitia,vtc,srjf,app_fcfs,fcfs"
JUSTITIA = (sys.executable, "-c", "from justitia_server.cli import main; main()")


def main() -> int:
    """Run the steps and write what they found."""
    options = _options()
    name = options.shape or "toy"
    if name == "tiny":
        set_toy_environment(os.environ)  # a CPU's, for the servers to inherit
    work = options.work / name
    work.mkdir(parents=True, exist_ok=True)
    serve = _serve_words(options, work)
    table = work / "step_time.json"
    if not (options.resume and table.exists()):
        _calibrate(options, serve, work, table)
    workloads = [_draw(options, work, table, seed) for seed in _seeds(options)]
    told = {
        "about": _about(options, table),
        "seeds": [_compare(options, serve, work, table, workload) for workload in workloads],
    }
    data = RESULTS / "data" / f"reality-{name}.json"
    data.parent.mkdir(parents=True, exist_ok=True)
    data.write_text(json.dumps(told, indent=1) + "\n")
    write_pages()
    sys.stdout.write(f"Written: {data}\n")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m evaluation.reality", description=__doc__)
    parser.add_argument("--shape", choices=list(SHAPES), help="a model without weights; else toy")
    parser.add_argument("--gpu", default="this machine", help="its name, for the table")
    parser.add_argument("--blocks", type=int, default=230)
    parser.add_argument("--block-size", type=int, default=32)
    parser.add_argument("--max-num-seqs", type=int, default=64)
    parser.add_argument("--applications", type=int, default=70)
    parser.add_argument("--load", type=float, default=1.5)
    parser.add_argument("--families", default="", help="as of `justitia workload make`")
    parser.add_argument("--seeds", default="1,2")
    parser.add_argument("--policies", default=f"{POLICIES},stock")
    parser.add_argument("--overlap", action="store_true", help="the engine schedules ahead (GPU)")
    parser.add_argument("--work", type=Path, default=Path("out/reality"), help="folder for files")
    parser.add_argument("--resume", action="store_true", help="go on where a run broke off")
    return parser.parse_args()


def _seeds(options: argparse.Namespace) -> list[int]:
    return [int(seed) for seed in options.seeds.split(",")]


def _serve_words(options: argparse.Namespace, work: Path) -> str:
    model = "--toy"
    if options.shape is not None:
        model = f"{write_shape(options.shape, work / 'model')} --load-format dummy"
    return (
        f"{model} --num-gpu-blocks-override {options.blocks + 1} --block-size {options.block_size} "
        f"--max-num-seqs {options.max_num_seqs} --no-enable-prefix-caching "
        f"--max-num-batched-tokens 8192 --max-model-len 4096"
    )


def _justitia(*words: object) -> None:
    subprocess.run([*JUSTITIA, *map(str, words)], check=True)


# -- the steps ---------------------------------------------------------------------------


def _calibrate(options: argparse.Namespace, serve: str, work: Path, table: Path) -> None:
    log, traffic = work / "steps.csv", work / "calibration.jsonl"
    log.unlink(missing_ok=True)
    write_workload(traffic, calibration())
    _justitia(
        "bench", "--serve", f"{serve} --step-log {log}", "--policy", "fcfs", "--workload", traffic
    )
    _justitia("step-time", "fit", log, "--gpu", options.gpu, "--model", _model(options),
              "--out", table)  # fmt: skip


def calibration() -> list[Arriving]:
    """Return prompts of many lengths alone, and batches of many sizes, one after the other."""
    chance = random.Random("calibration")
    lone = [_one(f"lone-{place}", 2.0 ** chance.uniform(5, 11.6), 24, 1) for place in range(60)]
    batches = [
        _one(f"batch-{place}", chance.uniform(40, 200), chance.uniform(60, 160), 2**power)
        for place, power in enumerate([0, 1, 2, 3, 4, 5] * 5)
    ]
    mixed = [*lone, *batches]
    chance.shuffle(mixed)
    at, arriving = 0.0, []
    for number, each in enumerate(mixed):
        arriving.append(Arriving(**each, arrival_s=at))
        at += 0.25 if number % 3 else 1.0  # some overlap, some find the server empty
    return arriving


def _one(app_id: str, prompt: float, output: float, samples: int) -> dict[str, Any]:
    call = {"id": 0, "prompt_tokens": int(prompt), "output_tokens": int(output)}
    return {"app_id": app_id, "app_type": "calibration", "calls": [call | {"samples": samples}]}


def _draw(options: argparse.Namespace, work: Path, table: Path, seed: int) -> Path:
    path = work / f"workload-{seed}.jsonl"
    if options.resume and path.exists():
        return path
    _justitia(
        "workload", "make", path, "--seed", seed, "--applications", options.applications,
        "--load", options.load, "--families", options.families, "--most-call-tokens", 4096,
        "--blocks", options.blocks, "--block-size", options.block_size,
        "--step-time", f"{table}:{_key(options)}",
    )  # fmt: skip
    return path


def _compare(
    options: argparse.Namespace, serve: str, work: Path, table: Path, workload: Path
) -> dict[str, Any]:
    """Return the measures of both and what the host was like, by policy."""
    live, simulated, hosts = {}, {}, {}
    for policy in options.policies.split(","):
        folder = work / f"{workload.stem}-{policy}"
        if not (options.resume and (folder / "summary.json").exists()):
            _bench(serve, policy, workload, folder)
        live[policy] = _measures(folder)[policy]
        if policy != "stock":
            hosts[policy] = host = _host(folder, f"{table}:{_key(options)}")
            simulated[policy] = _simulate(options, table, workload, policy, folder, host)
    return {"live": live, "simulated": simulated, "hosts": hosts}


def _bench(serve: str, policy: str, workload: Path, folder: Path) -> None:
    """Run *workload* on a fresh server."""
    folder.mkdir(exist_ok=True)
    if policy != "stock":
        serve += f" --step-log {folder / 'steps.csv'} --record {folder / 'recorded.jsonl'}"
        for name in ("steps.csv", "recorded.jsonl"):
            (folder / name).unlink(missing_ok=True)
    _justitia(
        "bench", "--serve", serve, "--policy", policy, "--workload", workload, "--out", folder
    )


def _host(folder: Path, step_time: str) -> dict[str, float]:
    """Return how slow the host was in a bench, and how long its clients took between calls."""
    steps = read_step_logs([folder / "steps.csv"])
    expected_ms = predicted_ms(read_step_time(step_time), steps)
    followers = [
        call.delay_s
        for each in read_workload(folder / "recorded.jsonl")
        for call in each.calls
        if call.after
    ]
    return {
        "slowness": float(steps.took_ms.sum() / expected_ms.sum()),
        "round_trip_s": fmean(followers),
    }


def _simulate(
    options: argparse.Namespace,
    table: Path,
    workload: Path,
    policy: str,
    folder: Path,
    host: dict[str, float],
) -> dict[str, Any]:
    """Return the measures of *workload* on a host like that."""
    later, scaled = folder / "workload.jsonl", folder / "step_time.json"
    _write_with_round_trips(workload, host["round_trip_s"], later)
    _write_scaled(table, host["slowness"], scaled)
    out = folder / "simulated"
    _justitia(
        "simulate", "--workload", later, "--policy", policy, "--out", out,
        "--blocks", options.blocks, "--block-size", options.block_size,
        "--max-num-seqs", options.max_num_seqs, "--step-time", f"{scaled}:{_key(options)}",
        "--overlap" if options.overlap else "--no-overlap",
    )  # fmt: skip
    measures: dict[str, Any] = _measures(out)[policy]
    return measures


def _write_with_round_trips(workload: Path, round_trip_s: float, path: Path) -> None:
    """Write *workload* to *path* with a later start of every call that follows another."""
    told = []
    for each in read_workload(workload):
        calls = [
            call.model_copy(update={"delay_s": call.delay_s + round_trip_s}) if call.after else call
            for call in each.calls
        ]
        told.append(each.model_copy(update={"calls": calls}))
    write_workload(path, told)


def _write_scaled(table: Path, slowness: float, path: Path) -> None:
    """Write the step times of *table* to *path*, all so many times as long."""
    told = read_table(table)
    for row in told["constants"]:
        for part in (row["decode"], row["prefill"]):
            part.update({name: slowness * part[name] for name in part if name.endswith("_ms")})
    path.write_text(json.dumps(told))


def _measures(folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder / "summary.json").read_text())["policies"]
    return told


def _model(options: argparse.Namespace) -> str:
    return options.shape or "toy"


def _key(options: argparse.Namespace) -> str:
    return f"{options.gpu}/{_model(options)}"


def _about(options: argparse.Namespace, table: Path) -> dict[str, Any]:
    fitted = read_step_time(f"{table}:{_key(options)}")
    return {
        "model": _model(options),
        "gpu": options.gpu,
        "blocks": options.blocks,
        "block_size": options.block_size,
        "applications": options.applications,
        "load": options.load,
        "constants": {name: getattr(fitted, name) for name in fitted.__slots__},
    }


if __name__ == "__main__":
    sys.exit(main())
