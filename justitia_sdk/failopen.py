"""
Fail open: a fault in hinting costs one warning, never the user's call.

Owns the SDK's logger and the memory of what was already warned of.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger("justitia.sdk")

_warned: set[str] = set()


def warn_once(kind: str, consequence: str) -> None:
    """Log one warning for each *kind*, with the exception at hand; later ones at DEBUG."""
    level = logging.DEBUG if kind in _warned else logging.WARNING
    _warned.add(kind)
    logger.log(level, "%s: %s", kind, consequence, exc_info=True, extra={"kind": kind})


@contextmanager
def fail_open(kind: str, consequence: str) -> Iterator[None]:
    """Swallow any exception of the block, with one warning that names the *consequence*."""
    try:
        yield
    except Exception:
        warn_once(kind, consequence)
