"""
Run the demo's applications against an OpenAI-compatible server, each at its own time.

    python workload.py --base-url http://127.0.0.1:8000/v1 --order large-first --out results.jsonl

Open loop: an application starts when it arrives, whatever the others do. Writes one JSON line an
application to the results file as it finishes, and one an event to stdout.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import arrivals
import dossier_summary
import openai
import research_agent
import self_consistency
import tool_loop
from langchain_openai import ChatOpenAI
from lengths import exactly
from recording import CallRecorder

import justitia_sdk as justitia
from justitia_integrations.langchain import ChatJustitia

_LEAD_S = 0.5  # from the last preparation to the first arrival


class Workload:
    """One run: its server, its clock and its results."""

    def __init__(self, base_url: str, model: str, out: Path) -> None:
        self._server = {"base_url": base_url, "api_key": os.environ.get("OPENAI_API_KEY", "none")}
        self._model = model
        self._out = out
        self._origin = 0.0
        self.num_failed = 0

    async def run(self, planned: list[arrivals.Arrival]) -> None:
        """Start every application at its time and wait for the last."""
        self._out.write_text("")
        await self._warm_up()
        say("planned", applications=[_facts(arrival) for arrival in planned])
        self._origin = time.monotonic() + _LEAD_S
        with ThreadPoolExecutor(len(planned)) as threads:
            await asyncio.gather(*[self._run_one(arrival, threads) for arrival in planned])
        say("ended", num_failed=self.num_failed)

    async def _warm_up(self) -> None:
        """Make one call outside all applications, so that none pays for the server's first."""
        async with openai.AsyncOpenAI(**self._server) as client:
            await client.chat.completions.create(
                model=self._model, messages=[{"role": "user", "content": "Hello"}], **exactly(8)
            )

    async def _run_one(self, arrival: arrivals.Arrival, threads: ThreadPoolExecutor) -> None:
        await asyncio.sleep(self._origin + arrival.arrival_s - time.monotonic())
        started_s = time.monotonic() - self._origin
        say("arrived", app_id=arrival.app_id)
        recorder = CallRecorder(
            self._origin, on_reply=lambda: say("replied", app_id=arrival.app_id)
        )
        error = None
        try:
            await self._serve(arrival, recorder, threads)
        except Exception as exc:  # a failed application is reported, and the others go on
            error = f"{type(exc).__name__}: {exc}"
            self.num_failed += 1
        self._write(arrival, recorder, started_s, error)

    async def _serve(
        self, arrival: arrivals.Arrival, recorder: CallRecorder, threads: ThreadPoolExecutor
    ) -> None:
        if arrival.kind == "tool_loop":
            async with recorder.async_client() as http_client:
                client = justitia.AsyncOpenAI(**self._server, http_client=http_client)
                await tool_loop.investigate(
                    arrival.input, len(arrival.steps), client=client, model=self._model
                )
            return
        run = getattr(self, f"_{arrival.kind}")
        await asyncio.get_running_loop().run_in_executor(threads, run, arrival, recorder)

    def _dossier_summary(self, arrival: arrivals.Arrival, recorder: CallRecorder) -> None:
        with recorder.client() as http_client:
            llm = ChatJustitia(**self._server, model=self._model, http_client=http_client)
            dossier_summary.summarise(arrival.input, llm=llm)

    def _research_agent(self, arrival: arrivals.Arrival, recorder: CallRecorder) -> None:
        with recorder.client() as http_client:
            llm = ChatOpenAI(**self._server, model=self._model, http_client=http_client)
            research_agent.answer(arrival.input, list(arrival.steps), llm=llm)

    def _self_consistency(self, arrival: arrivals.Arrival, recorder: CallRecorder) -> None:
        with recorder.client() as http_client:
            client = justitia.OpenAI(**self._server, http_client=http_client)
            self_consistency.most_consistent(arrival.input, client=client, model=self._model)

    def _write(
        self,
        arrival: arrivals.Arrival,
        recorder: CallRecorder,
        started_s: float,
        error: str | None,
    ) -> None:
        finish_s = time.monotonic() - self._origin
        result = _facts(arrival) | {
            "started_s": round(started_s, 4),
            "finish_s": round(finish_s, 4),
            "jct_s": round(finish_s - arrival.arrival_s, 4),
            "ok": error is None,
            "error": error,
            "calls": sorted(recorder.calls, key=lambda call: call["start_s"]),
        }
        with self._out.open("a") as file:
            file.write(json.dumps(result) + "\n")
        say("finished", app_id=arrival.app_id, ok=error is None, jct_s=result["jct_s"])


def _facts(arrival: arrivals.Arrival) -> dict[str, Any]:
    return {"app_id": arrival.app_id, "kind": arrival.kind, "arrival_s": arrival.arrival_s}


def say(event: str, **facts: Any) -> None:
    """Print one event as a JSON line, whole even when threads speak at once."""
    sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
    sys.stdout.flush()


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
    parser.add_argument("--base-url", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--model", default="toy")
    parser.add_argument("--order", choices=arrivals.ORDERS, default="large-first")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--each", type=int, default=arrivals.NUM_EACH, help="of every kind")
    parser.add_argument("--out", type=Path, default=Path("results.jsonl"))
    return parser.parse_args()


def main() -> int:
    """Run one workload; 1 when an application failed."""
    args = parse_arguments()
    justitia.instrument()  # from here on the unmodified ChatOpenAI sends hints too
    workload = Workload(args.base_url, args.model, args.out)
    planned = arrivals.draw_arrivals(args.order, args.seed, num_each=args.each)
    asyncio.run(workload.run(planned))
    return 1 if workload.num_failed else 0


if __name__ == "__main__":
    sys.exit(main())
