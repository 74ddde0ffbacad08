"""
Telling the server that an application has ended, without making the user wait.

Owns one daemon thread, started at the first ending, and its bounded queue. A note that cannot be
delivered is dropped after one warning: the server closes silent applications by itself.
Time is in seconds.
"""

from __future__ import annotations

import atexit
import os
import threading
from dataclasses import dataclass
from queue import SimpleQueue

from .failopen import fail_open, warn_once

_UNTOLD = "the server will close the application when it has been idle long enough"


@dataclass(frozen=True, slots=True)
class Ending:
    """
    One note to deliver.

    Attributes:
        app_id: The application that ended.
        base_url: Where its calls went, ``/v1`` included.
        authorization: The credential its calls carried, if any.
    """

    app_id: str
    base_url: str
    authorization: str | None = None


class Finisher:
    """
    Delivers endings in the background, in order.

    Args:
        max_waiting: Endings beyond so many waiting ones are dropped.
        timeout_s: Longest wait for one server.
    """

    def __init__(self, *, max_waiting: int = 1024, timeout_s: float = 2.0) -> None:
        self.max_waiting = max_waiting
        self.timeout_s = timeout_s
        self.reset()

    def reset(self) -> None:
        """Start afresh, as a forked child must: neither thread nor notes of the parent are its."""
        # Both allow re-entry: a scope may be left by the garbage collector in the midst of either.
        self._waiting: SimpleQueue[Ending | threading.Event] = SimpleQueue()
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None

    def tell(self, ending: Ending) -> None:
        """Queue *ending* and return at once; never raises."""
        if self._waiting.qsize() >= self.max_waiting:
            warn_once("finish_queue_full", _UNTOLD)
            return
        self._waiting.put(ending)
        with fail_open("finish_thread", _UNTOLD):
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
                thread = threading.Thread(target=self._work, name="justitia-finish", daemon=True)
                thread.start()
                self._thread = thread

    def _work(self) -> None:
        waiting = self._waiting
        while True:
            item = waiting.get()
            if isinstance(item, threading.Event):
                item.set()
                continue
            with fail_open("finish", _UNTOLD):
                _post(item, timeout_s=self.timeout_s)


def _post(ending: Ending, *, timeout_s: float) -> None:
    """
    Deliver one note. No redirect is followed, so the credential stays with its server.

    Raises:
        OSError: The server cannot be reached or answers with an error.
    """
    from http.client import HTTPConnection, HTTPSConnection
    from urllib.parse import quote, urlsplit

    url = urlsplit(ending.base_url)
    headers = {"Content-Type": "application/json"}
    if ending.authorization is not None:
        headers["Authorization"] = ending.authorization
    connection_type = HTTPSConnection if url.scheme == "https" else HTTPConnection
    connection = connection_type(url.hostname or "", url.port, timeout=timeout_s)
    path = f"{url.path.rstrip('/')}/applications/{quote(ending.app_id, safe='')}/finish"
    try:
        connection.request("POST", path, body=b"{}", headers=headers)
        status = connection.getresponse().status
    finally:
        connection.close()
    if status >= 300:
        raise OSError(f"{ending.base_url} answered {status} to the end of {ending.app_id}")


finisher = Finisher()
atexit.register(finisher.flush, finisher.timeout_s)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=finisher.reset)
