from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nubench.errors import UsageError
from nubench.quantiles import mid_distribution, mid_quantiles

LEVELS = np.linspace(0, 1, 41)
whole_numbers = st.lists(st.integers(0, 255), min_size=1, max_size=80)


def _of(values: list[int], levels: np.ndarray = LEVELS, scale: float = 1.0, offset: float = 0.0) -> np.ndarray:
    distinct, counts = np.unique(np.array(values) * scale + offset, return_counts=True)
    return mid_quantiles(distinct, counts, levels)


@given(whole_numbers, st.floats(0.01, 50), st.floats(-300, 300))
def test_they_follow_an_affine_change(values: list[int], scale: float, offset: float) -> None:
    assert np.allclose(_of(values, scale=scale, offset=offset), scale * _of(values) + offset, rtol=1e-9, atol=1e-9)


@given(whole_numbers)
def test_they_ascend_within_the_values_and_reach_them(values: list[int]) -> None:
    quantiles = _of(values)
    assert np.all(np.diff(quantiles) >= 0)
    assert quantiles[0] == min(values)
    assert quantiles[-1] == max(values)


@given(whole_numbers)
def test_the_distribution_turned_upside_down_is_mirrored(values: list[int]) -> None:
    assert np.allclose(_of([255 - value for value in values]), 255 - _of(values)[::-1])


def test_of_many_different_values_they_are_the_ordinary_quantiles() -> None:
    values = np.sort(np.random.default_rng(3).normal(size=20_001))
    levels = np.array([0.01, 0.3, 0.5, 0.99])
    assert np.allclose(mid_quantiles(values, np.ones(len(values)), levels), np.quantile(values, levels), atol=2e-3)


def test_weights_count_as_repetitions_and_zero_as_absence() -> None:
    seen, below = mid_distribution(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1, 0, 2, 1]))
    assert seen.tolist() == [1, 3, 4]
    assert below.tolist() == [0.125, 0.5, 0.875]


def test_nothing_seen_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one value"):
        mid_quantiles(np.array([1.0]), np.array([0]), LEVELS)
