"""The documents the demo's applications work on, and the few ways they look into them."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "documents"
CHARS_PER_TOKEN = 3  # what a user would guess for a small vocabulary; plans need no better


@cache
def documents() -> dict[str, str]:
    """Return the text of every document by name."""
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.txt"))}


def paragraphs(name: str) -> list[str]:
    """Return the paragraphs of document *name*."""
    return [part.strip() for part in documents()[name].split("\n\n") if part.strip()]


def pieces(text: str, *, chars: int) -> list[str]:
    """Cut *text* into pieces of about *chars* characters, between words."""
    cut: list[str] = []
    line = ""
    for word in text.split():
        if line and len(line) + len(word) >= chars:
            cut.append(line)
            line = ""
        line = f"{line} {word}".strip()
    return [*cut, line] if line else cut


def best_paragraph(query: str, *, skip: int = 0) -> str:
    """Return the paragraph that shares most words with *query*, or the *skip*-th next best."""
    wanted = _words(query)
    ranked = sorted(
        (part for name in documents() for part in paragraphs(name)),
        key=lambda part: (-len(wanted & _words(part)), part),
    )
    return ranked[skip % len(ranked)]


def estimated_tokens(text: str) -> int:
    """Guess how many tokens *text* has."""
    return len(text) // CHARS_PER_TOKEN + 1


@cache
def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z]{4,}", text.lower()))
