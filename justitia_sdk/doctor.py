"""
The doctor of lost context: calls of a hinting client that belong to no application.

Python drops the scope in bare threads and executors, in silence, and then a call is an application
of its own. Such calls are counted, each place in the code that makes them is warned of once with
what to do about it, and in strict mode they raise. Frames of the libraries in between are skipped.
"""

from __future__ import annotations

import logging
import os
import sys
import sysconfig
import threading
from collections import Counter
from pathlib import Path
from types import FrameType

from .applications import live
from .errors import NoActiveApplication

logger = logging.getLogger("justitia.sdk.doctor")

MAX_SITES = 1000  # beyond so many places, calls are counted together

_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})
_SKIPPED = (str(Path(__file__).parent), "<frozen", *_LIBRARIES)
_sites: Counter[str] = Counter()
_lock = threading.Lock()
_is_strict = os.environ.get("JUSTITIA_STRICT", "") not in {"", "0"}


def configure(*, strict: bool) -> None:
    """
    Say whether calls outside any application raise `NoActiveApplication`; else they are warned of.

    The environment variable ``JUSTITIA_STRICT=1`` says it without a change of code.
    """
    global _is_strict
    _is_strict = strict


def outside_calls() -> dict[str, int]:
    """Return how many calls were made outside any application, by place: ``file.py:12``."""
    with _lock:
        return dict(_sites)


def note_outside() -> None:
    """
    Take notice of a call outside any application.

    Raises:
        NoActiveApplication: In strict mode.
    """
    site = _site(sys._getframe(1))
    with _lock:
        known = site in _sites
        if not known and len(_sites) >= MAX_SITES:
            site = "elsewhere"
        _sites[site] += 1
    if _is_strict:
        raise NoActiveApplication(f"{site}: {_diagnosis()}")
    if not known:
        logger.warning("call_outside_application: %s: %s", site, _diagnosis(), extra={"site": site})


def forget() -> None:
    """Begin anew: no calls counted, no place warned of."""
    with _lock:
        _sites.clear()


def _site(frame: FrameType | None) -> str:
    """Return the innermost place that is neither ours nor a library's."""
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith(_SKIPPED) and "justitia_integrations" not in name:
            return f"{name}:{frame.f_lineno}"
        frame = frame.f_back
    return f"thread {threading.current_thread().name}"


def _diagnosis() -> str:
    """Return what is likely wrong, and what to do about it."""
    open_here = sorted({each.type for each in live.values() if not each.is_finished})
    if not open_here:
        return (
            "this LLM call belongs to no application: put it inside "
            '`with justitia.application("name"):`'
        )
    which = ", ".join(open_here[:3])
    if threading.current_thread() is not threading.main_thread():
        return (
            f"this LLM call belongs to no application, though {which} is open: its thread was "
            "started without the scope. Use justitia.wrap_thread(thread), "
            "justitia.wrap_executor(executor) or justitia.copy_scope(function)"
        )
    return (
        f"this LLM call belongs to no application, though {which} is open elsewhere: put it inside "
        "the scope, or hand the application over with `with app.handle():`"
    )
