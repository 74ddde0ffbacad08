"""A live server's traffic and step times, written to files that the simulator reads."""

from __future__ import annotations

import asyncio
import csv
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import openai
import pytest
from support.server import COMMAND, LiveServer
from support.traffic import MODEL, forced, hints_header

import justitia_sdk as justitia
from justitia_server.engine.step_log import HEADER
from justitia_server.simulation.run import simulate
from justitia_server.simulation.server import Server
from justitia_server.simulation.step_time import read_step_time
from justitia_server.simulation.workload import Arriving, read_workload

pytestmark = pytest.mark.live

JUSTITIA = [sys.executable, "-c", "from justitia_server.cli import main; main()"]
API_KEY = "sk-recorded"


@dataclass(frozen=True)
class Written:
    """What a server wrote, and what was seen of it before the server ended."""

    steps: Path
    recording: Path
    while_serving: str
    log: str

    def application(self, app_type: str) -> Arriving:
        (found,) = (each for each in read_workload(self.recording) if each.app_type == app_type)
        return found


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Serve an application and some traffic, and stop in order."""
    folder = tmp_path_factory.mktemp("written")
    steps, recording = folder / "steps.csv", folder / "recording.jsonl"
    options = ("--step-log", str(steps), "--record", str(recording), "--api-key", API_KEY)
    with LiveServer(*options) as server:
        asyncio.run(send(server.api_url))
        until = time.monotonic() + 20
        while '"three_calls"' not in (told := recording.read_text()):
            assert time.monotonic() < until, server.log()
            time.sleep(0.1)
        log = server.log()
        assert server.stop(signum=signal.SIGTERM) == 0
    return Written(steps, recording, told, log)


async def send(api_url: str) -> None:
    """An application through the SDK, several shapes of others, and one that stays open."""
    async with justitia.AsyncOpenAI(base_url=api_url, api_key=API_KEY) as client:
        async with justitia.application("three_calls", weight=2.0) as app:
            with app.stage("two"):
                await asyncio.gather(ask(client, "left", 20), ask(client, "right", 30))
            await asyncio.sleep(0.3)
            with app.stage("one"):
                await ask(client, "both", 5)
        async with justitia.application("samples"):
            await ask(client, "dice", 9, n=4)
        async with justitia.application("talk"):
            talk = "the first of many words of a long talk " * 12
            for _ in range(2):
                await ask(client, talk, 3)
    async with openai.AsyncOpenAI(base_url=api_url, api_key=API_KEY) as client:
        await mixed_traffic(client)
        for hints in (hints_header("open", type="open"), None):
            await ask(client, "goes on", 4, extra_headers=hints)
        cut_off = asyncio.create_task(
            ask(client, "cut off", 3000, extra_headers=hints_header("cut", type="cut"))
        )
        await asyncio.sleep(1.0)
        cut_off.cancel()


async def mixed_traffic(client: openai.AsyncOpenAI) -> None:
    """What a fit needs: calls alone and together, short prompts and long ones, none cached."""
    for index in range(12):
        await ask(client, f"{index} alone " + "word " * 90 * index, 12)
    for crowd in (4, 16, 48):
        for length in (10, 300):
            texts = [
                f"{index} of {crowd}, {length} " + "word " * length * (1 + index % 3)
                for index in range(crowd)
            ]
            await asyncio.gather(*(ask(client, text, 40) for text in texts))


async def ask(client: openai.AsyncOpenAI, text: str, tokens: int, **more: object) -> None:
    await client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": text}], **forced(tokens), **more
    )


def run(*words: object) -> str:
    """Run a command of ours, which must succeed, and return what it printed."""
    done = subprocess.run(
        [*JUSTITIA, *map(str, words)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_a_server_recorded_is_a_workload(written: Written) -> None:
    """In order, as `justitia workload check` says."""
    said = run("workload", "check", written.recording)
    types = {"three_calls", "samples", "talk", "unhinted", "open", "cut"}
    assert all(name in said for name in types)
    assert read_workload(written.recording)[0].arrival_s == 0


def test_two_calls_at_once_and_a_third_after_both(written: Written) -> None:
    """The graph, the stages, the counts, and how long nothing was asked."""
    application = written.application("three_calls")
    assert application.weight == 2.0
    assert application.tenant.startswith("key-")
    left, right, both = application.calls
    assert sorted((call.after, call.output_tokens, call.stage) for call in (left, right)) == [
        ([], 20, "two"), ([], 30, "two"),
    ]  # fmt: skip
    assert (both.after, both.output_tokens, both.stage) == ([0, 1], 5, "one")
    assert 0.3 <= both.delay_s < 1.5


def test_samples_of_one_prompt_are_one_call(written: Written) -> None:
    """As `n` asked for them."""
    (call,) = written.application("samples").calls
    assert (call.samples, call.output_tokens) == (4, 9)


def test_what_the_prefix_cache_had_is_noted(written: Written) -> None:
    """The second of two equal prompts was there, but for its last block."""
    first, second = written.application("talk").calls
    assert first.prompt_tokens == second.prompt_tokens
    assert second.prefix_scope == "app"
    assert second.shared_prefix_tokens > second.prompt_tokens / 2


def test_applications_are_there_as_they_end(written: Written) -> None:
    """While the server runs; one that goes on when it stops is written then."""
    assert '"open"' not in written.while_serving
    assert [call.output_tokens for call in written.application("open").calls] == [4]


def test_a_call_whose_client_went_away_counts_with_what_it_got(written: Written) -> None:
    """Some tokens, not all that were asked for."""
    (call,) = written.application("cut").calls
    assert 1 <= call.output_tokens < 3000


def test_no_text_and_no_key_is_written(written: Written) -> None:
    """Neither to the recording nor to the step log."""
    told = written.recording.read_text() + written.steps.read_text()
    assert "word" not in told
    assert "dice" not in told
    assert API_KEY not in told


def test_nothing_went_wrong(written: Written) -> None:
    """No gap, no error in the books."""
    assert "may have a gap" not in written.log
    assert "scheduling goes on after" not in written.log


def test_every_step_is_logged_once(written: Written) -> None:
    """In order, none longer than from the end of the one before."""
    with written.steps.open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == HEADER.split(",")
    ends = [float(row["ended_at"]) for row in rows]
    assert ends == sorted(ends)
    assert abs(ends[-1] - time.time()) < 600
    for row, (before, end) in zip(rows[1:], pairwise(ends), strict=True):
        assert float(row["took_ms"]) / 1000 <= end - before + 0.002
    recorded = read_workload(written.recording)
    delivered = sum(each.num_output_tokens for each in recorded)
    decoded = sum(int(row["num_decoding"]) for row in rows)
    prompts = sum(call.samples for each in recorded for call in each.calls)
    assert decoded == pytest.approx(delivered - prompts, abs=5)


def test_step_times_are_learned_from_the_log(written: Written, tmp_path: Path) -> None:
    """And the simulator takes them."""
    table = tmp_path / "toy.json"
    said = run(
        "step-time", "fit", written.steps, "--gpu", "this CPU", "--model", "toy", "--out", table
    )
    assert "median error" in said
    told = read_step_time(f"{table}:this CPU/toy")
    assert 0 < told.step_s(1, 100) < told.step_s(48, 30_000) < 1
    errors = [float(each) for each in re.findall(r"median error ([\d.]+)%", said)]
    assert len(errors) == 2
    assert max(errors) < 50, said


def test_the_recording_runs_in_the_simulator(written: Written) -> None:
    """As any workload."""
    workload = read_workload(written.recording)
    ended = simulate(workload, Server(read_step_time("H100 SXM/Llama-3-8B"), 2000), "justitia")
    assert len(ended.outcomes) == len(workload)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--step-log", "no/such/folder/steps.csv"), "--step-log no/such/folder/steps.csv cannot"),
        (("--record", "pyproject.toml"), "--record pyproject.toml holds something already"),
        (("--record", "r.jsonl", "--stock"), "--record r.jsonl needs Justitia's scheduler"),
    ],
)
def test_a_file_that_will_not_do_is_refused_at_once(words: tuple[str, ...], said: str) -> None:
    """In one sentence."""
    done = subprocess.run(
        [*COMMAND, "--toy", *words], capture_output=True, text=True, timeout=120, check=False,
        env=os.environ,
    )  # fmt: skip
    assert done.returncode != 0
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
