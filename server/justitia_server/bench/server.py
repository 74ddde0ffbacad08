"""What a live server says of itself, and the clients that talk to it."""

from __future__ import annotations

import json
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import SimpleNamespace
from typing import Any

import openai

import justitia_sdk as justitia
from justitia_sdk.errors import ConfigurationError, ServerUnavailable

from ..fairness.cost import KV_TOKEN_TIME
from ..simulation.workload import Arriving
from .play import Clock

_ANSWER_S = 30.0
_CACHE = re.compile(r"^vllm:cache_config_info\{(.*)\}", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
# As many connections as there are calls: none may wait in the client. Idle ones are given up before
# the server closes them (vLLM after 5 s), since a call on one that is just closing would fail.
_LIMITS: Any = SimpleNamespace(
    max_connections=None, max_keepalive_connections=None, keepalive_expiry=2.0
)


@dataclass(frozen=True, slots=True)
class Access:
    """
    Where a server is, and how to be let in.

    Attributes:
        address: Its root, without `/v1`.
        api_key: The key of whoever has none of their own.
        tenant_keys: Keys by tenant.
    """

    address: str
    api_key: str = "none"
    tenant_keys: Mapping[str, str] = field(default_factory=dict)

    def client(self, tenant: str, clock: Clock) -> justitia.AsyncOpenAI:
        """
        Return a client of the SDK with connections of its own; close it in the end.

        It waits for no connection, never gives up and never tries again. A request has the instant
        at which it went out under `extensions["sent_s"]`.
        """

        async def note_sent(request: Any) -> None:
            request.extensions["sent_s"] = clock.now()

        return justitia.AsyncOpenAI(
            base_url=f"{self.address}/v1",
            api_key=self.tenant_keys.get(tenant, self.api_key),
            max_retries=0,
            timeout=None,
            http_client=openai.DefaultAsyncHttpxClient(
                limits=_LIMITS,
                timeout=None,
                verify=_tls(),
                event_hooks={"request": [note_sent]},
            ),
        )


@dataclass(frozen=True, slots=True)
class LiveServer:
    """
    A server that is up.

    Attributes:
        access: How to reach it.
        model: The model to ask for.
        max_model_len: Most tokens of a call, prompt and output; None where it does not say.
        capacity: KV tokens it holds; None where it does not say.
        policy: Its order; None where no scheduler of ours tells.
        clock: What feeds its fair reference, "delivered" or "nominal"; None likewise.
        cost: The unit it charges; None likewise.
    """

    access: Access
    model: str
    max_model_len: int | None = None
    capacity: int | None = None
    policy: str | None = None
    clock: str | None = None
    cost: str | None = None

    @property
    def tells_lateness(self) -> bool:
        """Whether its fair reference is one of KV token-time, as the simulator's is."""
        return self.cost == KV_TOKEN_TIME.name

    def check(self, workload: Sequence[Arriving]) -> None:
        """
        Make sure that every call fits.

        Raises:
            ConfigurationError: One does not; the message names it.
        """
        limits = {"max_model_len": self.max_model_len, "the KV memory": self.capacity}
        for application in workload:
            for call in application.calls:
                tokens = call.prompt_tokens + call.output_tokens
                for name, limit in limits.items():
                    if limit is not None and tokens > limit:
                        raise ConfigurationError(
                            f"call {call.id} of {application.app_id} needs {tokens} tokens, and "
                            f"{name} of the server is {limit}: raise it, or leave the application "
                            "out"
                        )


def look_at(access: Access, *, model: str | None = None) -> LiveServer:
    """
    Ask the server at *access* what it is.

    Args:
        access: How to reach it.
        model: The model to ask for; the first it names unless told.

    Raises:
        ServerUnavailable: It does not answer, or is no OpenAI-compatible server.
        ConfigurationError: It wants another key, or has no such model.
    """
    served = _models(access)
    name = model or next(iter(served))
    if name not in served:
        raise ConfigurationError(f"{access.address} has no model {name!r}, but {', '.join(served)}")
    state = _state(access)
    return LiveServer(
        access,
        name,
        served[name].get("max_model_len"),
        _capacity(access),
        state.get("policy"),
        state.get("clock"),
        state.get("cost"),
    )


def _models(access: Access) -> dict[str, dict[str, Any]]:
    """Return what the server says of its models, by name."""
    status, text = _get(access, "/v1/models")
    if status in (401, 403):
        raise ConfigurationError(f"{access.address} wants an API key: give it with --api-key")
    try:
        models = {model["id"]: model for model in json.loads(text)["data"]} if status == 200 else {}
    except (ValueError, KeyError, TypeError):
        models = {}
    if not models:
        raise ServerUnavailable(
            f"{access.address} is no OpenAI-compatible server: it answered {status} to /v1/models, "
            "and named no model"
        )
    return models


def _state(access: Access) -> dict[str, Any]:
    """Return the state of a scheduler of ours, empty where there is none."""
    _, text = _get(access, "/v1/applications")
    try:
        state: dict[str, Any] = json.loads(text)["scheduler"][0]
    except (ValueError, KeyError, TypeError, IndexError):
        return {}
    return state


def _capacity(access: Access) -> int | None:
    """Return the KV tokens that vLLM says it holds; it keeps one block for padding."""
    status, text = _get(access, "/metrics")
    if status != 200 or (found := _CACHE.search(text)) is None:
        return None
    told = dict(_LABEL.findall(found.group(1)))
    try:
        return (int(told["num_gpu_blocks"]) - 1) * int(told["block_size"])
    except (KeyError, ValueError):
        return None


def _get(access: Access, path: str) -> tuple[int, str]:
    request = urllib.request.Request(
        access.address + path, headers={"Authorization": f"Bearer {access.api_key}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=_ANSWER_S) as response:
            return response.status, response.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, ""
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise ServerUnavailable(f"no server answers at {access.address}: {reason}") from None


@cache
def _tls() -> ssl.SSLContext:
    """Return the one context of all clients: making one takes longer than a call."""
    return ssl.create_default_context()
