"""Run the demo's client script in a process of its own and follow what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

from justitia_sdk.errors import ConfigurationError, JustitiaError
from justitia_server.serve.process import end_process

Event = dict[str, Any]


class ClientFailed(JustitiaError):
    """The client script ended without finishing its run."""


def client_folder() -> Path:
    """
    Return the folder of the client script: in the installed package, else in the repository.

    Raises:
        ConfigurationError: There is neither.
    """
    installed = Path(str(resources.files("justitia_server"))) / "demo_client"
    in_repository = Path(__file__).parents[3] / "examples" / "demo"
    for folder in (installed, in_repository):
        if (folder / "workload.py").is_file():
            return folder
    raise ConfigurationError("the demo's client is missing: reinstall justitia-sdk")


def run_client(
    *,
    base_url: str,
    order: str,
    seed: int,
    num_each: int,
    out: Path,
    log: Path,
    on_event: Callable[[Event], None],
) -> None:
    """
    Run the applications against *base_url* until the last has finished.

    Args:
        base_url: The server's, ending in ``/v1``.
        order: Which applications arrive first.
        seed: Draws the arrivals.
        num_each: Applications of every kind.
        out: The results file, one JSON line an application.
        log: File for what the client writes to stderr.
        on_event: Called with every event the client prints.

    Raises:
        ClientFailed: It ended early; the message ends with its last words.
    """
    command = [sys.executable, "-B", "-u", str(client_folder() / "workload.py")]
    command += ["--base-url", base_url, "--order", order, "--seed", str(seed)]
    command += ["--each", str(num_each), "--out", str(out)]
    with log.open("w") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
        )
    has_ended = False
    try:
        for line in process.stdout or ():
            event = json.loads(line)
            has_ended = event["event"] == "ended"
            on_event(event)
        process.wait()
    finally:
        end_process(process)
        if process.stdout is not None:
            process.stdout.close()
    if not has_ended:
        words = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise ClientFailed("\n".join(["the demo's client ended early:", *words[-12:]]))
