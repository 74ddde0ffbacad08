"""What texts say about cost."""

import random

import numpy as np
import pytest

from justitia_server.prediction.hashing import hash_text
from justitia_server.prediction.text import fit_text

WORDS = ["river", "stone", "cloud", "engine", "paper", "window", "garden", "music", "copper"]


def told(number, *, long_ones):
    """Return a text of random words; some ask for much."""
    chance = random.Random(number)
    words = [chance.choice(WORDS) + str(chance.randrange(50)) for _ in range(12)]
    return " ".join(["exhaustively" if long_ones else "briefly", *words])


def test_a_telling_word_is_learned():
    """A new text with it is told from one without."""
    texts = [hash_text(told(number, long_ones=number % 2)) for number in range(80)]
    targets = np.array([1.0 if number % 2 else -1.0 for number in range(80)])
    model = fit_text(texts, targets).model
    assert model is not None
    assert model(hash_text(told(1001, long_ones=True))) > 0.3
    assert model(hash_text(told(1002, long_ones=False))) < -0.3


def test_chance_is_seldom_mistaken_for_knowledge():
    """Of ten sets of texts that tell nothing at most three give a model."""
    num_models = 0
    for seed in range(10):
        chance = random.Random(seed)
        texts = [hash_text(told(60 * seed + each, long_ones=False)) for each in range(60)]
        targets = np.array([chance.gauss(0, 1) for _ in texts])
        num_models += fit_text(texts, targets - targets.mean()).model is not None
    assert num_models <= 3


def test_left_out_is_what_a_model_without_the_text_would_say():
    """The short cut equals training anew: here by leaving out the repeats of one text, too."""
    texts = [hash_text(told(number, long_ones=number % 2)) for number in range(40)]
    texts += [texts[0]]
    targets = np.array([1.0 if number % 2 else -1.0 for number in range(40)] + [-9.0])
    fitted = fit_text(texts, targets)
    assert [0, 40] in [group.tolist() for group in fitted.groups]
    assert fitted.left_out[0] == pytest.approx(fitted.left_out[40])  # neither has seen the other


def test_unknown_words_add_nothing():
    """A text of which nothing was seen in training is not guessed at."""
    texts = [hash_text(told(number, long_ones=number % 2)) for number in range(80)]
    targets = np.array([1.0 if number % 2 else -1.0 for number in range(80)])
    model = fit_text(texts, targets).model
    assert model is not None
    assert model(hash_text("Ω Ω Ω")) == 0
    assert model(hash_text("")) == 0
