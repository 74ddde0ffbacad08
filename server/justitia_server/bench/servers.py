"""
The servers of a bench: one that is up already, or one `justitia serve` for each policy in turn.

Either is a `Target`: a name for its runs, and how to get at the server for their time.
"""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from justitia_sdk.errors import ConfigurationError
from justitia_server.serve.process import serving

from ..fairness.policies.registry import POLICIES
from .server import Access

STOCK = "stock"
START_LIMIT_S = 3600.0  # large models load for long; one that fails ends by itself
_OURS = ("--policy", "--stock", "--host", "--port", "--api-key", "--uds")


@dataclass(frozen=True, slots=True)
class Target:
    """
    A server to run the workloads on.

    Attributes:
        name: Of its runs; None for whatever policy it says it has.
        is_started: It is started when opened, and ended afterwards.
        open: Gives access to it for the time of a block.
    """

    name: str | None
    is_started: bool
    open: Callable[[], AbstractContextManager[Access]]


def server_at(url: str, *, api_key: str, label: str | None) -> Target:
    """
    Return the server at *url*.

    Raises:
        ConfigurationError: *url* is none.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ConfigurationError(
            f"--url is the server's address, as in http://localhost:8000, not {url!r}"
        )
    access = Access(url.rstrip("/").removesuffix("/v1"), api_key)
    return Target(label, False, lambda: nullcontext(access))


def servers_of(
    words: str,
    policies: Sequence[str],
    *,
    tenants: Sequence[str],
    logs: Path | None,
) -> list[Target]:
    """
    Return one server a policy, each started when opened and ended afterwards.

    Args:
        words: What follows `justitia serve`, as for a shell.
        policies: Names; `stock` is vLLM without our scheduler.
        tenants: Those of the workloads; each gets a key of its own.
        logs: Folder for what the servers write; a temporary one unless told.

    Raises:
        ConfigurationError: No such policy, or words that are for bench to say.
    """
    options = _options(words)
    for policy in policies:
        if policy != STOCK and policy not in POLICIES:
            known = ", ".join([*sorted(POLICIES), STOCK])
            raise ConfigurationError(f"policy {policy!r} is unknown; choose one of: {known}")
    keys = _keys(tenants)
    learning = [] if "--predictor" in words else ["--predictor", "off"]

    def target(policy: str) -> Target:
        # What a server learns is not to help the next one.
        order = ["--stock"] if policy == STOCK else ["--policy", policy, *learning]
        started = [*options, *order, *(["--api-key", *keys.values()] if keys else [])]

        @contextmanager
        def opened() -> Iterator[Access]:
            folder = logs or Path(tempfile.mkdtemp(prefix="justitia-bench-"))
            log = folder / f"server-{policy}.log"
            with serving(started, log=log, start_limit_s=START_LIMIT_S) as address:
                yield Access(address, next(iter(keys.values()), "none"), keys)

        return Target(policy, True, opened)

    return [target(policy) for policy in policies]


def _options(words: str) -> list[str]:
    try:
        options = shlex.split(words)
    except ValueError as error:
        raise ConfigurationError(f"--serve cannot be read: {error}") from None
    if not options:
        raise ConfigurationError('--serve names no model: write --serve "MODEL …", or "--toy …"')
    for word in options:
        if (name := word.partition("=")[0]) in _OURS:
            raise ConfigurationError(
                f"--serve takes no {name}: bench chooses address and keys, and its own --policy "
                "says which orders to run"
            )
    return options


def _keys(tenants: Sequence[str]) -> dict[str, str]:
    """Return a key a tenant, none where all are one."""
    if len(tenants) < 2:
        return {}
    return {tenant: f"bench-{place}" for place, tenant in enumerate(tenants)}
