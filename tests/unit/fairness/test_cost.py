"""KV token-time of calls."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from justitia_server.fairness.cost import call_cost, service_between

tokens = st.integers(0, 5_000)


def test_worked_value_of_the_paper():
    """Ten prompt tokens and four output tokens cost 11 + 12 + 13 + 14."""
    assert call_cost(10, 4) == 50


@given(prompt=tokens, output=st.integers(0, 300))
def test_cost_is_the_sum_over_output_tokens(prompt, output):
    """The closed form equals the sum of p + i."""
    assert call_cost(prompt, output) == sum(prompt + i for i in range(1, output + 1))


@given(prompt=tokens, cuts=st.lists(st.integers(0, 300), min_size=2, max_size=6))
def test_splitting_an_interval_changes_nothing(prompt, cuts):
    """Service delivered in pieces adds up to the service of the whole."""
    cuts = sorted(cuts)
    pieces = pairwise(cuts)
    total = sum(service_between(prompt, before, after) for before, after in pieces)
    assert total == service_between(prompt, cuts[0], cuts[-1])
