"""The score against scikit-learn's, and the column on results with and without it."""

from __future__ import annotations

from types import SimpleNamespace

import nubench_brier
import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.metrics import brier_score_loss


def test_the_score_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 4, 200)
    scores = log_softmax(rng.normal(0, 3, (200, 4)), axis=1)
    expected = brier_score_loss(labels, np.exp(scores), scale_by_half=False)
    assert nubench_brier.brier_score(labels, scores) == pytest.approx(expected)


def test_certainty_costs_nothing_or_two() -> None:
    certain = np.log(np.array([[1.0, 1e-30], [1.0, 1e-30]]))
    assert nubench_brier.brier_score(np.array([0, 0]), certain) == pytest.approx(0)
    assert nubench_brier.brier_score(np.array([1, 1]), certain) == pytest.approx(2)


def test_the_column_is_empty_where_a_result_has_no_score() -> None:
    def result(*scores: float | None) -> SimpleNamespace:
        points = [SimpleNamespace(further={} if score is None else {"brier": score}) for score in scores]
        return SimpleNamespace(target_points=points, scores=lambda point: point)

    def row(*results: SimpleNamespace) -> SimpleNamespace:
        return SimpleNamespace(results=results)

    assert nubench_brier.mean_over_targets(row(result(0.2, 0.4), result(0.3, 0.5))) == pytest.approx(0.35)
    assert nubench_brier.mean_over_targets(row(result(0.2, 0.4), result(None, 0.5))) is None
    (column,) = nubench_brier.register_columns()
    assert column.value(row(result(0.25))) == 0.25
