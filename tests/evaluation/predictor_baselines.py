"""
The simple models a predictor has to beat, one a family, each trained on the logarithm of the cost.

Settings that matter are chosen by grouped validation within the training samples, as ours are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline

from justitia_server.prediction.base import Question
from justitia_server.prediction.paper import PaperMLP

from .predictor_data import Told

Costs = NDArray[np.float64]
Baseline = Callable[[Sequence[Told], Sequence[Told], int], Costs]


def family_median(training: Sequence[Told], test: Sequence[Told], seed: int) -> Costs:
    """Predict the median."""
    return np.full(len(test), np.median([each.example.cost for each in training]))


def ridge_on_text(training: Sequence[Told], test: Sequence[Told], seed: int) -> Costs:
    """Linear regression on TF-IDF of words and character n-grams; the median without a text."""
    if training[0].input_text is None:
        return family_median(training, test, seed)
    model = make_pipeline(TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4)), Ridge())
    search = _search(model, {"ridge__alpha": [0.3, 1.0, 3.0, 10.0, 30.0]}, training)
    search.fit(*_texts_and_logs(training), groups=[each.group for each in training])
    return np.exp(search.predict([each.input_text for each in test]))


def boosting_on_structure(training: Sequence[Told], test: Sequence[Told], seed: int) -> Costs:
    """Gradient boosting on the first prompt's length and the plan."""
    model = GradientBoostingRegressor(learning_rate=0.05, subsample=0.8, random_state=seed)
    choices = {"n_estimators": [30, 60, 120], "max_depth": [1, 2, 3]}
    search = _search(model, choices, training)
    logs = np.log([each.example.cost for each in training])
    search.fit(_structure(training), logs, groups=[each.group for each in training])
    return np.exp(search.predict(_structure(test)))


def _search(
    model: object, choices: dict[str, list[float]], training: Sequence[Told]
) -> GridSearchCV:
    groups = len({each.group for each in training})
    return GridSearchCV(
        model, choices, scoring="neg_mean_squared_error", cv=GroupKFold(min(5, groups))
    )


def _texts_and_logs(applications: Sequence[Told]) -> tuple[list[str], Costs]:
    texts = [each.input_text or "" for each in applications]
    return texts, np.log([each.example.cost for each in applications])


def _structure(applications: Sequence[Told]) -> Costs:
    return np.array([_numbers(each.example.question) for each in applications], dtype=np.float64)


def _numbers(question: Question) -> list[float]:
    """Return what the first call and the plan tell."""
    stages = question.plan.stages if question.plan else ()
    calls = [stage.loop * (sum(stage.call_range) / 2) for stage in stages]
    return [
        question.first_prompt_tokens or 0,
        question.input_chars or 0,
        len(stages),
        sum(calls),
        max(calls, default=0),
    ]


def papers_perceptron(training: Sequence[Told], test: Sequence[Told], seed: int) -> Costs:
    """TF-IDF and a four-layer perceptron; the median without a text."""
    if training[0].input_text is None:
        return family_median(training, test, seed)
    costs = [each.example.cost for each in training]
    model = PaperMLP([each.input_text or "" for each in training], costs, seed=seed)
    return np.array(model.predict([each.input_text or "" for each in test]))


BASELINES: dict[str, Baseline] = {
    "family median": family_median,
    "ridge on TF-IDF": ridge_on_text,
    "boosting on structure": boosting_on_structure,
    "the paper's MLP": papers_perceptron,
}
