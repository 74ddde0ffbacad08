"""
A proxy that spoils answers on order: HTTP in front of a server, a fault for each of the next calls.

    with SpoilingProxy(server.port) as proxy:
        proxy.faults.extend([refuse(429, {"Retry-After": "0.1"}), lose_answer])
        openai.OpenAI(base_url=proxy.api_url)…

Only calls are spoilt; what else is asked passes, and so do calls when no fault is left.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

LONGEST_WAIT_S = 30.0
_HOP = {"connection", "keep-alive", "transfer-encoding", "host"}  # headers of one hop only

Fault = Callable[["Exchange"], None]


class Exchange(BaseHTTPRequestHandler):
    """One request that came, and what may be done with it."""

    protocol_version = "HTTP/1.1"
    server: _Listener

    def log_message(self, *_args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def ask_server(self) -> http.client.HTTPConnection:
        """Send the request on; the answer is still to be read."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.server.upstream_port, timeout=LONGEST_WAIT_S
        )
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
        connection.request(self.command, self.path, body=self.body, headers=headers)
        return connection

    def begin_answer(self, response: http.client.HTTPResponse) -> None:
        """Pass status and headers on."""
        self.send_response(response.status)
        for name, value in response.getheaders():
            if name.lower() not in _HOP:
                self.send_header(name, value)
        self._is_chunked = response.getheader("Content-Length") is None
        if self._is_chunked:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def pass_on(self, part: bytes) -> None:
        """Pass a part of the body on; of a stream the empty one is the end."""
        self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part) if self._is_chunked else part)
        self.wfile.flush()

    def answer(self, status: int, headers: dict[str, str]) -> None:
        """Answer without asking the server."""
        body = json.dumps({"error": {"message": "spoilt", "type": "test"}}).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def hang_up(self) -> None:
        """Close the client's connection, whatever it is waiting for."""
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        is_call = self.path.endswith("/completions")
        if is_call:
            self.server.call_headers.append(dict(self.headers.items()))
        if is_call and self.server.faults:
            self.server.faults.popleft()(self)
        else:
            self._pass_all_on()

    def _pass_all_on(self) -> None:
        connection = self.ask_server()
        try:
            with connection.getresponse() as response:
                self.begin_answer(response)
                while part := response.read1():
                    self.pass_on(part)
                self.pass_on(b"")
        finally:
            connection.close()


def drop(exchange: Exchange) -> None:
    """Hang up before the server has heard of the call."""
    exchange.hang_up()


def lose_answer(exchange: Exchange) -> None:
    """Let the server answer, and hang up before the first header."""
    connection = exchange.ask_server()
    connection.getresponse().read()
    connection.close()
    exchange.hang_up()


def refuse(status: int, headers: dict[str, str] | None = None) -> Fault:
    """Answer with an error, as a gateway does that does not ask the server."""
    return lambda exchange: exchange.answer(status, headers or {})


def cut_after(num_bytes: int) -> Fault:
    """Hang up on both sides after so many bytes of the answer's body, of a stream too."""

    def cut(exchange: Exchange) -> None:
        connection = exchange.ask_server()
        response = connection.getresponse()
        exchange.begin_answer(response)
        exchange.pass_on(response.read(num_bytes))
        response.close()
        connection.close()
        exchange.hang_up()

    return cut


def cut_when(condition: Callable[[], bool]) -> Fault:
    """Hang up on both sides as soon as *condition* holds, while the server is at work."""

    def cut(exchange: Exchange) -> None:
        connection = exchange.ask_server()
        until = time.monotonic() + LONGEST_WAIT_S
        while not condition() and time.monotonic() < until:
            time.sleep(0.01)
        connection.close()
        exchange.hang_up()

    return cut


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, upstream_port: int) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        self.upstream_port = upstream_port
        self.faults: deque[Fault] = deque()
        self.call_headers: list[dict[str, str]] = []

    def handle_error(self, *_args: object) -> None:
        """Both sides hang up here: that is what it is for."""


class SpoilingProxy:
    """
    A proxy before the server on *upstream_port* of this machine, for the time of a `with` block.

    Attributes:
        faults: For each of the next calls what is done with it.
        call_headers: Of every call that came, in order.
    """

    def __init__(self, upstream_port: int) -> None:
        self._listener = _Listener(upstream_port)
        self.api_url = f"http://127.0.0.1:{self._listener.server_port}/v1"
        self.faults = self._listener.faults
        self.call_headers = self._listener.call_headers

    def __enter__(self) -> Self:
        thread = threading.Thread(target=self._listener.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.shutdown()
        self._listener.server_close()
