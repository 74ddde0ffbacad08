"""What the operator sets, carried to the engine process in vLLM's `--additional-config`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from justitia_sdk.errors import ConfigurationError

from ..fairness.policies.registry import POLICIES

CONFIG_KEY = "justitia"
SCHEDULER_CLASS = "justitia_server.engine.scheduler.JustitiaScheduler"
PLUGIN_NAME = "justitia"
PREFIX_COSTS = ("shared", "plain")
REVISIONS = ("down", "both")


@dataclass(frozen=True, slots=True)
class Settings:
    """
    The scheduler's settings.

    Attributes:
        policy: The order, by name.
        idle_grace_s: Seconds between calls in which an application counts as going on.
        idle_timeout_s: Seconds without a call after which an application is finished.
        tenant_weights: Share of the server by tenant; 1 for those not named.
        prefix_cost: "shared": a KV block that several calls hold is charged once, split among
            them; "plain": each is charged all of it.
        revisions: Which revisions of a prediction the order follows: "down", or "both" ways.
        step_log: File for what every engine step computed and how long it took; None for none.
        record: File for the applications that end, as a workload; None for none.
        predictor: Folder in which the predictor keeps what it learns; None for one that learns
            nothing.
        keep_input_text: It may keep the input texts themselves, too.

    Raises:
        ConfigurationError: A field has no meaning.
    """

    policy: str = "justitia"
    idle_grace_s: float = 2.0
    idle_timeout_s: float = 600.0
    tenant_weights: dict[str, float] = field(default_factory=dict)
    prefix_cost: str = "shared"
    revisions: str = "down"
    step_log: str | None = None
    record: str | None = None
    predictor: str | None = None
    keep_input_text: bool = False

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            known = ", ".join(sorted(POLICIES))
            raise ConfigurationError(f"policy {self.policy!r} is unknown; choose one of: {known}")
        if not self.idle_grace_s >= 0:
            raise ConfigurationError(f"idle_grace_s must be at least 0, not {self.idle_grace_s}")
        if not self.idle_timeout_s > 0:
            raise ConfigurationError(f"idle_timeout_s must be above 0, not {self.idle_timeout_s}")
        _check_choice("prefix_cost", self.prefix_cost, PREFIX_COSTS)
        _check_choice("revisions", self.revisions, REVISIONS)
        for tenant, weight in self.tenant_weights.items():
            if not 0 < weight < math.inf:
                raise ConfigurationError(
                    f"the weight of tenant {tenant!r} must be finite and above 0, not {weight!r}"
                )

    def as_config(self) -> dict[str, Any]:
        """Return the entry for `--additional-config`."""
        return {CONFIG_KEY: asdict(self)}

    @classmethod
    def from_config(cls, additional_config: object) -> Settings:
        """
        Read the entry back; defaults where there is none.

        Raises:
            ConfigurationError: A field is unknown or has no meaning.
        """
        entry = (
            additional_config.get(CONFIG_KEY, {}) if isinstance(additional_config, Mapping) else {}
        )
        try:
            return cls(**entry)
        except TypeError as exc:
            raise ConfigurationError(f"--additional-config {CONFIG_KEY}: {exc}") from exc


def _check_choice(field: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigurationError(f"{field} {value!r} is unknown; choose one of: {', '.join(known)}")
