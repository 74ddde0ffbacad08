"""What a type's own applications add to the network's answers."""

import numpy as np

from justitia_server.prediction.correction import fit_correction

NUM = 100
PARTS = np.arange(NUM) % 5


def rows(seed=0):
    return np.random.default_rng(seed).normal(size=(NUM, 6))


def test_errors_that_follow_from_the_features_are_corrected():
    """On rows that were not there, too."""
    inputs, new = rows(), rows(1)
    correction, left_out = fit_correction(inputs, 0.5 * inputs[:, 0] + 0.2, np.ones(NUM), PARTS)
    assert correction is not None
    wanted = 0.5 * new[:, 0] + 0.2
    assert np.mean((correction(new) - wanted) ** 2) < 0.05 * np.mean(wanted**2)
    assert np.corrcoef(left_out, inputs[:, 0])[0, 1] > 0.95


def test_errors_by_chance_are_let_be():
    """Nothing is better than a little noise."""
    errors = np.random.default_rng(7).normal(size=NUM)
    correction, left_out = fit_correction(rows(), errors - errors.mean(), np.ones(NUM), PARTS)
    assert correction is None
    assert not left_out.any()


def test_few_rows_change_nothing():
    """Seven applications are no evidence."""
    inputs = rows()[:7]
    assert fit_correction(inputs, inputs[:, 0], np.ones(7), PARTS[:7])[0] is None


def test_what_is_left_out_is_not_seen():
    """The values of a part do not depend on the errors in it."""
    inputs = rows()
    errors = inputs[:, 0] + inputs[:, 1]
    changed = errors + np.where(PARTS == 0, 0.05, 0.0)
    before, after = (
        fit_correction(inputs, each, np.ones(NUM), PARTS)[1] for each in (errors, changed)
    )
    assert np.allclose(before[PARTS == 0], after[PARTS == 0])
    assert not np.allclose(before[PARTS == 1], after[PARTS == 1])


def test_inputs_out_of_all_measure_are_bounded():
    """Four standard deviations, and no further."""
    inputs = rows()
    correction, _ = fit_correction(inputs, inputs[:, 0], np.ones(NUM), PARTS)
    assert correction is not None
    assert abs(correction(np.full((1, 6), 1e9))[0]) < 10
