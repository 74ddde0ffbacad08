"""Receipts, tools and plans found on the way: what the SDK says, and what a live server shows."""

import asyncio
import time

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

import justitia_sdk as justitia

pytestmark = pytest.mark.live


@pytest.fixture
def applications(server):
    return Applications(server.api_url)


@pytest.fixture
def client(server):
    with justitia.OpenAI(base_url=server.api_url, api_key="none", max_retries=0) as made:
        yield made


def ask(client, *, tokens=20, words=20, **more):
    return client.chat.completions.create(
        model=MODEL, messages=prompt_of(words), **forced(tokens), **more
    )


def cost_of(reply):
    prompt, output = reply.usage.prompt_tokens, reply.usage.completion_tokens
    return prompt * output + output * (output + 1) // 2


# -- receipts ----------------------------------------------------------------------------


def test_a_receipt_says_what_one_application_got(client):
    """Its cost to the token, its calls, and its life: waiting, running, and a second of its own."""
    with justitia.application("alone") as app:
        began = time.monotonic()
        replies = [ask(client)]
        ran_s = time.monotonic() - began
        time.sleep(1)
        began = time.monotonic()
        replies.append(ask(client))
        ran_s += time.monotonic() - began
    receipt = app.report(wait_s=10)
    assert (receipt.app_id, receipt.state, receipt.calls) == (app.app_id, "finished", 2)
    assert receipt.cost == sum(map(cost_of, replies))
    assert 0 < receipt.run_s <= ran_s
    assert receipt.wait_s < 0.1
    assert 1 <= receipt.jct_s - receipt.run_s - receipt.wait_s < 1 + ran_s
    assert not receipt.is_provisional
    assert receipt.lateness_iterations <= receipt.bound_iterations
    assert f"{receipt.cost:,.0f} KV token-steps" in str(receipt)


async def test_time_in_the_queue_is_waiting(server, client, applications):
    """Behind one that holds all the memory: what is not run is waited, and no more than passed."""
    big = Shape(width=80, depth=1, prompt_words=180, output_tokens=200)
    async with openai.AsyncOpenAI(base_url=server.api_url, api_key="none") as plain:
        flood = asyncio.create_task(run_application(plain, "flood", big))
        await until(lambda: num_waiting(applications, "flood") > 0)
        with justitia.application("behind") as app:
            began = time.monotonic()
            await asyncio.to_thread(ask, client, words=180)
            passed_s = time.monotonic() - began
            shown = await asyncio.to_thread(applications.show, app.app_id)
        flood.cancel()
        await asyncio.wait([flood])
    await until(lambda: applications.show("flood")["state"] == "idle")
    applications.finish("flood")
    assert shown["wait_s"] > 0
    assert shown["run_s"] > 0
    assert 0.5 * passed_s < shown["wait_s"] + shown["run_s"] <= passed_s
    receipt = await app.areport(wait_s=10)
    assert (receipt.wait_s, receipt.run_s) == (shown["wait_s"], shown["run_s"])


def num_waiting(applications, app):
    """Return how many calls of it wait; none of one that is not known yet."""
    return applications.get(f"/{app}").json().get("calls", {}).get("waiting", 0)


async def until(condition, *, seconds=20.0):
    """Wait, without holding up the event loop, until *condition* holds."""
    end_at = time.monotonic() + seconds
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < end_at
        await asyncio.sleep(0.02)


# -- tools -------------------------------------------------------------------------------


def test_tools_are_shown_until_the_last_has_ended(client, applications):
    """Two at once, of which one tells how long it takes; their time is counted once."""
    with justitia.application("agent") as app:
        ask(client)
        with app.tool("search", expected_s=60):
            with app.tool("look"):
                told_of(applications, app, lambda shown: shown["tool_expected_s"] == 60)
            time.sleep(0.5)
            ask(client)
            shown = applications.show(app.app_id)
            assert shown["at_tool_since"] is not None
            assert shown["tool_s"] > 0.5
        shown = told_of(applications, app, lambda shown: shown["at_tool_since"] is None)
    assert shown["tool_expected_s"] is None
    assert 0.5 < shown["tool_s"] < 10


def test_an_application_at_a_long_tool_is_not_taken_for_abandoned(fcfs_server):
    """It said five seconds; one that said nothing is ended after two."""
    applications = Applications(fcfs_server.api_url)
    with justitia.OpenAI(base_url=fcfs_server.api_url, api_key="none") as client:
        ask(client, extra_headers=hints_header("silent"))
        with justitia.application("patient") as app:
            ask(client)
            with app.tool("person", expected_s=5):
                applications.wait_for(lambda server: server.show("silent")["state"] == "finished")
                time.sleep(1)
                assert applications.show(app.app_id)["state"] == "idle"
            ask(client)
            shown = applications.show(app.app_id)
    assert applications.show("silent")["end_reason"] == "idle_timeout"
    assert (shown["calls"]["done"], shown["calls"]["late"]) == (2, 0)


def told_of(applications, app, condition):
    """Return what is shown of the application once *condition* holds of it."""
    applications.wait_for(lambda server: condition(server.show(app.app_id)))
    return applications.show(app.app_id)


# -- plans found on the way --------------------------------------------------------------


def test_a_fan_out_found_on_the_way_is_known_before_it_comes(client, applications):
    """Announced when its stage is opened: the prediction grows once, by what it will take."""
    with justitia.application("found") as app:
        with app.stage("plan", calls=1, output_tokens=20):
            ask(client)
        before = applications.show(app.app_id)["predicted_cost"]
        with app.stage("map", calls=40, output_tokens=20):
            shown = told_of(applications, app, lambda shown: shown["predicted_cost"] > 5 * before)
            assert shown["calls"]["done"] == 1
            ask(client)
        after = applications.show(app.app_id)
    assert after["stage"] == "map"
    assert after["predicted_cost"] == pytest.approx(shown["predicted_cost"], rel=0.1)
    applications.wait_for(is_empty)
    assert applications.state()["errors"] == {}
