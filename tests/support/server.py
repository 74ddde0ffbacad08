"""A real `justitia serve` in a process of its own, and proof that it left nothing behind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

COMMAND = [sys.executable, "-c", "from justitia_server.cli import main; main()", "serve"]
SCARCE_KV = ("--num-gpu-blocks-override", "150", "--block-size", "32")

START_LIMIT_S = 240.0
STOP_LIMIT_S = 30.0


class LiveServer:
    """
    `justitia serve` on a free loopback port, for the time of a `with` block.

    Args:
        options: Words behind `serve`; `--toy` and the port are added.
        environment: Variables set for the server beside this process's own.
        start_limit_s: Seconds /health may take to answer.
    """

    def __init__(
        self,
        *options: str,
        environment: dict[str, str] | None = None,
        start_limit_s: float = START_LIMIT_S,
    ) -> None:
        self.port = free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        self.api_url = f"{self.base_url}/v1"
        self._options = options
        self._environment = {**os.environ, **(environment or {})}
        self._start_limit_s = start_limit_s
        self._log_path = Path(tempfile.mkstemp(prefix="justitia-serve-", suffix=".log")[1])
        self._process: psutil.Popen | None = None
        self._family: set[psutil.Process] = set()

    def __enter__(self) -> Self:
        self.start()
        try:
            self.wait_until_ready()
        except BaseException:
            self._kill_family()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def process(self) -> psutil.Popen:
        """The `justitia serve` process itself."""
        assert self._process is not None, "the server was not started"
        return self._process

    def start(self) -> None:
        """Start the process and return at once."""
        with self._log_path.open("wb") as log:
            self._process = psutil.Popen(
                [*COMMAND, "--toy", "--port", str(self.port), *self._options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        """Return when /health answers; fail with the server's log when it does not in time."""
        deadline = time.monotonic() + self._start_limit_s
        while not self._answers():
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended by itself:\n{self.log()}")
            if time.monotonic() > deadline:
                raise AssertionError(f"no answer in {self._start_limit_s} s:\n{self.log()}")
            time.sleep(0.25)
        self.family()

    def family(self) -> set[psutil.Process]:
        """Return the server's processes, all that were ever seen by this call."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self._family |= {self.process, *self.process.children(recursive=True)}
        return self._family

    def log(self) -> str:
        """Return what the server wrote to stdout and stderr so far."""
        return self._log_path.read_text(encoding="utf-8", errors="replace")

    def stop(self, *, signum: int = signal.SIGTERM) -> int:
        """
        Send *signum*, wait, and return the exit code.

        Raises:
            AssertionError: If any process of the server is left, which is then killed.
        """
        family = self.family()
        with contextlib.suppress(psutil.NoSuchProcess):
            self.process.send_signal(signum)
        _, alive = psutil.wait_procs(family, timeout=STOP_LIMIT_S)
        left = [f"{process.pid} {process.name()}" for process in alive if process.is_running()]
        self._kill_family()
        assert not left, f"left behind: {left}\n{self.log()}"
        code = int(self.process.wait())
        self._log_path.unlink(missing_ok=True)
        return code

    def _kill_family(self) -> None:
        for process in self.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(self._family, timeout=STOP_LIMIT_S)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.base_url}/health", timeout=2) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def free_port() -> int:
    """Return a loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
