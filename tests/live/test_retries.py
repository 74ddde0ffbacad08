"""
Calls whose answers get lost: the user has the answer, the plan advances once, service is charged.

Between client and server stands a proxy that spoils answers on order.
"""

import time

import openai
import pytest
from support.proxy import SpoilingProxy, cut_after, cut_when, drop, lose_answer, refuse
from support.traffic import MODEL, Applications, forced, is_empty, prompt_of

import justitia_sdk as justitia
from justitia_sdk.notices import messenger
from justitia_sdk.protocol import decode_hints

pytestmark = pytest.mark.live

SATURATED = {"Retry-After": "0.2", "x-llm-d-request-dropped-reason": "rejected-saturated"}
CANCELLED = {"x-llm-d-request-dropped-reason": "rejected-context-cancelled"}


@pytest.fixture
def applications(server):
    made = Applications(server.api_url)
    yield made
    made.wait_for(is_empty)
    assert made.state()["errors"] == {}


@pytest.fixture
def proxy(server):
    with SpoilingProxy(server.port) as made:
        yield made
        messenger.flush(10)  # the ends of applications pass here, too


@pytest.fixture
def client(proxy):
    with justitia.OpenAI(base_url=proxy.api_url, api_key="none", max_retries=3) as made:
        yield made


def ask(client, *, tokens=20, **more):
    return client.chat.completions.create(
        model=MODEL, messages=prompt_of(20), **forced(tokens), **more
    )


def cost_of(reply):
    prompt, output = reply.usage.prompt_tokens, reply.usage.completion_tokens
    return prompt * output + output * (output + 1) // 2


def attempts_of(proxy):
    """Return the ids and attempts under which the call came, in order."""
    hints = [decode_hints(each["Justitia-Hints"]).call for each in proxy.call_headers]
    return [each.call for each in hints], [each.attempt for each in hints]


@pytest.mark.parametrize(
    "faults",
    [[drop], [refuse(429, {"Retry-After": "0.2"})], [refuse(503, SATURATED), drop]],
    ids=["dropped", "refused", "saturated, then dropped"],
)
def test_a_call_that_never_reached_the_server_is_charged_once(proxy, client, applications, faults):
    """Tried again under its id, it is one call; how often it was tried is shown."""
    proxy.faults.extend(faults)
    with justitia.application("retried") as app:
        reply = ask(client)
    assert reply.usage.completion_tokens == 20
    ids, attempts = attempts_of(proxy)
    assert (len(set(ids)), attempts) == (1, list(range(len(faults) + 1)))
    shown = ended(applications, app)
    assert shown["calls"] == calls(done=1, retries=1)
    assert shown["attained_cost"] == cost_of(reply)


@pytest.mark.parametrize("fault", [lose_answer, cut_after(40)], ids=["before headers", "mid-body"])
def test_a_call_whose_answer_was_lost_is_done_once_and_charged_twice(
    proxy, client, applications, fault
):
    """The server had answered; the user has one answer, and the plan one call less to go."""
    proxy.faults.append(fault)
    with justitia.application("unheard") as app:
        replies = [ask(client) for _ in range(2)]
    shown = ended(applications, app)
    assert shown["calls"] == calls(done=2, retries=1)
    assert shown["attained_cost"] == cost_of(replies[0]) * 2 + cost_of(replies[1])
    assert shown["output_tokens"] == 60


def test_a_call_cut_off_at_work_is_charged_for_what_it_got(proxy, client, applications):
    """Aborted after some tokens, then tried again: both attempts count, one is done."""
    with justitia.application("cut") as app:
        proxy.faults.append(
            cut_when(lambda: applications.get(f"/{app.app_id}").json().get("output_tokens", 0) > 0)
        )
        reply = ask(client, tokens=400)
    shown = ended(applications, app)
    assert shown["calls"] == calls(done=1, aborted=1, retries=1)
    first_attempt = shown["attained_cost"] - cost_of(reply)
    num_tokens, prompt = shown["output_tokens"] - 400, reply.usage.prompt_tokens
    assert 0 < num_tokens < 400
    assert first_attempt == prompt * num_tokens + num_tokens * (num_tokens + 1) // 2


def test_a_stream_cut_in_the_middle_is_the_users_to_repeat(proxy, client, applications):
    """What has been read cannot be unread: the client's own error passes, as without hints."""
    plain = openai.OpenAI(base_url=proxy.api_url, api_key="none")
    with justitia.application("stream") as app, plain:
        for each in (plain, client):
            proxy.faults.append(cut_after(2000))
            with pytest.raises(openai.APIConnectionError):
                read(ask(each, tokens=400, **STREAMED))
        applications.wait_for(
            lambda server: server.show(app.app_id)["calls"] == calls(aborted=1), seconds=20
        )
        assert read(ask(client, **STREAMED)) == 20
    assert ended(applications, app)["calls"] == calls(done=1, aborted=1)


def test_a_call_cancelled_on_purpose_is_not_tried_again(proxy, client):
    """The gateway says so."""
    proxy.faults.append(refuse(503, CANCELLED))
    with justitia.application("cancelled"), pytest.raises(openai.InternalServerError):
        ask(client)
    assert len(proxy.call_headers) == 1


def test_retry_after_is_waited_for(proxy, client):
    """As long as the server says, not as long as the client would by itself."""
    proxy.faults.append(refuse(429, {"Retry-After": "1.5"}))
    began = time.monotonic()
    with justitia.application("patient"):
        ask(client, tokens=1)
    assert time.monotonic() - began >= 1.5


def test_with_the_budget_spent_the_clients_own_error_passes(proxy, client):
    """After max_retries more attempts, not before."""
    proxy.faults.extend([drop] * 4)
    with justitia.application("spent"), pytest.raises(openai.APIConnectionError):
        ask(client)
    assert attempts_of(proxy)[1] == [0, 1, 2, 3]


STREAMED = {"stream": True, "stream_options": {"include_usage": True}}


def read(stream):
    """Read a stream to its end; return how many tokens came."""
    return [chunk.usage for chunk in stream if chunk.usage][-1].completion_tokens


def calls(**told):
    return dict.fromkeys(("waiting", "running", "done", "aborted", "retries", "late"), 0) | told


def ended(applications, app):
    """Return the application as shown once it has ended."""
    applications.wait_for(lambda server: server.show(app.app_id)["state"] == "finished")
    return applications.show(app.app_id)
