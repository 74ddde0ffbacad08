"""
Output lengths.

The toy model's text is noise and would end at random, so the demo says how long each answer is.
With a real model leave this file out: answers end by themselves.
"""

from __future__ import annotations

from typing import Any


def exactly(tokens: int) -> dict[str, Any]:
    """Return the arguments of a call that yields *tokens* output tokens."""
    return {
        "max_tokens": tokens,
        "temperature": 0.0,
        "extra_body": {"min_tokens": tokens, "ignore_eos": True},
    }


def as_the_schema_asks() -> dict[str, Any]:
    """
    Return the arguments of a call whose length is up to guided decoding: a tool call.

    JSON may hold any number of blanks between its parts, and noise is fond of them; the penalties
    make it tire of blanks.
    """
    return {
        "max_tokens": 512,
        "temperature": 0.0,
        "frequency_penalty": 2.0,
        "presence_penalty": 2.0,
    }
