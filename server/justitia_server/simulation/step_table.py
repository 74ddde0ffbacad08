"""Files of step times: what `step_time` reads, shown and added to."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from justitia_sdk.errors import ConfigurationError

from .fitting import Fit
from .step_time import StepTime

_ABOUT = "Step times fitted to step logs of live engines; form as of Justitia's shipped table."


def shipped_rows() -> list[dict[str, Any]]:
    """Return the rows of the table that ships."""
    text = (files(__package__) / "data" / "step_time.json").read_text(encoding="utf-8")
    rows: list[dict[str, Any]] = json.loads(text)["constants"]
    return rows


def write_fit(path: Path, gpu: str, model: str, fit: Fit) -> bool:
    """
    Write a fit into a table, which is made if need be; other rows stay as they are.

    Args:
        path: The table's file.
        gpu: Under which GPU's name.
        model: Under which model's name.
        fit: What was learned.

    Returns:
        Whether it took the place of an older row.

    Raises:
        ConfigurationError: The file is no table or cannot be written, or a name cannot be asked
            for.
    """
    check_names(gpu, model)
    table = read_table(path)
    rows = table["constants"]
    others = [row for row in rows if (row["gpu"], row["model"]) != (gpu, model)]
    table["constants"] = [*others, _row(gpu, model, fit)]
    try:
        path.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    except OSError as exc:
        raise ConfigurationError(f"{path} cannot be written: {exc.strerror}") from None
    return len(others) < len(rows)


def check_names(gpu: str, model: str) -> None:
    """Raise ConfigurationError for names that `--step-time FILE:GPU/MODEL` could not ask for."""
    for option, name in (("gpu", gpu), ("model", model)):
        if not name.strip() or ":" in name or name != name.strip("\"' "):
            raise ConfigurationError(
                f"--{option} must be a name without a colon, and without quotes or blanks around "
                f"it, not {name!r}"
            )


def read_table(path: Path) -> dict[str, Any]:
    """
    Return the table in *path*; an empty one where there is no such file, or nothing in it.

    Raises:
        ConfigurationError: The file is something else, or cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        table: dict[str, Any] = json.loads(text) if text.strip() else {"about": _ABOUT}
        table.setdefault("constants", [])
        for row in table["constants"]:
            row["gpu"], row["model"], row["decode"], row["prefill"]
    except OSError as exc:
        raise ConfigurationError(f"{path} cannot be read: {exc.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConfigurationError(
            f"{path} is no table of step times, and is left as it is: name another file"
        ) from None
    return table


def _row(gpu: str, model: str, fit: Fit) -> dict[str, Any]:
    told: StepTime = fit.constants
    return {
        "gpu": gpu,
        "model": model,
        "decode": {
            "base_ms": _digits(told.decode_base_ms),
            "per_sequence_ms": _digits(told.per_sequence_ms),
            "per_kv_token_ms": _digits(told.per_kv_token_ms),
            "fit_error": _digits(fit.decode.median_error, 2),
            "num_steps": fit.decode.num_steps,
        },
        "prefill": {
            "base_ms": _digits(told.prefill_base_ms),
            "per_token_ms": _digits(told.per_token_ms),
            "per_token_squared_ms": _digits(told.per_token_squared_ms),
            "fit_error": _digits(fit.prefill.median_error, 2),
            "num_steps": fit.prefill.num_steps,
        },
    }


def _digits(value: float, number: int = 6) -> float:
    """Return *value* to so many significant digits."""
    return float(f"{value:.{number}g}")
