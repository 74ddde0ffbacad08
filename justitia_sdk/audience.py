"""
Who is to hear of an application: the Justitia servers that its calls went to.

A server is known as one by its replies' header; nothing but the calls' own header is ever sent to
others. Known process-wide, so an application that ends before its first reply is ended as well.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from .notices import Notice, Server, messenger

justitia_servers: set[str] = set()  # base URLs of this process whose replies said what they are


class Audience:
    """The servers that one application's calls went to."""

    def __init__(self) -> None:
        self._asked: dict[str, Server] = {}  # by base URL
        self._heard_end: set[str] = set()
        self._lock = threading.RLock()

    @property
    def servers(self) -> list[Server]:
        """Those of them known to be Justitia's, in the order in which they were asked."""
        with self._lock:
            return [server for url, server in self._asked.items() if url in justitia_servers]

    def note_asked(self, base_url: str, authorization: str | None) -> None:
        """Remember where a call goes."""
        known = self._asked.get(base_url)
        if known is None or known.authorization != authorization:
            with self._lock:
                self._asked[base_url] = Server(base_url, authorization)

    def has_asked(self, base_url: str) -> bool:
        """Whether a call went there."""
        return base_url in self._asked

    def tell(self, path: str, body: Mapping[str, Any]) -> None:
        """Tell all of them, in the background."""
        for server in self.servers:
            messenger.tell(Notice(server, path, body))

    def tell_end(self, path: str) -> None:
        """Tell each of them once that no more calls will come."""
        with self._lock:
            untold = [server for server in self.servers if server.base_url not in self._heard_end]
            self._heard_end |= {server.base_url for server in untold}
        for server in untold:
            messenger.tell(Notice(server, path))
