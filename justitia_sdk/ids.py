"""Ids of applications and calls: ULIDs, which sort by the time they were made."""

from __future__ import annotations

import os
import re
import time

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32


def new_ulid() -> str:
    """Return a fresh ULID: 48 bits of milliseconds, then 80 random bits, in 26 characters."""
    milliseconds = time.time_ns() // 1_000_000
    value = milliseconds << 80 | int.from_bytes(os.urandom(10), "big")
    return "".join(_ALPHABET[value >> shift & 31] for shift in range(125, -1, -5))


def trace_id_of(ulid: str) -> str:
    """
    Return the same 128 bits as a W3C trace id, 32 hexadecimal digits.

    Raises:
        ValueError: *ulid* is not one.
    """
    if len(ulid) != 26:
        raise ValueError(f"not a ULID: {ulid!r}")
    value = 0
    for char in ulid:
        value = value << 5 | _ALPHABET.index(char)
    if value >> 128:
        raise ValueError(f"not a ULID: {ulid!r}")
    return f"{value:032x}"


def ulid_of(trace_id: str) -> str:
    """
    Return the ULID of a W3C trace id; the inverse of `trace_id_of`.

    Raises:
        ValueError: *trace_id* is not 32 hexadecimal digits.
    """
    if not re.fullmatch("[0-9a-fA-F]{32}", trace_id):
        raise ValueError(f"not a trace id: {trace_id!r}")
    value = int(trace_id, 16)
    return "".join(_ALPHABET[value >> shift & 31] for shift in range(125, -1, -5))
