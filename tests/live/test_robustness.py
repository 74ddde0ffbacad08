"""What a server meets in the wild: no hints, broken hints, clients that go away."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import openai
import pytest
from support.traffic import (
    MODEL,
    Applications,
    Shape,
    forced,
    hints_header,
    is_empty,
    prompt_of,
    run_application,
)

pytestmark = pytest.mark.live


@pytest.fixture
def client(server):
    with openai.OpenAI(base_url=server.api_url, api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture
def applications(server):
    return Applications(server.api_url)


def ask(client, *, tokens=8, headers=None, **more):
    return client.chat.completions.create(
        model=MODEL,
        messages=prompt_of(20),
        extra_headers=headers,
        **forced(tokens),
        **more,
    )


def test_an_unhinted_client_is_served(client, applications):
    """A plain OpenAI client's call is its own application, and ends with its call."""
    before = applications.state()["num_finished"]
    assert ask(client).usage.completion_tokens == 8
    applications.wait_for(lambda server: server.state()["num_finished"] == before + 1)


@pytest.mark.parametrize(
    ("value", "outcome"),
    [
        ("{not json", "malformed"),
        ('{"v":1,"app":"x","weight":0}', "malformed"),
        (json.dumps({"v": 1, "app": "x", "input": "y" * 4000}), "oversized"),
        ('{"v":99,"app":"x"}', "unknown_version"),
    ],
)
def test_hints_that_cannot_be_read_are_served_and_counted(client, applications, value, outcome):
    """The call goes through; the metric says what was wrong."""
    before = applications.metric("justitia_hints_total", outcome=outcome)
    assert ask(client, headers={"Justitia-Hints": value}).usage.completion_tokens == 8
    assert applications.metric("justitia_hints_total", outcome=outcome) == before + 1


def test_each_kind_of_bad_hints_is_warned_of_once(server, client):
    """However many come, the log has one line a kind."""
    for _ in range(3):
        ask(client, tokens=1, headers={"Justitia-Hints": '{"v":99}'})
    assert server.log().count("hints are unknown version") == 1


def test_a_client_cannot_write_the_schedulers_own_key(client, applications):
    """`vllm_xargs["justitia"]` is ours: what a client puts there has no effect."""
    forged = {"vllm_xargs": {"justitia": '[["forged"],[]]'}}
    client.chat.completions.create(
        model=MODEL, messages=prompt_of(10), max_tokens=2, extra_body=forged
    )
    assert applications.get("/forged").status_code == 404


def test_streaming_is_served_and_charged(client, applications):
    """Every token of a stream is charged: p + i for the i-th."""
    stream = ask(
        client,
        tokens=25,
        headers=hints_header("stream"),
        stream=True,
        stream_options={"include_usage": True},
    )
    usage = [chunk.usage for chunk in stream if chunk.usage][-1]
    told = applications.finish("stream")
    prompt, output = usage.prompt_tokens, usage.completion_tokens
    assert output == 25
    assert told["attained_cost"] == prompt * output + output * (output + 1) // 2


def test_several_samples_of_one_prompt_are_several_calls(client, applications):
    """n = 3 is charged three times."""
    reply = ask(client, tokens=10, headers=hints_header("samples"), n=3)
    told = applications.finish("samples")
    prompt = reply.usage.prompt_tokens
    assert told["calls"]["done"] == 3
    assert told["attained_cost"] == 3 * (prompt * 10 + 55)


def test_a_client_that_dies_mid_stream_frees_its_calls_and_account(server, applications):
    """The process is killed; running and waiting calls are aborted, and the account settles."""
    script = Path(__file__).parent / "doomed_client.py"
    process = subprocess.Popen([sys.executable, str(script), server.api_url, "doomed"])
    try:

        def streams_and_waits(server):
            reply = server.get("/doomed")
            calls = reply.json().get("calls", {})
            return calls.get("running", 0) > 0 and calls.get("waiting", 0) > 0

        applications.wait_for(streams_and_waits, seconds=60)
    finally:
        process.kill()
        process.wait()
    applications.wait_for(lambda server: server.show("doomed")["state"] == "idle", seconds=60)
    assert applications.show("doomed")["calls"]["aborted"] > 0
    applications.finish("doomed")
    applications.wait_for(is_empty)


def test_an_application_whose_client_died_is_closed_by_the_idle_timeout(fcfs_server):
    """Nobody says it ended; two seconds after its last call it has."""
    applications = Applications(fcfs_server.api_url)
    with openai.OpenAI(base_url=fcfs_server.api_url, api_key="none") as client:
        ask(client, headers=hints_header("orphan"))
    assert applications.show("orphan")["state"] == "idle"
    applications.wait_for(lambda server: server.show("orphan")["state"] == "finished")
    assert applications.show("orphan")["end_reason"] == "idle_timeout"


async def test_nothing_is_left_after_five_hundred_applications(server, applications):
    """Books, reference and queues are empty when all is done."""
    shape = Shape(width=2, depth=1, prompt_words=10, output_tokens=4)
    async with openai.AsyncOpenAI(base_url=server.api_url, api_key="none") as client:
        for batch in range(10):
            names = [f"leak-{batch}-{index}" for index in range(50)]
            await asyncio.gather(*(run_application(client, name, shape) for name in names))
            for name in names:
                applications.finish(name)
    applications.wait_for(is_empty)
    assert applications.state()["errors"] == {}


def test_announce_events_and_finish(client, applications):
    """What no call can carry: announced with a plan, told of its tool, ended twice."""
    plan = [{"name": "only", "calls": 2, "prompt_tokens": 30, "output_tokens": 10}]
    reply = applications.post("", json={"app": "told", "type": "t", "plan": plan, "input": "x"})
    assert reply.status_code == 201
    assert reply.json()["state"] == "announced"
    assert reply.json()["predicted_cost"] == 2 * (30 * 10 + 55)
    ask(client, headers=hints_header("told", type="t"))
    event = applications.post("/told/events", json={"event": "tool_start", "name": "search"})
    assert event.json()["at_tool_since"] is not None
    assert applications.show("told")["predicted_cost"] == 2 * (30 * 10 + 55)
    assert [applications.finish("told")["state"] for _ in range(2)] == ["finished"] * 2
    late = applications.post("/told/events", json={"event": "tool_end"})
    assert late.status_code == 409


@pytest.mark.parametrize(
    ("path", "body", "status", "named"),
    [
        ("", b"{", 400, "JSON"),
        ("", b"[]", 400, "object"),
        ("", b'{"weight": -1}', 400, "weight"),
        ("", b'{"plan": [{"name": "a", "calls": "many"}]}', 400, "calls"),
        ("/nobody/events", b'{"event": "lunch"}', 400, "event"),
        ("/nobody/events", b'{"event": "stage", "name": "a"}', 404, "nobody"),
        ("/nobody/finish", b"", 404, "nobody"),
    ],
)
def test_bad_bodies_get_one_clear_sentence(applications, path, body, status, named):
    """4xx in OpenAI's form, naming the field."""
    reply = applications.post(path, content=body)
    assert reply.status_code == status
    assert named in reply.json()["error"]["message"]
