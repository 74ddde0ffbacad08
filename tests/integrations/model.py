"""The fake server's model where frameworks are fussy: streamed tool calls, ends, usage."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}


def chunks(message: dict[str, Any], *, with_usage: bool) -> Iterator[bytes]:
    """Return *message* as the events of a stream."""
    last = "tool_calls" if message.get("tool_calls") else "stop"
    for delta in _deltas(message):
        yield _event([{"index": 0, "delta": delta, "finish_reason": None}])
    yield _event([{"index": 0, "delta": {}, "finish_reason": last}])
    if with_usage:
        yield _event([], usage=USAGE)
    yield b"data: [DONE]\n\n"


def _deltas(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    content = message.get("content") or ""
    middle = len(content) // 2
    yield {"role": "assistant", "content": content[:middle]}
    yield {"content": content[middle:]}
    for index, call in enumerate(message.get("tool_calls") or []):
        yield {"tool_calls": [{"index": index, **call}]}


def _event(choices: list[dict[str, Any]], **more: Any) -> bytes:
    head = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "toy"}
    return f"data: {json.dumps({**head, 'choices': choices, **more})}\n\n".encode()
