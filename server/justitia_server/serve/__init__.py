"""`justitia serve`: vLLM's own OpenAI server, in this process, with the fair order built in."""

from __future__ import annotations

from justitia_server.serve.command import serve
from justitia_server.serve.settings import ServeSettings

__all__ = ["ServeSettings", "serve"]
