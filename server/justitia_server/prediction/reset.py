"""Forgetting what a folder holds: versions, examples, and what was set aside of either."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from justitia_sdk.errors import ConfigurationError

from .store import FILE_NAME, Store
from .training import forget_last_run
from .versions import Versions


def forget(folder: Path, *, now: float, keep_examples: bool = False) -> tuple[int, int]:
    """
    Remove all versions in *folder* and, unless they are to be kept, all examples.

    Args:
        folder: Of a predictor; a server may be using it.
        now: Unix seconds.
        keep_examples: Remove the versions only.

    Returns:
        How many versions and how many examples there were.

    Raises:
        ConfigurationError: There is nothing of a predictor in *folder*, or its examples cannot be
            removed now.
        OSError: It cannot be written.
    """
    versions = Versions(folder)
    has_store = any(folder.glob(f"{FILE_NAME}*"))
    if not (has_store or any(folder.glob("model-*"))):
        raise ConfigurationError(
            f"there is nothing of a predictor in {folder}: name the folder of "
            "`justitia serve --predictor`"
        )
    num_versions = versions.clear()
    forget_last_run(folder)
    if keep_examples or not has_store:
        return num_versions, 0
    try:
        with Store.open(folder, now=now) as store:  # a server may use it: no file is deleted
            num_examples = store.clear()
    except sqlite3.Error as error:
        raise ConfigurationError(
            f"the examples in {folder} cannot be removed now: {error}; try again"
        ) from error
    for aside in folder.glob(f"{FILE_NAME}.corrupt-*"):
        aside.unlink()
    return num_versions, num_examples
