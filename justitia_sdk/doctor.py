"""
The doctor of lost context: calls of a hinting client that belong to no application.

Python drops the scope in bare threads and executors, in silence, and then a call is an application
of its own. Such calls are counted, each place in the code that makes them is warned of once with
what to do about it, and in strict mode they raise. Frames of the libraries in between are skipped.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import sysconfig
import threading
from collections import Counter
from functools import lru_cache
from types import FrameType

from .applications import live
from .errors import NoActiveApplication
from .failopen import fail_open

logger = logging.getLogger("justitia.sdk.doctor")

MAX_SITES = 1000  # beyond so many places, calls are counted together

_PYTHON = ("<frozen", sysconfig.get_path("stdlib"))
_INSTALLED = re.compile(r"[/\\](site|dist)-packages[/\\]")
_CLIENT = {"justitia_sdk", "justitia_integrations", "openai", "tenacity"}
_sites: Counter[str] = Counter()
_lock = threading.RLock()  # the garbage collector may run a call in the midst of it
_is_strict = os.environ.get("JUSTITIA_STRICT", "").lower() not in {"", "0", "false", "no", "off"}


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
    site, is_new = "somewhere", False
    with fail_open("doctor", "calls outside any application are not counted"):
        site, is_new = _counted(_site(sys._getframe(1)))
    if _is_strict:
        raise NoActiveApplication(f"{site}: {_diagnosis()}")
    if is_new:
        logger.warning("call_outside_application: %s: %s", site, _diagnosis(), extra={"site": site})


def forget() -> None:
    """Begin anew: no calls counted, no place warned of."""
    with _lock:
        _sites.clear()


def _counted(site: str) -> tuple[str, bool]:
    """Count a call; return the place it is counted under, and whether that is new."""
    with _lock:
        if site not in _sites and len(_sites) >= MAX_SITES:
            site = "elsewhere"
        _sites[site] += 1
        return site, _sites[site] == 1


def _site(frame: FrameType | None) -> str:
    """
    Return the innermost place that is no library's.

    Of a program that is installed among the libraries, the place that called the client; where
    there is none of either, the kind of thread.
    """
    caller = None
    while frame is not None:
        is_library, is_installed = _kind_of(frame.f_code.co_filename)
        is_client = str(frame.f_globals.get("__name__")).partition(".")[0] in _CLIENT
        if not is_client and not is_library:
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        if not is_client and is_installed and caller is None:
            caller = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return caller or f"thread {re.sub('[0-9]+', 'N', threading.current_thread().name)}"


@lru_cache(maxsize=4096)
def _kind_of(filename: str) -> tuple[bool, bool]:
    """Return whether a file is a library's, Python's own included, and whether it is installed."""
    is_installed = _INSTALLED.search(filename) is not None
    return is_installed or filename.startswith(_PYTHON), is_installed


def _diagnosis() -> str:
    """Return what is likely wrong, and what to do about it."""
    applications = [reference() for reference in live.valuerefs()]  # others may open some now
    open_here = sorted({app.type for app in applications if app and not app.is_finished})
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
