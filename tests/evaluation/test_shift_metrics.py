"""What accuracies over a shift come to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import auc

from nubench.evaluation.shift_metrics import area_under_accuracy, drop_from_source, mean_accuracy, worst_accuracy

fractions = st.floats(0, 1)


def test_a_model_that_ignores_the_charge_does_not_drop_and_is_not_better_for_it() -> None:
    blind, sighted = [0.68, 0.68], [0.80, 0.72]
    assert drop_from_source(0.68, blind) == 0.0
    assert drop_from_source(0.82, sighted) == pytest.approx(0.06)
    assert mean_accuracy(sighted) > mean_accuracy(blind)
    assert worst_accuracy(sighted) == 0.72


@given(st.lists(st.tuples(st.floats(-10, 10), fractions), min_size=2, max_size=12, unique_by=lambda p: round(p[0], 3)))
def test_the_area_is_that_of_scikit_learn_over_the_width(points: list[tuple[float, float]]) -> None:
    strengths, accuracies = np.array(sorted(points)).T
    expected = auc(strengths, accuracies) / (strengths[-1] - strengths[0])
    found = area_under_accuracy(*zip(*points, strict=True))
    assert found == pytest.approx(expected, abs=1e-9)
    assert min(accuracies) - 1e-12 <= found <= max(accuracies) + 1e-12


@given(fractions, st.lists(st.floats(-3, 3), min_size=2, max_size=9).filter(lambda s: max(s) - min(s) > 1e-3))
def test_a_flat_curve_has_its_height_as_area(height: float, strengths: list[float]) -> None:
    assert area_under_accuracy(strengths, [height] * len(strengths)) == pytest.approx(height, abs=1e-12)


def test_points_of_one_strength_count_as_their_mean() -> None:
    assert area_under_accuracy([0, 1, 1], [0.8, 0.6, 0.4]) == area_under_accuracy([0, 1], [0.8, 0.5])


def test_the_area_weighs_stretches_and_the_mean_weighs_points() -> None:
    strengths, accuracies = [0.0, 0.1, 0.2, 2.0], [0.9, 0.9, 0.9, 0.5]
    assert area_under_accuracy(strengths, accuracies) == pytest.approx((0.2 * 0.9 + 1.8 * 0.7) / 2)
    assert mean_accuracy(accuracies) == pytest.approx(0.8)


def test_what_has_no_answer_is_an_error() -> None:
    for function in (mean_accuracy, worst_accuracy, lambda targets: drop_from_source(0.5, targets)):
        with pytest.raises(ValueError, match="targets must hold at least one"):
            function([])
    with pytest.raises(ValueError, match=r"at least 2 different strengths; got \[1\.0\]"):
        area_under_accuracy([1.0, 1.0], [0.5, 0.6])
    with pytest.raises(ValueError, match=r"must be finite; got 0\.5 at strength nan"):
        area_under_accuracy([0.0, float("nan")], [0.5, 0.5])
    with pytest.raises(ValueError, match="shorter"):
        area_under_accuracy([0.0, 1.0], [0.5])
