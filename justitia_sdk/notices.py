"""
Telling a Justitia server what no call can carry, without making the user wait.

That an application has ended, that a tool runs, that a burst of calls is coming. Owns one daemon
thread, started at the first notice, and its bounded queue; notices arrive in order. One that cannot
be delivered is dropped after one warning: the server closes silent applications by itself.
Time is in seconds.
"""

from __future__ import annotations

import atexit
import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

from .failopen import fail_open, warn_once

_LOST = "a Justitia server was not told; it will find out by itself, later"


@dataclass(frozen=True, slots=True)
class Server:
    """
    Where calls went, and the right to speak of them there.

    Attributes:
        base_url: ``/v1`` included.
        authorization: The credential the calls carried, if any.
    """

    base_url: str
    authorization: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Notice:
    """
    One thing to tell.

    Attributes:
        server: Whom.
        path: Under the server's base URL: ``/applications/…``.
        body: What, as plain JSON fields.
    """

    server: Server
    path: str
    body: Mapping[str, Any] = field(default_factory=dict)


class Messenger:
    """
    Delivers notices in the background, in order.

    Args:
        max_waiting: Notices beyond so many waiting ones are dropped.
        timeout_s: Longest wait for one server.
    """

    def __init__(self, *, max_waiting: int = 1024, timeout_s: float = 2.0) -> None:
        self.max_waiting = max_waiting
        self.timeout_s = timeout_s
        self.reset()

    def reset(self) -> None:
        """Start afresh, as a forked child must: neither thread nor notes of the parent are its."""
        # Both allow re-entry: a scope may be left by the garbage collector in the midst of either.
        self._waiting: SimpleQueue[Notice | threading.Event] = SimpleQueue()
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None

    def tell(self, notice: Notice) -> None:
        """Queue *notice* and return at once; never raises."""
        if self._waiting.qsize() >= self.max_waiting:
            warn_once("notice_queue_full", _LOST)
            return
        self._waiting.put(notice)
        with fail_open("notice_thread", _LOST):
            self._start()

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that is queued now was tried; return whether that was in time."""
        if self._thread is None:
            return True
        reached = threading.Event()
        self._waiting.put(reached)
        return reached.wait(timeout_s)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._work, name="justitia-notices", daemon=True)
                thread.start()
                self._thread = thread

    def _work(self) -> None:
        waiting = self._waiting
        while True:
            item = waiting.get()
            if isinstance(item, threading.Event):
                item.set()
                continue
            with fail_open("notice", _LOST):
                post(item, timeout_s=self.timeout_s)


def post(notice: Notice, *, timeout_s: float) -> None:
    """
    Deliver one notice now.

    Raises:
        OSError: The server cannot be reached or answers with an error.
    """
    body = json.dumps(dict(notice.body)).encode()
    status, _ = exchange(notice.server, "POST", notice.path, body, timeout_s=timeout_s)
    if status >= 300:
        raise OSError(f"{notice.server.base_url} answered {status} to {notice.path}")


def exchange(
    server: Server, method: str, path: str, body: bytes | None = None, *, timeout_s: float
) -> tuple[int, bytes]:
    """
    Ask *server* and return its status and answer.

    No redirect is followed and no proxy asked, so the credential stays with its server.

    Raises:
        OSError: The server cannot be reached, or not in time.
    """
    from http.client import HTTPConnection, HTTPException, HTTPSConnection
    from urllib.parse import urlsplit

    url = urlsplit(server.base_url)
    headers = {} if body is None else {"Content-Type": "application/json"}
    if server.authorization is not None:
        headers["Authorization"] = server.authorization
    connection_type = HTTPSConnection if url.scheme == "https" else HTTPConnection
    connection = connection_type(url.hostname or "", url.port, timeout=timeout_s)
    try:
        connection.request(method, url.path.rstrip("/") + path, body=body, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    except HTTPException as exc:
        raise OSError(f"{server.base_url} does not answer as a server should: {exc!r}") from exc
    finally:
        connection.close()


messenger = Messenger()
atexit.register(messenger.flush, messenger.timeout_s)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=messenger.reset)
