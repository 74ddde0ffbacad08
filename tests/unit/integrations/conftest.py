"""The fake server of the SDK's tests, and no test of a framework that is not installed."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def _sdk_conftest() -> Any:
    path = Path(__file__).parents[1] / "sdk" / "conftest.py"
    spec = importlib.util.spec_from_file_location("sdk_conftest", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


_sdk = _sdk_conftest()
_http_server, server, justitia_server = _sdk._http_server, _sdk.server, _sdk.justitia_server
_clean_sdk, _fast_retries = _sdk._clean_sdk, _sdk._fast_retries

collect_ignore: list[str] = []
frameworks = ("langchain", "langchain_openai", "langgraph")
if not all(importlib.util.find_spec(name) for name in frameworks):
    collect_ignore += [path.name for path in Path(__file__).parent.glob("test_lang*.py")]
elif not importlib.util.find_spec("langchain_tests"):
    collect_ignore += ["test_langchain_standard.py"]


@pytest.fixture
def _new_http_clients() -> None:
    """LangChain keeps asynchronous connections for all models; each test has its own loop."""
    from langchain_openai.chat_models._client_utils import _cached_async_httpx_client

    _cached_async_httpx_client.cache_clear()


@pytest.fixture
def asking_for_tools() -> Callable[..., dict[str, Any]]:
    """Return what makes the reply of a model that calls the tools of these names."""

    def reply(*names: str) -> dict[str, Any]:
        told = [{"name": name, "arguments": '{"what": "x"}'} for name in names]
        calls = [{"id": f"c{n}", "type": "function", "function": f} for n, f in enumerate(told)]
        return {"role": "assistant", "content": None, "tool_calls": calls}

    return reply
