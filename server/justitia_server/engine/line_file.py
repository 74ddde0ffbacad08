"""Files that grow by whole lines, perhaps from several processes at once."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

_MODE = 0o644


def append_lines(path: str | Path, lines: Iterable[str], *, header: str | None = None) -> None:
    """
    Append *lines* in one piece, so that no other process writes in between.

    Args:
        path: The file; made if need be.
        lines: Without their ends.
        header: First line of a file that is empty.

    Raises:
        OSError: It cannot be written.
    """
    text = "".join(f"{line}\n" for line in lines)
    if not text:
        return
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _MODE)
    try:
        if header is not None and not os.fstat(file).st_size:
            text = f"{header}\n{text}"
        left = memoryview(text.encode())
        while left:  # one turn, but for a full disk
            left = left[os.write(file, left) :]
    finally:
        os.close(file)
