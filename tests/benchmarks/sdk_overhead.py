"""
What the SDK adds to a call: our clients beside the bare official one, against a loopback stub.

    python tests/benchmarks/sdk_overhead.py [--rounds 200] [--calls 25] [--memory-calls 100000]

Each round makes so many calls with every client, in an order that turns from round to round; ours
less bare within a round is one paired difference. Prints the median a call and the 95 % interval of
the median, in wall-clock and in CPU time of this process, sync and async. Then, with
``--memory-calls``, the memory of this process over so many calls, ten an application. The stub runs
in a process of its own and says that it is a Justitia server, so ends of applications are told.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import math
import multiprocessing
import statistics
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import openai
import psutil

import justitia_sdk as justitia
from justitia_sdk.notices import messenger

CALLS_PER_APPLICATION = 10
PROMPT: dict[str, Any] = {"model": "stub", "messages": [{"role": "user", "content": "hi"}]}

Times = dict[str, list[tuple[float, float]]]  # client -> wall and CPU seconds a call, by round


def main() -> None:
    """Measure and print."""
    options = _options()
    print(f"openai {openai.__version__}, {psutil.cpu_count()} CPUs, load {psutil.getloadavg()[0]}")
    with _stub() as base_url:
        arguments = {"base_url": base_url, "api_key": "none", "max_retries": 2}
        if options.rounds:
            with _scope(options):
                _show("sync", _time_sync(arguments, options))
                _show("async", asyncio.run(_time_async(arguments, options)))
        if options.memory_calls:
            _watch_memory(arguments, options)
        messenger.flush(10.0)  # the stub goes now


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=200, help="paired differences; 0: no timing")
    parser.add_argument("--calls", type=int, default=25, help="calls a client a round")
    parser.add_argument("--input-chars", type=int, default=0, help="input of the application")
    parser.add_argument("--stages", type=int, default=0, help="stages of its plan, at most 32")
    parser.add_argument("--dialect", default="justitia", help="the words hints are sent in")
    parser.add_argument("--memory-calls", type=int, default=0, help="0: do not look at memory")
    parser.add_argument("--memory-client", choices=["bare", "ours", "wrapped"], default="ours")
    parser.add_argument("--tracemalloc", action="store_true", help="what Python allocates, slowly")
    return parser.parse_args()


@contextmanager
def _scope(options: argparse.Namespace) -> Iterator[None]:
    """Open the application whose calls are timed."""
    stages = [justitia.Stage(f"stage-{n}", 8, output_tokens=200) for n in range(options.stages)]
    plan = justitia.Plan(tuple(stages)) if stages else None
    text = "word " * (options.input_chars // 5)
    with justitia.application("overhead", input=text, plan=plan) as app, app.stage("measured"):
        yield


def _sync_clients(arguments: dict[str, Any], dialect: str) -> dict[str, Any]:
    return {
        "bare": openai.OpenAI(**arguments),
        "ours": justitia.OpenAI(**arguments, dialect=dialect),
        "wrapped": justitia.wrap(openai.OpenAI(**arguments), dialect=dialect),
    }


def _async_clients(arguments: dict[str, Any], dialect: str) -> dict[str, Any]:
    return {
        "bare": openai.AsyncOpenAI(**arguments),
        "ours": justitia.AsyncOpenAI(**arguments, dialect=dialect),
        "wrapped": justitia.wrap(openai.AsyncOpenAI(**arguments), dialect=dialect),
    }


def _rounds(clients: dict[str, Any], num_rounds: int) -> Iterator[tuple[int, list[str]]]:
    """Yield each round's number and order; the first, below 0, warms up and does not count."""
    names = list(clients)
    for number in range(-1, num_rounds):
        turn = number % len(names)
        yield number, names[turn:] + names[:turn]


def _time_sync(arguments: dict[str, Any], options: argparse.Namespace) -> Times:
    clients = _sync_clients(arguments, options.dialect)
    times: Times = {name: [] for name in clients}
    for number, order in _rounds(clients, options.rounds):
        for name in order:
            create = clients[name].chat.completions.create
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(options.calls):
                create(**PROMPT)
            _note(times[name], number, wall, cpu, options.calls)
    for client in clients.values():
        client.close()
    return times


async def _time_async(arguments: dict[str, Any], options: argparse.Namespace) -> Times:
    clients = _async_clients(arguments, options.dialect)
    times: Times = {name: [] for name in clients}
    for number, order in _rounds(clients, options.rounds):
        for name in order:
            create: Callable[..., Awaitable[Any]] = clients[name].chat.completions.create
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(options.calls):
                await create(**PROMPT)
            _note(times[name], number, wall, cpu, options.calls)
    for client in clients.values():
        await client.close()
    return times


def _note(times: list[tuple[float, float]], number: int, wall: float, cpu: float, n: int) -> None:
    if number >= 0:
        times.append(((time.perf_counter() - wall) / n, (time.process_time() - cpu) / n))


def _show(kind: str, times: Times) -> None:
    for place, clock in enumerate(("wall", "CPU")):
        bare = [each[place] for each in times["bare"]]
        print(f"\n{kind}, {clock}: bare {statistics.median(bare) * 1e6:.0f} us a call")
        for name in ("ours", "wrapped"):
            pairs = zip(times[name], bare, strict=True)
            more = sorted((each[place] - base) * 1e6 for each, base in pairs)
            low, high = _interval_of_median(more)
            middle = statistics.median(more)
            print(f"  {name:<8} {middle:+7.1f} us  95 % {low:+.1f} to {high:+.1f}", flush=True)


def _interval_of_median(values: list[float]) -> tuple[float, float]:
    """Return the 95 % interval of the median of sorted *values*, by the sign test's ranks."""
    half, reach = len(values) / 2, 0.98 * math.sqrt(len(values))
    low = max(0, math.floor(half - reach))
    return values[low], values[min(len(values) - 1, math.ceil(half + reach))]


def _watch_memory(arguments: dict[str, Any], options: argparse.Namespace) -> None:
    """Make many calls in many applications; print what the process holds every tenth of the way."""
    client = _sync_clients(arguments, options.dialect)[options.memory_client]
    if options.tracemalloc:
        tracemalloc.start()
    print(f"\nmemory, {options.memory_client} client, {CALLS_PER_APPLICATION} calls an application")
    tenth = max(CALLS_PER_APPLICATION, options.memory_calls // 10)
    for number in range(0, options.memory_calls + 1, CALLS_PER_APPLICATION):
        if number % tenth == 0:
            print(f"{number:>8} calls: {_held()}", flush=True)
        _run_application(client, number)
    client.close()


def _run_application(client: Any, number: int) -> None:
    with (
        justitia.application("memory", input=f"run {number}") as app,
        app.stage("map", calls=CALLS_PER_APPLICATION),
        app.tool("search"),
    ):
        for _ in range(CALLS_PER_APPLICATION):
            client.chat.completions.create(**PROMPT)


def _held() -> str:
    gc.collect()
    resident = psutil.Process().memory_info().rss / 2**20
    text = f"{resident:7.2f} MiB resident, {len(gc.get_objects()):>7} objects"
    if tracemalloc.is_tracing():
        text += f", {tracemalloc.get_traced_memory()[0] / 2**20:.3f} MiB of Python's"
    return text


@contextmanager
def _stub() -> Iterator[str]:
    """Run the stub in a process of its own and yield its base URL."""
    context = multiprocessing.get_context("spawn")
    ours, its = context.Pipe()
    process = context.Process(target=_serve, args=(its,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}/v1"
    finally:
        process.terminate()
        process.join()


def _serve(told: Connection) -> None:
    asyncio.run(_serve_forever(told))


async def _serve_forever(told: Connection) -> None:
    server = await asyncio.get_running_loop().create_server(_Stub, "127.0.0.1", 0)
    told.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def _answer() -> bytes:
    message = {"role": "assistant", "content": "hello"}
    body = json.dumps(
        {
            "id": "c",
            "object": "chat.completion",
            "created": 0,
            "model": "stub",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }
    ).encode()
    head = (
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nJustitia-Server: 1\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


ANSWER = _answer()


class _Stub(asyncio.Protocol):
    """Answers every request of a connection with the same completion, as soon as it is whole."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end].lower()
            _, found, rest = head.partition(b"content-length:")
            length = int(rest.partition(b"\r\n")[0]) if found else 0
            if len(self._received) < end + 4 + length:
                return
            self._received = self._received[end + 4 + length :]
            self._transport.write(ANSWER)  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
