"""Step logs of live engines (`justitia serve --step-log`), read into columns of numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from justitia_sdk.errors import ConfigurationError

from ..engine.step_log import HEADER

Numbers: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class LoggedSteps:
    """
    Steps, one a place in every column.

    Attributes:
        took_ms: How long they took.
        num_decoding: B, sequences that decode.
        num_kv_tokens: K, KV tokens those hold.
        num_chunks: Prompts under way.
        num_prompt_tokens: n, summed over the chunks.
        num_squares: n (2h + n), summed over the chunks; for a whole prompt n^2.
    """

    took_ms: Numbers
    num_decoding: Numbers
    num_kv_tokens: Numbers
    num_chunks: Numbers
    num_prompt_tokens: Numbers
    num_squares: Numbers

    def __len__(self) -> int:
        return len(self.took_ms)

    def where(self, mask: Mask) -> LoggedSteps:
        """Return the steps for which *mask* holds."""
        return LoggedSteps(*(getattr(self, name)[mask] for name in self.__slots__))


def read_step_logs(paths: Iterable[Path]) -> LoggedSteps:
    """
    Read the steps of all *paths*.

    Raises:
        ConfigurationError: One cannot be read, or a line makes no sense; the message names it.
    """
    rows = [row for path in paths for row in _rows(path)]
    return LoggedSteps(*np.array(rows, dtype=np.float64).reshape(-1, 6).T)


def _rows(path: Path) -> Iterator[tuple[float, ...]]:
    try:
        with path.open(encoding="utf-8") as file:
            if file.readline().strip() != HEADER:
                raise ConfigurationError(f"{path} is no step log: it must begin with {HEADER}")
            for number, line in enumerate(file, start=2):
                if line.endswith("\n"):  # else a server was killed as it wrote it
                    yield _row(line, f"{path}, line {number}")
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
        raise ConfigurationError(f"{path} cannot be read: {reason}") from None


def _row(line: str, where: str) -> tuple[float, ...]:
    try:
        _, took_ms, num_decoding, num_kv_tokens, told = line.split(",")
        chunks = [(int(h), int(n)) for h, n in (each.split("+") for each in told.split())]
        return (
            float(took_ms),
            int(num_decoding),
            int(num_kv_tokens),
            len(chunks),
            sum(n for _, n in chunks),
            sum(n * (2 * h + n) for h, n in chunks),
        )
    except ValueError:
        raise ConfigurationError(
            f"{where}: {line.strip()!r:.60} is no step; its columns are {HEADER}"
        ) from None
