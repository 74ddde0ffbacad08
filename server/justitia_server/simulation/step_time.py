"""
How long an engine step takes: linear in what it computes.

    decode_ms  = a + b B + c K           B sequences that decode, K KV tokens they hold
    prefill_ms = e + f n + g n^2         one prompt of n tokens that were not cached

A step that does both reads the weights once, so it pays the larger of a and e. A prompt that comes
in chunks pays g for what each chunk adds: (h + n)^2 - h^2 with h tokens computed before.

Constants for some GPUs and models ship in `data/step_time.json`, which names their source; a file
of the same form gives others. Good for comparing schedulers, not for absolute latencies: sampling,
launch gaps, scheduler and HTTP time are left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from justitia_sdk.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class StepTime:
    """
    The constants of one GPU and model, in milliseconds.

    Attributes:
        decode_base_ms: a.
        per_sequence_ms: b, a sequence that decodes.
        per_kv_token_ms: c, a KV token held by those.
        prefill_base_ms: e.
        per_token_ms: f, a prompt token.
        per_token_squared_ms: g.
    """

    decode_base_ms: float
    per_sequence_ms: float
    per_kv_token_ms: float
    prefill_base_ms: float
    per_token_ms: float
    per_token_squared_ms: float

    def step_s(
        self, num_decoding: int, num_kv_tokens: int, chunks: Iterable[tuple[int, int]] = ()
    ) -> float:
        """
        Return the seconds of one step.

        Args:
            num_decoding: B.
            num_kv_tokens: K.
            chunks: (h, n) of every prompt under way: tokens computed before, and in this step.
        """
        base = self.decode_base_ms if num_decoding else 0.0
        milliseconds = self.per_sequence_ms * num_decoding + self.per_kv_token_ms * num_kv_tokens
        for before, now in chunks:
            base = max(base, self.prefill_base_ms)
            milliseconds += now * (
                self.per_token_ms + self.per_token_squared_ms * (2 * before + now)
            )
        return (base + milliseconds) / 1000


def read_step_time(told: str) -> StepTime:
    """
    Return the constants that *told* names.

    Args:
        told: `GPU/MODEL` of the shipped table, or `FILE:GPU/MODEL`, quotes allowed.

    Raises:
        ConfigurationError: There is no such file, GPU or model; the message lists those there are.
    """
    name, colon, key = told.rpartition(":")
    path = Path(name) if colon else None
    wanted = key.strip("\"' ")
    table = _read_table(path)
    if wanted not in table:
        known = ", ".join(sorted(table))
        raise ConfigurationError(f"no step time for {wanted!r}; there are: {known}")
    return table[wanted]


def _read_table(path: Path | None) -> dict[str, StepTime]:
    shipped = files(__package__) / "data" / "step_time.json"
    try:
        text = (path or shipped).read_text(encoding="utf-8")
        return {f"{row['gpu']}/{row['model']}": _constants(row) for row in _rows(text)}
    except OSError as exc:
        raise ConfigurationError(f"{path} cannot be read: {exc.strerror}") from None
    except (ValueError, KeyError, TypeError) as exc:
        raise ConfigurationError(
            f"{path} is no table of step times: {exc!r}; its form is that of "
            "justitia_server/simulation/data/step_time.json"
        ) from None


def _rows(text: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(text)["constants"]
    return rows


def _constants(row: dict[str, Any]) -> StepTime:
    decode, prefill = row["decode"], row["prefill"]
    return StepTime(
        float(decode["base_ms"]),
        float(decode["per_sequence_ms"]),
        float(decode["per_kv_token_ms"]),
        float(prefill["base_ms"]),
        float(prefill["per_token_ms"]),
        float(prefill["per_token_squared_ms"]),
    )
