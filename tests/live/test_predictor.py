"""A live server that learns: examples, a version of its own, and what is left after a kill."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import openai
import psutil
import pytest
from support.kept import num_examples
from support.server import LiveServer
from support.traffic import MODEL, Applications, forced, hints_header, prompt_of

from justitia_server.prediction.store import Store
from justitia_server.prediction.versions import Versions

pytestmark = pytest.mark.live

JUSTITIA = [sys.executable, "-c", "from justitia_server.cli import main; main()"]
NUM_APPLICATIONS = 48
AT_ONCE = 6
SECRET = "unmistakable"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("predictor")


@pytest.fixture(scope="module")
def learning_server(folder: Path) -> Iterator[LiveServer]:
    """A server at which applications have ended that cost what their prompt is long."""
    with LiveServer("--predictor", str(folder)) as server:
        asyncio.run(send(server.api_url))
        yield server


async def send(api_url: str) -> None:
    async with openai.AsyncOpenAI(base_url=api_url, api_key="none") as client:
        for first in range(0, NUM_APPLICATIONS, AT_ONCE):
            numbers = range(first, first + AT_ONCE)
            await asyncio.gather(*(run_application(client, number) for number in numbers))


async def run_application(client: openai.AsyncOpenAI, number: int) -> None:
    words = 20 * 2 ** (number % 6)
    for place in range(2):
        header = hints_header(
            f"app-{number}", type="reader", input=f"{SECRET} {words}",
            call=f"c{number}-{place}", last=place == 1,
        )  # fmt: skip
        await client.chat.completions.create(
            model=MODEL, messages=prompt_of(words), extra_headers=header, **forced(30)
        )


def wait_for(condition, server: LiveServer, *, seconds: float = 90.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, server.log()[-3000:]
        time.sleep(0.2)


def test_every_application_that_ended_is_an_example(learning_server, folder):
    """With its prompt, its course and the features of its input, and without its text."""
    wait_for(lambda: num_examples(folder) == NUM_APPLICATIONS, learning_server)
    with Store.open_to_read(folder) as store:
        examples = [each.example for each in store.latest()]
    for example in examples:
        assert example.question.app_type == "reader"
        assert example.question.first_prompt_tokens >= 20
        assert example.question.input_text is None
        assert example.text is not None
        assert example.cost > 30 * example.question.first_prompt_tokens
        assert abs(example.ended_at - time.time()) < 600
    assert any(each.num_done == 1 for example in examples for each in example.glimpses)
    assert SECRET not in learning_server.log()


def test_a_version_is_trained_and_used_while_it_serves(learning_server, folder):
    """The metrics say so; the next application is predicted by it."""
    shown = Applications(learning_server.api_url)
    wait_for(lambda: shown.metric("justitia_model_version") >= 1, learning_server)
    assert shown.metric("justitia_training_runs_total", outcome="better") >= 1
    wait_for(
        lambda: shown.metric("justitia_examples_total", outcome="stored") == NUM_APPLICATIONS,
        learning_server,
    )
    assert Versions(folder).current().facts.num_examples >= 16
    reply = shown.post("", json={"app": "next", "type": "reader", "input": f"{SECRET} 40"})
    assert reply.is_success, reply.text
    assert shown.show("next")["prediction_source"] in ("own", "pooled")


def test_the_folder_is_shown_while_the_server_runs(learning_server, folder):
    """By another process, which holds nobody up."""
    done = subprocess.run(
        [*JUSTITIA, "predictor", "show", "--store", str(folder)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d+ \(live\)", done.stdout)
    assert f"{NUM_APPLICATIONS} examples" in done.stdout


def test_a_killed_server_leaves_a_store_in_order(learning_server, folder):
    """Nothing is set aside when it is opened again, and no process is left."""
    family = learning_server.family()
    for process in family:
        process.kill()
    psutil.wait_procs(family, timeout=20)
    with Store.open(folder, now=time.time()) as store:
        assert len(store) == NUM_APPLICATIONS
    assert not list(folder.glob("*.corrupt*"))
