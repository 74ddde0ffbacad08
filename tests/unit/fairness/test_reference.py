"""The reference in floats, as the server has it; in exact numbers: test_reference_exact."""

import random

import pytest

from justitia_server.fairness.reference import Reference


@pytest.mark.parametrize("seed", range(20))
def test_in_whatever_portions_the_same_leave_at_the_same_service(seed):
    """To the bit: the last of all needs just what is fed, and rounding decides of it."""
    draw = random.Random(seed)
    finely, coarsely = (Reference({"a": 1, "b": 3, "c": 0.7}) for _ in range(2))
    costs = {f"{tenant}{n}": draw.randint(1_000, 9_000_000) for tenant in "abc" for n in range(9)}
    for app_id, cost in costs.items():
        weight = draw.choice((0.3, 1, 7))
        for reference in (finely, coarsely):
            reference.arrive(app_id, app_id[0], cost, weight=weight)
    left = sum(costs.values())
    while left:
        portions = []
        for _ in range(draw.randint(1, 100)):
            portions.append(min(draw.randint(1, 200_000), left))
            left -= portions[-1]
        gone = [app_id for portion in portions for app_id in finely.advance(portion)]
        assert gone == coarsely.advance(sum(portions))
        assert finely.service_until_departure() == coarsely.service_until_departure()
