"""The fake server of the SDK's tests, and no test of a framework that is not installed."""

import importlib.util
import sys
from pathlib import Path
from typing import Any


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
    collect_ignore += ["test_langchain.py", "test_langchain_docs.py"]
