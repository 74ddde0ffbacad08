"""A small OpenAI-compatible server over real HTTP, and a clean SDK around every test."""

import json
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

import justitia_sdk
from justitia_sdk import failopen
from justitia_sdk.audience import justitia_servers
from justitia_sdk.notices import messenger
from justitia_sdk.protocol import HINTS_HEADER, Hints, decode_hints


@dataclass
class Request:
    """One request as the server saw it."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def hints(self) -> Hints | None:
        value = self.headers.get(HINTS_HEADER.lower())
        return None if value is None else decode_hints(value)


@dataclass
class FakeServer:
    """
    What a test tells the server and what it then reads.

    Attributes:
        base_url: For the clients, with ``/v1``.
        is_justitia: Whether replies carry the Justitia header.
        finish_status: Answer to the end of an application.
        failures: For each of the next calls: a status, or a status and headers; "drop" closes the
            connection, "hang" never answers.
        replies: For each of the next calls: the assistant message; "hello" once it is empty.
        requests: Everything received, in order.
        is_hanging: Set once a call is kept without an answer.
    """

    base_url: str = ""
    is_justitia: bool = False
    finish_status: int = 200
    failures: deque[Any] = field(default_factory=deque)
    replies: deque[dict[str, Any]] = field(default_factory=deque)
    requests: list[Request] = field(default_factory=list)
    is_hanging: threading.Event = field(default_factory=threading.Event)

    @property
    def calls(self) -> list[Request]:
        return [request for request in self.requests if request.path.endswith("/completions")]

    @property
    def hints(self) -> list[Hints]:
        return [request.hints for request in self.calls if request.hints is not None]

    @property
    def apps(self) -> set[str]:
        return {hints.application.app for hints in self.hints if hints.application}

    @property
    def stages(self) -> list[tuple[str | None, int | None]]:
        return [(hints.call.stage, hints.call.stage_index) for hints in self.hints]

    def finished(self) -> list[str]:
        """Return the ids of the applications whose end the server was told, once all was sent."""
        assert messenger.flush(5.0)
        paths = [request.path.split("/") for request in self.requests if request.method == "POST"]
        return [path[-2] for path in paths if path[-1] == "finish"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: FakeServer

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._record()
        self._reply(200, {"object": "list", "data": []})

    def do_POST(self) -> None:
        request = self._record()
        if request.path.endswith("/finish"):
            self._reply(self.state.finish_status, {})
        elif self.state.failures:
            self._fail(self.state.failures.popleft())
        elif request.body.get("stream"):
            self._stream()
        else:
            self._reply(200, _completion(self._message()))

    def _record(self) -> Request:
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length)
        body = json.loads(raw) if self.headers.get_content_type() == "application/json" else {}
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path.partition("?")[0], headers, body)
        self.state.requests.append(request)
        return request

    def _message(self) -> dict[str, Any]:
        replies = self.state.replies
        return replies.popleft() if replies else {"role": "assistant", "content": "hello"}

    def _fail(self, failure: Any) -> None:
        if failure in ("drop", "hang"):
            if failure == "hang":
                self.state.is_hanging.set()
                self.connection.recv(1)  # until the client has had enough
            self.close_connection = True
            self.connection.close()
            return
        status, headers = failure if isinstance(failure, tuple) else (failure, {})
        self._reply(status, {"error": {"message": "as told"}}, headers)

    def _reply(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(body).encode()
        self._head(status, {"Content-Length": str(len(content)), **(headers or {})})
        self.wfile.write(content)

    def _stream(self) -> None:
        self._head(200, {"Connection": "close"}, kind="text/event-stream")
        for word in ("hel", "lo"):
            self.wfile.write(f"data: {json.dumps(_chunk(word))}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def _head(self, status: int, headers: dict[str, str], kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if self.state.is_justitia:
            self.send_header("Justitia-Server", "1")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


def _completion(message: dict[str, Any]) -> dict[str, Any]:
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    head = {"id": "c", "object": "chat.completion", "created": 0, "model": "toy"}
    return {**head, "choices": [choice], "usage": usage}


def _chunk(word: str) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"role": "assistant", "content": word}, "finish_reason": None}
    head = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "toy"}
    return {**head, "choices": [choice]}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_args: object) -> None:
        """Clients that hang up are part of the tests."""

    request_queue_size = 64


@pytest.fixture(scope="session")
def _http_server() -> Iterator[_Server]:
    http_server = _Server(("127.0.0.1", 0), Handler)
    serve = threading.Thread(target=http_server.serve_forever, args=(0.01,), daemon=True)
    serve.start()
    yield http_server
    http_server.shutdown()
    http_server.server_close()


@pytest.fixture
def server(_http_server: _Server, monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    """Return a server with nothing recorded, which clients find without being told."""
    state = FakeServer(base_url=f"http://127.0.0.1:{_http_server.server_port}/v1")
    monkeypatch.setattr(Handler, "state", state, raising=False)
    justitia_servers.clear()  # all tests' servers have one address
    monkeypatch.setenv("OPENAI_BASE_URL", state.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    return state


@pytest.fixture
def justitia_server(server: FakeServer) -> FakeServer:
    """Return the same server, saying that it is a Justitia server."""
    server.is_justitia = True
    return server


@pytest.fixture
def _fast_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.001)


@pytest.fixture(autouse=True)
def _clean_sdk() -> Iterator[None]:
    failopen._warned.clear()
    yield
    justitia_sdk.uninstrument()
    messenger.flush(5.0)
    assert justitia_sdk.current_application() is None
