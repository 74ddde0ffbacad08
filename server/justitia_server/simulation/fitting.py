"""
Learning the constants of `step_time` from a step log.

Steps that only decode give a, b and c; then, these known, steps with prompts give e, f and g. A
step that does both pays the larger of a and e: both cases are fitted, and the one that agrees with
itself and errs less is taken.

Each is least squares without negative constants, of relative errors, so that a short step counts as
much as a long one. Steps that took much longer than they should (the first ones, pauses) must not
pull: Huber's weights, with the median absolute deviation as the scale, found by iteration.

What a log cannot tell is refused, with the traffic to send.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from justitia_sdk.errors import ConfigurationError

from .logged_steps import LoggedSteps, Numbers
from .step_time import StepTime

LEAST_DECODE_STEPS = 100
LEAST_PREFILL_STEPS = 30
LEAST_PREFILL_ALONE = 5  # steps that compute prompts and nothing else
LEAST_SPREAD = 1.5  # of B, K and n: the 99th percentile over the 1st
MOST_CORRELATED = 0.98
OUTLIER = 0.05  # relative error, or five times the usual one: left out of R^2

_NUM_ITERATIONS = 50
_HUBER = 1.345  # 95 % efficient where errors are normal
_MAD_TO_SIGMA = 1.4826
_LEAST_SIGMA = 1e-9


@dataclass(frozen=True, slots=True)
class Goodness:
    """
    How well the constants tell the times of some steps.

    Attributes:
        num_steps: How many there are.
        median_error: Median of the relative errors, without sign.
        r_squared: R^2 of their milliseconds, outliers left out.
        num_outliers: Steps whose relative error is above 5 % and five times the usual.
    """

    num_steps: int
    median_error: float
    r_squared: float
    num_outliers: int


@dataclass(frozen=True, slots=True)
class Fit:
    """
    What a log says.

    Attributes:
        constants: The six.
        decode: Of steps that only decode.
        prefill: Of steps with prompts.
        warnings: What the log tells badly, in sentences.
    """

    constants: StepTime
    decode: Goodness
    prefill: Goodness
    warnings: tuple[str, ...]


def fit_step_time(steps: LoggedSteps) -> Fit:
    """
    Learn the six constants.

    Raises:
        ConfigurationError: The log cannot tell one of them; the message says what traffic to send.
    """
    steps = steps.where((steps.num_decoding + steps.num_chunks > 0) & (steps.took_ms > 0))
    decode = steps.where(steps.num_chunks == 0)
    prefill = steps.where(steps.num_chunks > 0)
    _check_decode(decode)
    _check_prefill(prefill)
    a, b, c = _fit_decode(decode)
    e, f, g = _fit_prefill(prefill, a, b * prefill.num_decoding + c * prefill.num_kv_tokens)
    constants = StepTime(*(float(each) for each in (a, b, c, e, f, g)))
    return Fit(
        constants,
        _goodness(constants, decode),
        _goodness(constants, prefill),
        tuple(_warnings(decode, prefill)),
    )


def predicted_ms(constants: StepTime, steps: LoggedSteps) -> Numbers:
    """Return what `StepTime.step_s` says of every step, in milliseconds."""
    base = np.where(steps.num_decoding > 0, constants.decode_base_ms, 0.0)
    base = np.where(steps.num_chunks > 0, np.maximum(base, constants.prefill_base_ms), base)
    told: Numbers = (
        base
        + constants.per_sequence_ms * steps.num_decoding
        + constants.per_kv_token_ms * steps.num_kv_tokens
        + constants.per_token_ms * steps.num_prompt_tokens
        + constants.per_token_squared_ms * steps.num_squares
    )
    return told


# -- the two fits ------------------------------------------------------------------------


def _fit_decode(steps: LoggedSteps) -> Numbers:
    columns = np.column_stack([np.ones(len(steps)), steps.num_decoding, steps.num_kv_tokens])
    constants, _ = _robust(columns, steps.took_ms, np.zeros(len(steps)))
    return constants


def _fit_prefill(steps: LoggedSteps, a: float, decode_ms: Numbers) -> tuple[float, float, float]:
    """Return e, f and g; *decode_ms* is what is known of the steps, but for a."""
    alone = steps.num_decoding == 0
    sizes = [steps.num_prompt_tokens, steps.num_squares]
    # e below a: it shows in steps without decodes, the others pay a.
    low, low_error = _robust(
        np.column_stack([alone, *sizes]), steps.took_ms, decode_ms + np.where(alone, 0.0, a)
    )
    # e from a upwards: it shows everywhere, as a and something more.
    high, high_error = _robust(
        np.column_stack([np.ones(len(steps)), *sizes]), steps.took_ms, decode_ms + a
    )
    if low[0] <= a and low_error <= high_error:
        return low[0], low[1], low[2]
    return a + high[0], high[1], high[2]


def _robust(columns: Numbers, took_ms: Numbers, known_ms: Numbers) -> tuple[Numbers, float]:
    """
    Return x of took = known + columns x, nowhere negative, and its mean (Huber) relative error.

    Args:
        columns: One a constant.
        took_ms: What was measured.
        known_ms: The part of it that is known already.
    """
    scale = columns.max(axis=0)
    columns = columns / scale
    weights = 1 / took_ms
    found = np.zeros(columns.shape[1])
    for _ in range(_NUM_ITERATIONS):
        before = found
        found = _least_squares(columns * weights[:, None], (took_ms - known_ms) * weights)
        expected = np.maximum(known_ms + columns @ found, 1e-6)
        errors = np.abs(took_ms - expected) / expected
        sigma = max(_MAD_TO_SIGMA * float(np.median(errors)), _LEAST_SIGMA)
        weights = np.sqrt(np.minimum(1, _HUBER * sigma / np.maximum(errors, 1e-300))) / expected
        if np.allclose(found, before, rtol=1e-10, atol=0):
            break
    return found / scale, float(np.mean(np.minimum(errors, _HUBER * sigma)))


def _least_squares(columns: Numbers, target: Numbers) -> Numbers:
    orthogonal, triangular = np.linalg.qr(columns)  # as good, and as small as it can be
    found: Numbers = nnls(triangular, orthogonal.T @ target)[0]
    return found


def _goodness(constants: StepTime, steps: LoggedSteps) -> Goodness:
    expected = predicted_ms(constants, steps)
    errors = np.abs(steps.took_ms - expected) / expected
    usual = errors <= max(OUTLIER, 5 * _MAD_TO_SIGMA * float(np.median(errors)))
    took = steps.took_ms[usual]
    spread = float(np.sum((took - took.mean()) ** 2))
    missed = float(np.sum((took - expected[usual]) ** 2))
    return Goodness(
        len(steps), float(np.median(errors)), 1 - missed / spread if spread else 1.0,
        int(np.sum(~usual)),
    )  # fmt: skip


# -- what a log can tell -----------------------------------------------------------------


def _check_decode(steps: LoggedSteps) -> None:
    if len(steps) < LEAST_DECODE_STEPS:
        raise ConfigurationError(
            f"the log has {len(steps)} steps that only decode, and {LEAST_DECODE_STEPS} are "
            "needed: send calls with longer outputs"
        )
    if not _varies(steps.num_decoding):
        raise ConfigurationError(
            "about as many sequences decode in every step, so that a and b cannot be told apart: "
            "send few calls at a time, then many"
        )
    if not _varies(steps.num_kv_tokens):
        raise ConfigurationError(
            "sequences hold about as many KV tokens in every step, so that a and c cannot be told "
            "apart: send calls with short prompts, then with long ones"
        )


def _check_prefill(steps: LoggedSteps) -> None:
    if len(steps) < LEAST_PREFILL_STEPS:
        raise ConfigurationError(
            f"the log has {len(steps)} steps with prompts, and {LEAST_PREFILL_STEPS} are needed: "
            "send more calls, with prompts that are not cached"
        )
    num_alone = int(np.sum(steps.num_decoding == 0))
    if num_alone < LEAST_PREFILL_ALONE:
        raise ConfigurationError(
            f"{num_alone} steps compute prompts while nothing decodes, and {LEAST_PREFILL_ALONE} "
            "are needed for e: send some calls one at a time"
        )
    if not _varies(steps.num_prompt_tokens):
        raise ConfigurationError(
            "every step with prompts has about as many of their tokens, so that e, f and g cannot "
            "be told apart: send prompts of different lengths"
        )


def _warnings(decode: LoggedSteps, prefill: LoggedSteps) -> list[str]:
    found = []
    if _correlation(decode.num_decoding, decode.num_kv_tokens) > MOST_CORRELATED:
        found.append(
            "B and K rise and fall together, so that b and c are hardly told apart: send short "
            "prompts and long ones, at different times"
        )
    if _correlation(prefill.num_prompt_tokens, prefill.num_squares) > MOST_CORRELATED:
        found.append(
            "prompts are about equally long, so that f and g are hardly told apart: send prompts "
            "of more different lengths"
        )
    return found


def _varies(values: Numbers) -> bool:
    least, most = np.percentile(values, [1, 99])
    return bool(most >= LEAST_SPREAD * least)


def _correlation(one: Numbers, other: Numbers) -> float:
    return float(np.corrcoef(one, other)[0, 1])
