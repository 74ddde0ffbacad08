"""What `justitia serve` decides itself; every other option is vLLM's."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from justitia_sdk.errors import ConfigurationError
from justitia_server.api.tenants import tenant_of_key
from justitia_server.engine.settings import CONFIG_KEY, PREFIX_COSTS, REVISIONS, Settings
from justitia_server.fairness.policies.registry import POLICIES

PREDICTOR_OFF = "off"
_DEFAULTS = Settings()


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """
    Justitia's own options of one server.

    Attributes:
        policy: Name of the order in which calls are served.
        idle_grace_s: Seconds between calls in which an application counts as going on.
        idle_timeout_s: Seconds after which an application without calls is closed.
        tenant_weights: Share of the server by API key; 1 for those not named.
        prefix_cost: How KV blocks that several calls hold are charged, "shared" or "plain".
        revisions: Which revised predictions the order follows, "down" or "both".
        step_log: File for what every engine step computed and how long it took.
        record: File for the applications that end, as a workload.
        predictor: Folder for what the predictor learns, "off" for a predictor that does not, None
            for the folder that goes with the model's name.
        keep_input_text: Keep input texts there, too, not only their hashed features.
        stock: Run vLLM without our scheduler and routes.
        toy: Serve the toy model, with options that suit it.

    Raises:
        ConfigurationError: A value has no meaning; the message names the option.
    """

    policy: str = _DEFAULTS.policy
    idle_grace_s: float = _DEFAULTS.idle_grace_s
    idle_timeout_s: float = _DEFAULTS.idle_timeout_s
    tenant_weights: Mapping[str, float] = field(default_factory=dict)
    prefix_cost: str = _DEFAULTS.prefix_cost
    revisions: str = _DEFAULTS.revisions
    step_log: Path | None = None
    record: Path | None = None
    predictor: str | None = None
    keep_input_text: bool = False
    stock: bool = False
    toy: bool = False

    def __post_init__(self) -> None:
        known = sorted(POLICIES)
        if self.policy not in known:
            raise ConfigurationError(
                f"unknown policy {self.policy!r}{did_you_mean(self.policy, known)}; "
                f"known: {', '.join(known)}"
            )
        if not self.idle_grace_s >= 0:
            raise ConfigurationError(
                f"--idle-grace must be at least 0 seconds, not {self.idle_grace_s:g}"
            )
        if not self.idle_timeout_s > 0:
            raise ConfigurationError(
                f"--idle-timeout must be more than 0 seconds, not {self.idle_timeout_s:g}"
            )
        for option, value, choices in (
            ("--prefix-cost", self.prefix_cost, PREFIX_COSTS),
            ("--revisions", self.revisions, REVISIONS),
        ):
            if value not in choices:
                raise ConfigurationError(f"{option} must be one of {', '.join(choices)}")
        self._check_predictor()
        for option, path in self.files.items():
            if self.stock:
                raise ConfigurationError(
                    f"{option} {path} needs Justitia's scheduler: leave --stock out"
                )

    def _check_predictor(self) -> None:
        told = self.predictor
        if told == "":
            raise ConfigurationError("--predictor names no folder: give one, or `off`")
        if self.stock and told not in (None, PREDICTOR_OFF):
            raise ConfigurationError(
                f"--predictor {told} needs Justitia's scheduler: leave --stock out"
            )
        if not self.keep_input_text:
            return
        if self.stock or told == PREDICTOR_OFF:
            raise ConfigurationError(
                "--keep-input-text needs a predictor that learns: leave out --stock and "
                "--predictor off"
            )
        if self.toy and told is None:
            raise ConfigurationError(
                "--keep-input-text with --toy needs --predictor DIR: else the toy is not learned "
                "from"
            )

    @property
    def files(self) -> dict[str, Path]:
        """The files to be written, by option."""
        told = {"--step-log": self.step_log, "--record": self.record}
        return {option: path for option, path in told.items() if path is not None}

    def engine_config(
        self, additional: object, *, predictor_folder: Path | None = None
    ) -> dict[str, object]:
        """Return vLLM's additional config: the user's *additional* with our section merged in."""
        config = json.loads(additional) if isinstance(additional, str) else additional or {}
        if not isinstance(config, dict):
            raise ConfigurationError("--additional-config must be a JSON object")
        ours = Settings(
            policy=self.policy,
            idle_grace_s=self.idle_grace_s,
            idle_timeout_s=self.idle_timeout_s,
            tenant_weights={tenant_of_key(key): w for key, w in self.tenant_weights.items()},
            prefix_cost=self.prefix_cost,
            revisions=self.revisions,
            step_log=str(self.step_log.absolute()) if self.step_log else None,
            record=str(self.record.absolute()) if self.record else None,
            predictor=str(predictor_folder) if predictor_folder else None,
            keep_input_text=self.keep_input_text,
        ).as_config()
        return {**config, CONFIG_KEY: {**config.get(CONFIG_KEY, {}), **ours[CONFIG_KEY]}}


def parse_tenant_weights(words: list[str]) -> dict[str, float]:
    """
    Read `KEY=WEIGHT` words.

    Raises:
        ConfigurationError: A word has another form, or a weight is not above 0.
    """
    weights: dict[str, float] = {}
    for word in words:
        key, _, weight = word.rpartition("=")
        try:
            weights[key] = float(weight)
        except ValueError:
            weights[key] = math.nan
        if not key or not 0 < weights[key] < math.inf:
            raise ConfigurationError(
                "--tenant-weight takes API_KEY=WEIGHT, the weight a number above 0: "
                "--tenant-weight sk-alice=2"  # the word itself may hold a key: not shown
            )
    return weights


def did_you_mean(word: str, known: list[str]) -> str:
    """Return `, did you mean X?` when *word* is close to a known one, else nothing."""
    close = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""
