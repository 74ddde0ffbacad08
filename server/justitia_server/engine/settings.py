"""What the operator sets, carried to the engine process in vLLM's `--additional-config`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from justitia_sdk.errors import ConfigurationError

from ..fairness.policies.registry import POLICIES

CONFIG_KEY = "justitia"
SCHEDULER_CLASS = "justitia_server.engine.scheduler.JustitiaScheduler"
PLUGIN_NAME = "justitia"


@dataclass(frozen=True, slots=True)
class Settings:
    """
    The scheduler's settings.

    Attributes:
        policy: The order, by name.
        idle_timeout_s: Seconds without a call after which an application is finished.

    Raises:
        ConfigurationError: A field has no meaning.
    """

    policy: str = "justitia"
    idle_timeout_s: float = 600.0

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            known = ", ".join(sorted(POLICIES))
            raise ConfigurationError(f"policy {self.policy!r} is unknown; choose one of: {known}")
        if not self.idle_timeout_s > 0:
            raise ConfigurationError(f"idle_timeout_s must be above 0, not {self.idle_timeout_s}")

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
