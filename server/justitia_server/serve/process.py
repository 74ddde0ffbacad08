"""Start `justitia serve` in a process of its own, wait until it answers, and end it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from justitia_sdk.errors import ServerUnavailable

_SERVE = (sys.executable, "-c", "from justitia_server.cli import main; main()", "serve")
START_LIMIT_S = 240.0  # the first start also builds the toy model
_STOP_S = 20.0
_LOG_LINES = 12


@contextmanager
def serving(
    options: Sequence[str],
    *,
    log: Path,
    while_starting: Callable[[], None] = lambda: None,
    start_limit_s: float = START_LIMIT_S,
) -> Iterator[str]:
    """
    Run `justitia serve` with *options* during the block; give its address, without ``/v1``.

    Args:
        options: What follows `serve`; host and port are added.
        log: File for the server's output.
        while_starting: Called about four times a second until it answers.
        start_limit_s: Seconds it may take to answer.

    Raises:
        ServerUnavailable: It ended or did not answer in time; the message ends with its last words.
    """
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [*_SERVE, *options, "--host", "127.0.0.1", "--port", str(port)]
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches us alone, and we end it in order
        )
    try:
        _wait_until_healthy(process, address, log, while_starting, start_limit_s)
        yield address
    finally:
        end_process(process)


def free_port() -> int:
    """Return a TCP port on the loopback interface that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def end_process(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    """End *process*, politely and then with all it has started by force, even when interrupted."""
    try:
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_S)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_healthy(
    process: subprocess.Popen[bytes],
    address: str,
    log: Path,
    while_starting: Callable[[], None],
    start_limit_s: float,
) -> None:
    give_up_at = time.monotonic() + start_limit_s
    while not _is_healthy(address):
        if process.poll() is not None:
            raise ServerUnavailable(f"the server ended while starting:\n{_last_words(log)}")
        if time.monotonic() > give_up_at:
            raise ServerUnavailable(
                f"the server did not answer within {start_limit_s:.0f} s:\n{_last_words(log)}"
            )
        while_starting()
        time.sleep(0.25)


def _is_healthy(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=2.0) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _last_words(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return "\n".join([*lines[-_LOG_LINES:], f"(all of it: {log})"])
