"""What the user sees: a panel at the start, and one line when the server answers."""

from __future__ import annotations

import ssl
import threading
import urllib.error
import urllib.request
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager

from justitia_server.engine.settings import CONFIG_KEY
from justitia_server.serve.settings import ServeSettings

_POLL_S = 0.5


def print_banner(settings: ServeSettings, args: Namespace) -> None:
    """Say what is being started, where, and how to stop it."""
    from rich.console import Console
    from rich.panel import Panel
    from rich.table import Table

    facts = Table.grid(padding=(0, 2))
    for name, value in _facts(settings, args):
        facts.add_row(f"[bold]{name}[/bold]", value)
    title = "vLLM (stock)" if settings.stock else "Justitia"
    Console(stderr=True).print(
        Panel(facts, title=title, subtitle="Ctrl-C to stop", title_align="left", expand=False)
    )


@contextmanager
def announce_when_ready(args: Namespace) -> Iterator[None]:
    """Print one line when the server first answers; stop looking when the block ends."""
    if args.uds or args.headless:
        yield
        return
    stop = threading.Event()
    thread = threading.Thread(target=_announce, args=(args, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=2 * _POLL_S)


def base_url(args: Namespace) -> str:
    """Return the address a client on this machine would use."""
    host = args.host or "127.0.0.1"
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    scheme = "https" if args.ssl_certfile else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{args.port}"


def _facts(settings: ServeSettings, args: Namespace) -> list[tuple[str, str]]:
    url = f"unix:{args.uds}" if args.uds else f"{base_url(args)}/v1"
    facts = [
        ("model", "toy (random weights: its text is noise)" if settings.toy else args.model),
        ("policy", "vLLM's own" if settings.stock else settings.policy),
        ("address", url),
    ]
    if args.num_gpu_blocks_override:
        facts.append(("KV blocks", str(args.num_gpu_blocks_override)))
    if not settings.stock:
        facts.append(("applications", f"{url}/applications"))
        facts.append(("predictor", _predictor(settings, args)))
    facts.append(("help", "justitia serve --help"))
    return facts


def _predictor(settings: ServeSettings, args: Namespace) -> str:
    if folder := args.additional_config[CONFIG_KEY]["predictor"]:
        return f"learns in {folder}"
    if settings.toy and settings.predictor is None:
        return "does not learn (with --toy: --predictor DIR)"
    return "does not learn"


def _announce(args: Namespace, stop: threading.Event) -> None:
    """Poll /health until it answers, print the line, and end."""
    url = base_url(args)
    while not stop.wait(_POLL_S):
        if _answers(f"{url}/health"):
            from rich.console import Console

            name = (args.served_model_name or [args.model])[0]
            line = f"Justitia is serving {name} at {url}/v1"
            Console(stderr=True, highlight=False).print(line, style="bold green", soft_wrap=True)
            return


def _answers(url: str) -> bool:
    # The certificate is for the clients' benefit; this asks only whether anyone is there.
    unchecked = ssl._create_unverified_context()
    try:
        with urllib.request.urlopen(url, timeout=_POLL_S * 4, context=unchecked) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
