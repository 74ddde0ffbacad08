"""
A server killed in the midst of an application, and started again at the same address.

Within the client's budget of retries nobody notices but by the time it takes; with the budget spent
it is the framework's own error that reaches the user.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import openai
import psutil
import pytest
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from support.server import LiveServer
from support.traffic import MODEL, Applications, forced, is_empty

import justitia_sdk as justitia
from justitia_integrations.langchain import ChatJustitia

pytestmark = pytest.mark.live

NUM_PROMPTS = 6
PATIENCE = 60  # attempts: the client waits eight seconds between two, a server starts in under 100
BUDGET = {"max_retries": 1, "timeout": 5.0}


class Mortal(LiveServer):
    """A server that can be killed, and started again where it was."""

    def kill(self) -> None:
        """End all its processes at once, with nothing said to anybody."""
        for process in self.family():
            process.kill()
        psutil.wait_procs(self.family(), timeout=30)
        self._family.clear()

    def start_again(self) -> None:
        """Come back under the same address."""
        self.start()
        self.wait_until_ready()


@pytest.fixture(scope="module")
def mortal():
    with Mortal() as server:
        yield server


def prompt(number):
    return [{"role": "user", "content": f"people number {number}"}]


def ask(client, number, *, tokens=20):
    return client.chat.completions.create(
        model=MODEL, messages=prompt(number), seed=number, temperature=0, **forced(tokens)
    )


def calls(**told):
    return dict.fromkeys(("waiting", "running", "done", "aborted", "retries", "late"), 0) | told


def test_an_application_goes_on_where_its_server_is_started_again(mortal):
    """
    Three of six prompts are answered, the server dies under three more, and comes back.

    Every prompt is answered once. The new server has the same application, with the calls that the
    old one did not answer; and it is told of the end.
    """
    applications = Applications(mortal.api_url)
    with (
        justitia.OpenAI(base_url=mortal.api_url, api_key="none", max_retries=PATIENCE) as client,
        ThreadPoolExecutor(3) as pool,
        justitia.application("phoenix") as app,
    ):
        answers = {number: ask(client, number) for number in range(3)}
        run = justitia.copy_scope(lambda number: ask(client, number, tokens=3000))
        later = {number: pool.submit(run, number) for number in range(3, NUM_PROMPTS)}
        applications.wait_for(lambda server: server.show(app.app_id)["calls"]["running"] == 3)
        mortal.kill()
        assert not any(each.done() for each in later.values())
        mortal.start_again()
        answers |= {number: each.result(timeout=240) for number, each in later.items()}
        shown = applications.show(app.app_id)
        assert shown["calls"] == calls(done=3, retries=3)
    assert len({answer.id for answer in answers.values()}) == NUM_PROMPTS
    assert [answers[number].usage.completion_tokens for number in range(NUM_PROMPTS)] == (
        [20] * 3 + [3000] * 3
    )
    assert shown["output_tokens"] == 3 * 3000
    applications.wait_for(lambda server: server.show(app.app_id)["state"] == "finished")
    applications.wait_for(is_empty)
    assert applications.state()["errors"] == {}


# -- with the budget spent ---------------------------------------------------------------


@pytest.fixture(scope="module")
def dead(mortal):
    """Return the address of the server, which has died; no test after these has one."""
    mortal.kill()
    return mortal.api_url


def chat(client_type, url):
    return client_type(base_url=url, api_key="none", model=MODEL, max_tokens=4, **BUDGET)


def by_client(url):
    with justitia.OpenAI(base_url=url, api_key="none", **BUDGET) as client:
        ask(client, 0)


def by_plain_client(url):
    with openai.OpenAI(base_url=url, api_key="none", **BUDGET) as client:
        ask(client, 0)


def by_chat_openai(url):
    chat(ChatOpenAI, url).invoke([HumanMessage("the people")])


def by_chat_justitia(url):
    chat(ChatJustitia, url).invoke([HumanMessage("the people")])


def by_chat_justitia_stream(url):
    list(chat(ChatJustitia, url).stream([HumanMessage("the people")]))


@pytest.mark.parametrize(
    "call",
    [by_client, by_plain_client, by_chat_openai, by_chat_justitia, by_chat_justitia_stream],
)
def test_the_clients_own_error_reaches_the_user(dead, call):
    """`openai.APIConnectionError`, whoever sits on top of the client; the scope hides nothing."""
    with justitia.application("lost"), pytest.raises(openai.APIConnectionError):
        call(dead)


def test_asynchronously_too(dead):
    """`ainvoke` and the client itself."""

    async def by_async_client():
        async with justitia.AsyncOpenAI(base_url=dead, api_key="none", **BUDGET) as client:
            await ask(client, 0)

    async def by_ainvoke():
        await chat(ChatJustitia, dead).ainvoke([HumanMessage("the people")])

    for call in (by_async_client, by_ainvoke):
        with justitia.application("lost"), pytest.raises(openai.APIConnectionError):
            asyncio.run(call())


def test_instrumented_clients_too(dead):
    """Hints change no error."""
    justitia.instrument()
    try:
        with justitia.application("lost"), pytest.raises(openai.APIConnectionError):
            by_chat_openai(dead)
    finally:
        justitia.uninstrument()
