"""What the latest predictions have been worth, as told when the applications arrived."""

from __future__ import annotations

from collections import deque

from .scoring import Answer

NUM_KEPT = 256


class TrackRecord:
    """The latest answers, a bounded number."""

    def __init__(self) -> None:
        self._latest: deque[Answer] = deque(maxlen=NUM_KEPT)
        self._has_news = False

    def add(self, answer: Answer) -> None:
        """Take in what became of one prediction."""
        self._latest.append(answer)
        self._has_news = True

    def take(self) -> list[Answer]:
        """Return the latest answers; none where no new one has come since last time."""
        if not self._has_news:
            return []
        self._has_news = False
        return list(self._latest)
