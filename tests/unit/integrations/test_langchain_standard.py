"""LangChain's own tests of chat models that need no server, on ours and on `ChatOpenAI`."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_core.load import dumpd
from langchain_openai import ChatOpenAI
from langchain_tests.unit_tests import ChatModelUnitTests

import justitia_sdk as justitia
from justitia_integrations.langchain import ChatJustitia


class WithoutServer(ChatModelUnitTests):
    """What the classes below share. No test is skipped, and none is excepted."""

    chat_model_params = {  # noqa: RUF012
        "model": "toy",
        "base_url": "http://127.0.0.1:9/v1",
        "api_key": "key",
    }

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        told = {
            "OPENAI_API_KEY": "key",
            "OPENAI_ORG_ID": "organization",
            "OPENAI_API_BASE": "http://127.0.0.1:9/v1",
            "OPENAI_PROXY": "http://127.0.0.1:8",
        }
        fields = ("openai_api_key", "openai_organization", "openai_api_base", "openai_proxy")
        return told, {"model": "toy"}, dict(zip(fields, told.values(), strict=True))

    @pytest.fixture
    def snapshot(self) -> Callable[..., dict[str, Any]]:
        """What saving the model must give: what saving a `ChatOpenAI` gives, to the letter."""
        params = {**self.standard_chat_model_params, **self.chat_model_params}
        saved = dumpd(ChatOpenAI(**params))
        return lambda name: saved

    @pytest.fixture(autouse=True)
    def _in_an_application(
        self, snapshot: object, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[None]:
        request.node._nodeid = request.node.nodeid  # pytest-benchmark 5.2 knows it by that name
        monkeypatch.setattr(pytest, "skip", lambda why: pytest.fail(f"skipped itself: {why}"))
        with justitia.application("standard"):
            yield


class TestChatJustitia(WithoutServer):
    chat_model_class = ChatJustitia


class TestChatOpenAI(WithoutServer):
    chat_model_class = ChatOpenAI

    @pytest.fixture(autouse=True)
    def _instrumented(self, snapshot: object) -> Iterator[None]:
        justitia.instrument()
        yield
        justitia.uninstrument()
