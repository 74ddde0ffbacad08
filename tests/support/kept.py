"""What a server that learns has kept."""

from __future__ import annotations

from pathlib import Path

from justitia_server.prediction.store import FILE_NAME, Store


def num_examples(folder: Path) -> int:
    """Return how many examples *folder* holds; 0 before the first."""
    if not (folder / FILE_NAME).exists():
        return 0
    with Store.open_to_read(folder) as store:
        return len(store)
