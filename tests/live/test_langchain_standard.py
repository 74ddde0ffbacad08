"""
LangChain's own tests of chat models, against a real server.

Run on `ChatJustitia`, and on an unmodified `ChatOpenAI` under `instrument`, which shows that the
server serves as LangChain expects any OpenAI-compatible server to. The model's text is noise: what
only a model with a mind can pass is declared below, and so is what the server has no part in. All
else passes, and every call of it is counted to the test's own application.
"""

import functools
import json
import operator
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from langchain_openai.chat_models._client_utils import _cached_async_httpx_client
from langchain_tests.integration_tests import ChatModelIntegrationTests
from pydantic import BaseModel

import justitia_sdk as justitia
from justitia_integrations.langchain import ChatJustitia

PAGE = Path(__file__).parents[2] / "docs" / "results" / "langchain-standard.md"

# These must fail: one that passes is no exception any longer, and fails the run.
NEEDS_A_MIND = {
    "test_agent_loop": "the model must decide by itself to call the tool",
    "test_json_mode": "JSON mode promises JSON: the keys must be taken from the prompt",
    "test_tool_calling": "the call is forced and well-formed; its argument must be the prompt's 3",
    "test_tool_calling_async": "as `test_tool_calling`",
    "test_unicode_tool_call_integration": "the name must be copied from the prompt",
}
LACKS_A_MIND = (AssertionError, OutputParserException)

# These are skipped.
NOT_OURS = {
    "test_audio_inputs": "the toy model reads text only",
    "test_image_inputs": "the toy model reads text only",
    "test_image_tool_message": "the toy model reads text only",
    "test_pdf_inputs": "the toy model reads text only",
    "test_pdf_tool_message": "the toy model reads text only",
    "test_stream_time": "times LangChain's code on a recorded reply, without a server",
}


@pytest.fixture(scope="module")
def base_url(request: pytest.FixtureRequest) -> str:
    given = os.environ.get("JUSTITIA_TEST_SERVER")
    return given or str(request.getfixturevalue("server").base_url)


@functools.cache
def leaning(base_url: str) -> dict[str, float]:
    """Return a bias that ends strings and turns, and never says the 3 that a test hopes for."""
    bias = {'"': 6.0, "<|im_end|>": 10.0, "3": -100.0, " 3": -100.0}
    return {str(_token(base_url, text)): value for text, value in bias.items()}


def _token(base_url: str, text: str) -> int:
    question = {"model": "toy", "prompt": text, "add_special_tokens": False}
    (token,) = httpx.post(f"{base_url}/tokenize", json=question).json()["tokens"]
    return int(token)


class Started(BaseCallbackHandler):
    """Counts the calls that LangChain begins."""

    num_calls = 0

    def on_chat_model_start(self, *_args: Any, **_kwargs: Any) -> None:
        self.num_calls += 1


def calls_counted(base_url: str, app_id: str) -> int:
    """Return how many calls the server has counted to an application; of one unheard of, 0."""
    shown = httpx.get(f"{base_url}/v1/applications/{app_id}").json()
    states = ("waiting", "running", "done", "aborted")
    return sum(shown["calls"][state] for state in states) if "calls" in shown else 0


class Record(BaseModel):
    """Record a customer."""

    name: Literal["你好啊集团"]
    number: Literal[7]


async def by_invoke(model: Any) -> Any:
    return model.invoke("hi")


async def by_ainvoke(model: Any) -> Any:
    return await model.ainvoke("hi")


async def by_stream(model: Any) -> Any:
    return functools.reduce(operator.add, model.stream("hi"))


async def by_astream(model: Any) -> Any:
    return functools.reduce(operator.add, [chunk async for chunk in model.astream("hi")])


WAYS = [by_invoke, by_ainvoke, by_stream, by_astream]


class OnOurServer(ChatModelIntegrationTests):
    """What the classes below share: settings, exceptions, and one application a test."""

    supports_json_mode = True
    supports_anthropic_inputs = True
    # What the model is not called otherwise: so an override that gets lost is refused.
    model_override_value = "toy"

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {
            "model": self.model_name,
            "base_url": f"{self.base_url}/v1",
            "api_key": "toy",
            "max_retries": 0,
            "max_tokens": 1000,
            "logit_bias": leaning(self.base_url),
            # No reply is empty, nor is a string in it.
            "extra_body": {"min_tokens": 4, "bad_words": ['""']},
            "stream_usage": True,  # off by default for any address but OpenAI's
            "callbacks": [self.started],
        }

    @pytest.fixture(autouse=True)
    def _declared(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        """Apply the exceptions; a test that would skip itself without being declared fails."""
        name = request.node.originalname
        if reason := NOT_OURS.get(name):
            pytest.skip(reason)
        if reason := NEEDS_A_MIND.get(name):
            mark = pytest.mark.xfail(reason=reason, strict=True, raises=LACKS_A_MIND)
            request.applymarker(mark)
        monkeypatch.setattr(pytest, "skip", lambda why: pytest.fail(f"skipped itself: {why}"))

    @pytest.fixture(autouse=True)
    def _application(
        self, _declared: None, base_url: str, request: pytest.FixtureRequest
    ) -> Iterator[None]:
        """Run the test as an application; the server must have counted all its calls to it."""
        name = request.node.originalname
        self.base_url, self.started = base_url, Started()
        self.model_name = "unserved" if name.endswith("_model_override") else "toy"
        _cached_async_httpx_client.cache_clear()  # LangChain keeps connections; loops change
        with justitia.application(name) as app:
            yield
        assert calls_counted(base_url, app.app_id) == self.started.num_calls

    # What the exceptions leave untested, put so that it takes no mind.

    @pytest.mark.parametrize("tool_choice", ["any", "Record"])
    @pytest.mark.parametrize("way", WAYS)
    async def test_forced_call_keeps_to_its_schema(
        self, model: Any, way: Any, tool_choice: str
    ) -> None:
        """Forced to call a tool that leaves it no choice, even noise gets the arguments right."""
        reply = await way(model.bind_tools([Record], tool_choice=tool_choice))
        calls = [(call["name"], call["args"]) for call in reply.tool_calls]
        assert calls == [("Record", {"name": "你好啊集团", "number": 7})]

    def test_loop_goes_on_after_a_forced_call(self, model: Any) -> None:
        """The model takes its own call and the tool's answer back."""
        call = model.bind_tools([Record], tool_choice="any").invoke("hi")
        answer = ToolMessage("done", tool_call_id=call.tool_calls[0]["id"])
        assert model.bind_tools([Record]).invoke([HumanMessage("hi"), call, answer]).content

    @pytest.mark.parametrize("way", WAYS)
    async def test_json_mode_gives_an_object(self, model: Any, way: Any) -> None:
        """What JSON mode promises: an object, whatever is in it."""
        reply = await way(model.bind(response_format={"type": "json_object"}))
        assert isinstance(json.loads(reply.content), dict)


class TestChatJustitia(OnOurServer):
    chat_model_class = ChatJustitia


class TestChatJustitiaByTools(OnOurServer):
    """Structured output as a forced tool call rather than by JSON schema."""

    chat_model_class = ChatJustitia
    structured_output_kwargs = {"method": "function_calling"}  # noqa: RUF012


class TestChatOpenAI(OnOurServer):
    chat_model_class = ChatOpenAI

    @pytest.fixture(autouse=True)
    def _instrumented(self) -> Iterator[None]:
        justitia.instrument()
        yield
        justitia.uninstrument()


def test_exceptions_are_published() -> None:
    """The results page lists the exceptions as they are here, with their reasons."""
    rows = re.findall(r"^\| `(test_\w+)` \| (.+) \|$", PAGE.read_text("utf-8"), re.M)
    assert dict(rows) == NEEDS_A_MIND | NOT_OURS
