"""
The frameworks that are installed here, and the servers they talk to.

A framework is left out where a package it needs is absent; ``JUSTITIA_FRAMEWORKS`` names those that
must be there. ``JUSTITIA_TEST_SERVER`` is the address, without ``/v1``, of a live server to use.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest

from integrations.framework import Framework, seen
from integrations.model import chunks

FOLDER = Path(__file__).parent
OURS = {"justitia_sdk", "justitia_integrations", "integrations"}


def _sdk_conftest() -> ModuleType:
    path = FOLDER.parent / "unit" / "sdk" / "conftest.py"
    spec = importlib.util.spec_from_file_location("sdk_conftest", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


_sdk = _sdk_conftest()
server, justitia_server, _clean_sdk = _sdk.server, _sdk.justitia_server, _sdk._clean_sdk


class Handler(_sdk.Handler):  # type: ignore[misc, name-defined]
    """The SDK's fake server; what it streams is what it was told to reply."""

    def do_POST(self) -> None:
        if self.path.endswith(("/completions", "/finish")):
            super().do_POST()
        else:
            self._record()
            self._reply(200, {})

    def _stream(self) -> None:
        body = self.state.calls[-1].body
        self._head(200, {"Connection": "close"}, kind="text/event-stream")
        with_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        for event in chunks(self._message(), with_usage=with_usage):
            self.wfile.write(event)
        self.close_connection = True


@pytest.fixture(scope="session")
def _http_server() -> Iterator[ThreadingHTTPServer]:
    http_server = _sdk._Server(("127.0.0.1", 0), Handler)
    serve = threading.Thread(target=http_server.serve_forever, args=(0.01,), daemon=True)
    serve.start()
    yield http_server
    http_server.shutdown()
    http_server.server_close()


def _missing(exc: BaseException | None) -> str | None:
    """Return the foreign package whose absence is the reason of *exc*, if that is the reason."""
    while exc is not None:
        if isinstance(exc, ModuleNotFoundError) and exc.name is not None:
            package = exc.name.partition(".")[0]
            if package not in OURS and importlib.util.find_spec(package) is None:
                return package
        exc = exc.__cause__
    return None


def _load() -> tuple[list[Framework], dict[str, str]]:
    """
    Return the frameworks that are here, and for each other one the package that is missing.

    Raises:
        ImportError: For any other reason, or of a framework that must be here.
    """
    needed = os.environ.get("JUSTITIA_FRAMEWORKS", "").split()
    present, absent = [], {}
    names = sorted(path.stem for path in FOLDER.glob("frameworks/[!_]*.py"))
    if unknown := set(needed) - set(names):
        raise ImportError(f"JUSTITIA_FRAMEWORKS names no framework: {sorted(unknown)}")
    for name in names:
        try:
            present.append(importlib.import_module(f"integrations.frameworks.{name}").framework)
        except ImportError as exc:
            package = _missing(exc)
            if package is None or name in needed:
                raise
            absent[name] = package
    return present, absent


FRAMEWORKS, ABSENT = _load()
collect_ignore = [f"test_{name}.py" for name in ABSENT]


def pytest_report_header() -> list[str]:
    """Say which frameworks are tested, and which are not."""
    absent = [f"{name} (no {package})" for name, package in ABSENT.items()]
    return [
        f"frameworks: {', '.join(each.name for each in FRAMEWORKS)}",
        *([f"not installed: {', '.join(absent)}"] if absent else []),
    ]


WAYS = ("ask", "aask", "stream", "astream")
RUNS = ("run", "arun")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker by which a test leaves out frameworks that have no such thing."""
    config.addinivalue_line("markers", "needs(feature): for frameworks that have it")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test each framework that has what the test asks for, in each way it offers."""
    if "framework" not in metafunc.fixturenames:
        return
    needs = [mark.args[0] for mark in metafunc.definition.iter_markers("needs")]
    here = [each for each in FRAMEWORKS if all(each.has(feature) for feature in needs)]
    for argument, methods in (("way", WAYS), ("run", RUNS)):
        if argument in metafunc.fixturenames:
            cases = [(each, way) for each in here for way in methods if each.has(way)]
            names = [f"{each.name}-{way}" for each, way in cases]
            metafunc.parametrize(("framework", argument), cases, ids=names)
            return
    metafunc.parametrize("framework", here, ids=[each.name for each in here])


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    seen.clear()


@pytest.fixture(scope="session")
def _live_url() -> Iterator[str]:
    """The address of a live Justitia server, started if there is none yet."""
    if given := os.environ.get("JUSTITIA_TEST_SERVER"):
        yield given.rstrip("/")
        return
    from support.server import LiveServer  # its packages are not a framework's

    with LiveServer("--policy", "justitia") as running:
        yield running.base_url


@pytest.fixture
def live_url(_live_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the address of a live Justitia server, which clients find without being told."""
    monkeypatch.setenv("OPENAI_BASE_URL", f"{_live_url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    return _live_url
