"""What `justitia serve` decides itself; every other option is vLLM's."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass

from justitia_sdk.errors import ConfigurationError
from justitia_server.engine.settings import CONFIG_KEY, Settings
from justitia_server.fairness.policies.registry import POLICIES

_DEFAULTS = Settings()


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """
    Justitia's own options of one server.

    Attributes:
        policy: Name of the order in which calls are served.
        idle_timeout_s: Seconds after which an application without calls is closed.
        stock: Run vLLM without our scheduler and routes.
        toy: Serve the toy model, with options that suit it.
    """

    policy: str = _DEFAULTS.policy
    idle_timeout_s: float = _DEFAULTS.idle_timeout_s
    stock: bool = False
    toy: bool = False

    def __post_init__(self) -> None:
        known = sorted(POLICIES)
        if self.policy not in known:
            raise ConfigurationError(
                f"unknown policy {self.policy!r}{did_you_mean(self.policy, known)}; "
                f"known: {', '.join(known)}"
            )
        if not self.idle_timeout_s > 0:
            raise ConfigurationError(
                f"--idle-timeout must be more than 0 seconds, not {self.idle_timeout_s:g}"
            )

    def engine_config(self, additional: object) -> dict[str, object]:
        """Return vLLM's additional config: the user's *additional* with our section merged in."""
        config = json.loads(additional) if isinstance(additional, str) else additional or {}
        if not isinstance(config, dict):
            raise ConfigurationError("--additional-config must be a JSON object")
        ours = Settings(policy=self.policy, idle_timeout_s=self.idle_timeout_s).as_config()
        return {**config, CONFIG_KEY: {**config.get(CONFIG_KEY, {}), **ours[CONFIG_KEY]}}


def did_you_mean(word: str, known: list[str]) -> str:
    """Return `, did you mean X?` when *word* is close to a known one, else nothing."""
    close = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""
