"""Run vLLM's server in this process, and leave nothing of it behind."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from argparse import Namespace
from types import FrameType
from typing import Any, NoReturn

_KILL_LIMIT_S = 10.0
_STREAMS_LIMIT_S = 3  # for replies in flight when the engine has gone: they would wait for ever


def leave_on_signals() -> None:
    """
    From now on, and until vLLM takes over, end at once on Ctrl-C or SIGTERM.

    The handler does all the work itself: an exception raised from it may be lost, because
    start-up runs through libraries that catch everything. Once it serves, vLLM has handlers of
    its own that stop it in order.

    Changes: the handlers of SIGINT and SIGTERM.
    """

    def handle(signum: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        leave(0)

    signal.signal(signal.SIGINT, handle)
    signal.signal(signal.SIGTERM, handle)


def leave(code: int) -> NoReturn:
    """End every child, then this process, without the libraries' long farewells."""
    end_children()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def run_until_stopped(args: Namespace) -> int:
    """
    Run the server that *args* describes and return the exit code.

    0 after Ctrl-C or SIGTERM, at whatever moment they come; 1 when the engine failed, with one
    sentence on stderr (vLLM's log above it has the details).
    """
    from vllm.entrypoints.cli import serve as vllm_serve
    from vllm.entrypoints.serve.utils.api_utils import cli_env_setup
    from vllm.logger import configure_logging_from_args

    cli_env_setup()
    configure_logging_from_args(args)
    _hide_route_listing()
    vllm_serve.run_server = _run_server
    command = vllm_serve.ServeSubcommand()
    try:
        command.validate(args)
        command.cmd(args)
    except (KeyboardInterrupt, SystemExit):
        return 0
    except Exception as error:
        _explain(error)
        return 1
    return 0


def end_children() -> None:
    """
    End every process below this one by force.

    vLLM ends them politely when it stops in order; whoever is left is in the middle of starting,
    has nothing to save, and would only log its surprise.
    """
    import psutil

    # multiprocessing's resource tracker ends by itself, with the last process that uses it.
    children = [
        child for child in psutil.Process().children(recursive=True) if not _is_tracker(child)
    ]
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    psutil.wait_procs(children, timeout=_KILL_LIMIT_S)


async def _run_server(args: Namespace, **uvicorn_kwargs: Any) -> None:
    """
    Do what vLLM's `run_server` does, but leave the signal handlers as they are.

    vLLM's own answers SIGTERM with an exception, which gets lost while the engine starts: the
    server would come up in spite of it.
    """
    from vllm.entrypoints.launchers.api_server.entry import run_server_worker, setup_server
    from vllm.utils.system_utils import decorate_logs

    decorate_logs("APIServer", skip_if_decorated=True)
    listen_address, listener = setup_server(args, reuse_port=False)
    uvicorn_kwargs.setdefault("timeout_graceful_shutdown", _STREAMS_LIMIT_S)
    await run_server_worker(listen_address, listener, args, **uvicorn_kwargs)


def _hide_route_listing() -> None:
    """Drop the forty lines in which vLLM lists its routes."""

    def keep(record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith(("Route: ", "Available routes"))

    logging.getLogger("vllm.entrypoints.launchers.launcher").addFilter(keep)


def _explain(error: Exception) -> None:
    """Say in one sentence why the engine did not start."""
    if os.environ.get("VLLM_LOGGING_LEVEL", "").upper() == "DEBUG":
        logging.getLogger("vllm").error("engine failed", exc_info=error)
    lines = str(error).strip().splitlines() or [type(error).__name__]
    sys.stderr.write(f"justitia: the engine stopped: {lines[0]}\n")


def _is_tracker(process: Any) -> bool:
    import psutil

    try:
        return any("multiprocessing.resource_tracker" in word for word in process.cmdline())
    except psutil.NoSuchProcess:
        return True
