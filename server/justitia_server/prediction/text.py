"""
What a text says about cost: ridge regression on TF-IDF of hashed n-grams, one a type.

Solved in its dual form, so that the error on texts left out is exact and costs nothing more: with
G = K + lambda I and alpha = G^-1 y, leaving out the texts B changes their predictions to
y_B - (G^-1)_BB^-1 alpha_B. Texts that are nearly the same are left out together, else repeats
would make the text seem to tell more than it does. The strength lambda is the one of least error
left out; "the text says nothing" is among the choices, and wins where all gain less than 2 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .base import HashedText

STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0)
SAME_FROM = 0.5  # mean cosine from which on texts count as repeats of one another
MOST_REPEATED = 0.25  # of all texts: what more have in common is a template, and no repeat
_LEAST_GAIN = 0.02  # of the squared error: less is chance
MOST_TEXTS = 1_000  # learned from, the latest: the solution is cubic in them

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TextModel:
    """
    A linear function of a text.

    Attributes:
        places: Hashes of the n-grams seen in training, ascending.
        idf: Of each.
        weights: Of each.
    """

    places: Ints
    idf: NDArray[np.float32]
    weights: NDArray[np.float32]

    def __call__(self, text: HashedText) -> float:
        """Return what the text adds to the logarithm of the cost."""
        if not text.places or not len(self.places):
            return 0.0
        asked = np.array(text.places, dtype=np.int64)
        found = np.searchsorted(self.places, asked)
        found[found == len(self.places)] = 0
        known = self.places[found] == asked
        values = _dampened(np.array(text.counts, dtype=np.float32)[known])
        values *= self.idf[found[known]]
        norm = float(np.sqrt(values @ values))
        return float(values @ self.weights[found[known]]) / norm if norm else 0.0


@dataclass(frozen=True, slots=True)
class Fitted:
    """
    A text model and what it says of each text it was trained on, that text and its like left out.

    Attributes:
        model: None where the texts say nothing.
        left_out: One value a text.
        groups: The texts in groups of repeats.
    """

    model: TextModel | None
    left_out: Floats
    groups: Sequence[Ints]


def fit_text(texts: Sequence[HashedText], targets: Floats) -> Fitted:
    """
    Learn *targets* (their mean is taken to be 0) from *texts*.

    Cost: cubic in the number of texts.
    """
    places, idf, matrix = _tf_idf(texts)
    kernel = (matrix @ matrix.T).toarray()
    groups = _repeats(kernel)
    most = (1 - _LEAST_GAIN) * float(targets @ targets)
    least, best, left_out = most, None, np.zeros(len(texts))
    for strength in STRENGTHS:
        inverse = np.linalg.inv(kernel + strength * np.eye(len(texts))).astype(np.float64)
        alpha = inverse @ targets
        without = _left_out(inverse, alpha, targets, groups)
        error = float(np.sum((targets - without) ** 2))
        if error < least:
            least, best, left_out = error, alpha, without
    if best is None:
        return Fitted(None, left_out, groups)
    weights = (matrix.T @ best).astype(np.float32)
    return Fitted(TextModel(places, idf, weights), left_out, groups)


def _tf_idf(texts: Sequence[HashedText]) -> tuple[Ints, NDArray[np.float32], Any]:
    """Return the places seen at least twice, their idf, and sparse unit rows of TF-IDF."""
    from scipy.sparse import csr_array

    seen = np.concatenate([np.array(text.places, dtype=np.int64) for text in texts])
    counts = np.concatenate([np.array(text.counts, dtype=np.float64) for text in texts])
    rows = np.repeat(np.arange(len(texts)), [len(text.places) for text in texts])
    places, columns, num_texts = np.unique(seen, return_inverse=True, return_counts=True)
    is_kept = num_texts > 1
    places, num_texts = places[is_kept], num_texts[is_kept]
    of_kept = is_kept[columns]
    rows, columns = rows[of_kept], (np.cumsum(is_kept) - 1)[columns[of_kept]]
    idf = np.log((1 + len(texts)) / (1 + num_texts)) + 1
    values = _dampened(counts[of_kept]) * idf[columns]
    norms = np.sqrt(np.bincount(rows, values**2, minlength=len(texts)))
    matrix = csr_array((values / norms[rows], (rows, columns)), shape=(len(texts), len(places)))
    return places, idf.astype(np.float32), matrix


def _dampened(counts: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return 1 + ln(count): what is said twice is not twice as telling."""
    damp: NDArray[np.floating] = 1 + np.log(counts)
    return damp


def _repeats(kernel: Floats) -> list[Ints]:
    """Return the texts in groups of repeats, by average linkage; most are groups of one."""
    from scipy.cluster.hierarchy import fcluster, linkage

    if len(kernel) < 2:
        return [np.arange(len(kernel))]
    apart = np.maximum(1 - kernel, 0)[np.triu_indices(len(kernel), 1)]
    label = fcluster(linkage(apart, "average"), 1 - SAME_FROM, "distance")
    groups: list[Ints] = []
    for group in (np.flatnonzero(label == each) for each in np.unique(label)):
        groups += [group] if len(group) <= MOST_REPEATED * len(kernel) else list(group[:, None])
    return groups


def _left_out(inverse: Floats, alpha: Floats, targets: Floats, groups: Sequence[Ints]) -> Floats:
    without = np.empty(len(targets))
    for group in groups:
        block = inverse[np.ix_(group, group)]
        without[group] = targets[group] - np.linalg.solve(block, alpha[group])
    return without
