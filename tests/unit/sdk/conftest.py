"""A small OpenAI-compatible server over real HTTP, and a clean SDK around every test."""

import json
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

import justitia_sdk
from justitia_sdk import doctor, failopen
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
    raw: bytes = b""

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
        receipts: For each of the next questions after an application: fields that differ from those
            of one finished, or a status, or the raw body, or seconds that the answer takes; the
            last of them stands.
        requests: Everything received, in order.
        is_hanging: Set once a call is kept without an answer.
    """

    base_url: str = ""
    is_justitia: bool = False
    finish_status: int = 200
    failures: deque[Any] = field(default_factory=deque)
    replies: deque[dict[str, Any]] = field(default_factory=deque)
    receipts: deque[Any] = field(default_factory=deque)
    requests: list[Request] = field(default_factory=list)
    is_hanging: threading.Event = field(default_factory=threading.Event)

    @property
    def calls(self) -> list[Request]:
        return [
            each for each in self.requests if each.path.endswith(("/completions", "/responses"))
        ]

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
        return [notice.path.split("/")[-2] for notice in self.told("finish")]

    def told(self, what: str) -> list[Request]:
        """Return what was told besides calls: "applications", "events" or "finish", once sent."""
        assert messenger.flush(5.0)
        posts = [request for request in self.requests if request.method == "POST"]
        return [post for post in posts if post.path.endswith(f"/{what}")]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: FakeServer

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        request = self._record()
        if "/applications/" in request.path and self.state.is_justitia:
            self._receipt(request.path.rpartition("/")[2])
        else:
            self._reply(200, {"object": "list", "data": []})

    def do_POST(self) -> None:
        request = self._record()
        if request.path.endswith("/finish"):
            self._reply(self.state.finish_status, {})
        elif request.path.endswith(("/events", "/applications")):
            self._reply(201 if request.path.endswith("/applications") else 200, {})
        elif self.state.failures:
            self._fail(self.state.failures.popleft())
        elif request.path.endswith("/responses"):
            self._respond(request)
        elif request.body.get("stream"):
            self._stream()
        else:
            self._reply(200, _completion(self._message()))

    def _record(self) -> Request:
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length)
        body = json.loads(raw) if self.headers.get_content_type() == "application/json" else {}
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path.partition("?")[0], headers, body, raw)
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

    def _receipt(self, app_id: str) -> None:
        receipts = self.state.receipts
        told = (receipts.popleft() if len(receipts) > 1 else receipts[0]) if receipts else {}
        if isinstance(told, float):
            time.sleep(told)
            told = {}
        if isinstance(told, int):
            self._reply(told, {"error": {"message": "as told"}})
        else:
            self._reply(200, told if isinstance(told, bytes) else {**_receipt(app_id), **told})

    def _respond(self, request: Request) -> None:
        """Answer in the form of the Responses API."""
        reply = _response(self._message())
        if not request.body.get("stream"):
            self._reply(200, reply)
            return
        self._head(200, {"Connection": "close"}, kind="text/event-stream")
        for number, event in enumerate(_events(reply)):
            told = json.dumps({"sequence_number": number, **event})
            self.wfile.write(f"event: {event['type']}\ndata: {told}\n\n".encode())
        self.close_connection = True

    def _reply(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
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


def _response(message: dict[str, Any]) -> dict[str, Any]:
    text = {"type": "output_text", "text": message.get("content") or "", "annotations": []}
    said = {"id": "m", "type": "message", "role": "assistant", "status": "completed"}
    calls = [
        {"id": call["id"], "type": "function_call", "call_id": call["id"], **call["function"]}
        for call in message.get("tool_calls") or ()
    ]
    head = {"id": "r", "object": "response", "created_at": 0, "model": "toy", "status": "completed"}
    tools = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
    return {**head, **tools, "output": calls or [{**said, "content": [text]}]}


def _events(response: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what a stream tells of *response*: its beginning, its text or calls, its end."""
    opened = {**response, "status": "in_progress", "output": []}
    events: list[dict[str, Any]] = [{"type": "response.created", "response": opened}]
    for index, item in enumerate(response["output"]):
        told = {"output_index": index, "item": item}
        events.append({"type": "response.output_item.added", **told})
        for text in item.get("content", ()):
            place = {"item_id": item["id"], "output_index": index, "content_index": 0}
            delta = {**place, "delta": text["text"], "logprobs": []}
            events.append({"type": "response.output_text.delta", **delta})
        events.append({"type": "response.output_item.done", **told})
    return [*events, {"type": "response.completed", "response": response}]


def _receipt(app_id: str) -> dict[str, Any]:
    """Return what a Justitia server says of an application that has ended."""
    head = {"id": app_id, "type": "triage", "state": "finished", "wait_s": 0.5, "run_s": 1.25}
    ends = {"arrived_at": 1000.0, "finished_at": 1002.0, "fair_finish_at": 1003.0}
    late = {"lateness_s": -1.0, "lateness_iterations": -7, "bound_iterations": 32.4}
    cost = {"predicted_cost": 4000.0, "attained_cost": 5000, "fair_finish_is_provisional": False}
    calls = {"waiting": 0, "running": 0, "done": 3, "aborted": 0, "retries": 1, "late": 0}
    return {**head, **ends, **late, **cost, "calls": calls}


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
    doctor.forget()
    yield
    justitia_sdk.uninstrument()
    justitia_sdk.configure(strict=False)
    messenger.flush(5.0)
    assert justitia_sdk.current_application() is None
