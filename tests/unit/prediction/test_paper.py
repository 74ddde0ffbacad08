"""The paper's predictor."""

import pytest

from justitia_sdk.errors import ConfigurationError
from justitia_server.prediction.paper import PaperMLP

TEXTS = [
    f"{'write a long report' if number % 2 else 'answer shortly'} {number}" for number in range(40)
]
COSTS = [1e6 if number % 2 else 1e4 for number in range(40)]


def test_it_learns_what_a_text_costs():
    """Of texts that it has not seen."""
    long_one, short_one = PaperMLP(TEXTS, COSTS, seed=1).predict(
        ["write a long report 99", "answer shortly 98"]
    )
    assert long_one > 10 * short_one


def test_equal_seeds_give_equal_predictions():
    """And leave the chance of others alone."""
    import torch

    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, other = (PaperMLP(TEXTS, COSTS, seed=3).predict(["a report"]) for _ in range(2))
    assert one == other
    assert torch.equal(before, torch.random.get_rng_state())


def test_no_texts_are_refused():
    """There is nothing to learn."""
    with pytest.raises(ConfigurationError, match="at least one"):
        PaperMLP([], [], seed=1)
