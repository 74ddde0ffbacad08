"""
The paper's predictor, to compare with: TF-IDF of the text, then a four-layer perceptron a type.

What the paper leaves open is chosen here: n-grams of one to three characters, so that Chinese
works; layers of 256, 128 and 64, then one; squared error of the logarithm of the cost; 200 rounds
of Adam over all samples at once. Not used by the server.

Reference: Justitia, arXiv:2510.17015, section on demand prediction (100 samples a type).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from justitia_sdk.errors import ConfigurationError

WIDTHS = (256, 128, 64)
NUM_ROUNDS = 200
RATE = 1e-3
MOST_TERMS = 4096


class PaperMLP:
    """A predictor of one type, reproducible under a seed."""

    def __init__(self, texts: Sequence[str], costs: Sequence[float], *, seed: int) -> None:
        """
        Train on *texts* and what they cost.

        Raises:
            ConfigurationError: There is no text, or not one cost a text.
        """
        if not texts or len(texts) != len(costs):
            raise ConfigurationError(
                f"there are {len(texts)} texts and {len(costs)} costs: give one cost a text, "
                "at least one"
            )
        from sklearn.feature_extraction.text import (  # type: ignore[import-untyped]
            TfidfVectorizer,
        )

        self._terms = TfidfVectorizer(
            analyzer="char", ngram_range=(1, 3), max_features=MOST_TERMS, sublinear_tf=True
        )
        known = self._terms.fit_transform(texts).toarray().astype(np.float32)
        logs = np.log(np.asarray(costs, dtype=np.float64))
        self._mean, self._spread = float(logs.mean()), max(float(logs.std()), 1e-6)
        targets = ((logs - self._mean) / self._spread).astype(np.float32)
        self._layers = _trained(known, targets, seed)

    def predict(self, texts: Sequence[str]) -> list[float]:
        """Return the predicted costs."""
        import torch

        known = self._terms.transform(texts).toarray().astype(np.float32)
        with torch.no_grad():
            given = self._layers(torch.from_numpy(known))[:, 0].tolist()
        return [math.exp(self._mean + self._spread * each) for each in given]


def _trained(known: NDArray[np.float32], targets: NDArray[np.float32], seed: int) -> Any:
    """Return the trained layers; chance is torch's own, put back afterwards."""
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        inputs = known.shape[1]
        for width in WIDTHS:
            layers += [nn.Linear(inputs, width), nn.ReLU()]
            inputs = width
        network = nn.Sequential(*layers, nn.Linear(inputs, 1))
        optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
        told, wanted = torch.from_numpy(known), torch.from_numpy(targets)[:, None]
        for _ in range(NUM_ROUNDS):
            optimizer.zero_grad()
            nn.functional.mse_loss(network(told), wanted).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return network.eval()
