"""Intervals are those of scipy where scipy has them, cover the truth as often as they say, and pairing narrows them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from nubench.evaluation.statistics import (
    Answers,
    Interval,
    bootstrap_means,
    interval_from_seeds,
    percentile_interval,
    pooled_deviation,
    unpaired_difference,
)

#: Mean accuracy of the made-up trainings and events of the coverage test.
TRUTH = 0.6946


def everywhere(events: int, points: int = 1) -> np.ndarray:
    return np.ones((points, events), bool)


def interval_of(right: np.ndarray, present: np.ndarray, name: str = "a", replicates: int = 2000) -> Interval:
    (means,) = bootstrap_means([Answers(name, right)], present, name="events", replicates=replicates)
    return percentile_interval(float(np.mean(right.sum(axis=2) / present.sum(axis=1))), means)


def test_one_training_at_points_that_lack_events_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    present = rng.random((2, 400)) < np.array([[1.0], [0.7]])
    right = (rng.random((2, 400)) < np.array([[0.8], [0.6]])) & present

    def mean_over_points(*columns: np.ndarray, axis: int) -> np.ndarray:
        first, of_first, second, of_second = (column.sum(axis=axis) for column in columns)
        return (first / of_first + second / of_second) / 2

    expected = stats.bootstrap(
        (right[0], present[0], right[1], present[1]),
        mean_over_points,
        paired=True,
        vectorized=True,
        n_resamples=9999,
        method="percentile",
        random_state=np.random.default_rng(1),
    ).confidence_interval
    found = interval_of(right[None], present, replicates=9999)
    assert found.low == pytest.approx(expected.low, abs=0.002)
    assert found.high == pytest.approx(expected.high, abs=0.002)


def test_the_paired_difference_of_two_trainings_agrees_with_scipy() -> None:
    rng = np.random.default_rng(1)
    ease = rng.normal(1, 1.5, size=500)
    first, second = (rng.normal(size=500) < ease, rng.normal(size=500) < ease - 0.2)
    expected = stats.bootstrap(
        (first, second),
        lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=9999,
        method="percentile",
        random_state=np.random.default_rng(2),
    ).confidence_interval
    methods = [Answers("a", first[None, None]), Answers("b", second[None, None])]
    one, other = bootstrap_means(methods, everywhere(500), name="events", replicates=9999)
    found = percentile_interval(float(first.mean() - second.mean()), one - other)
    assert found.low == pytest.approx(expected.low, abs=0.003)
    assert found.high == pytest.approx(expected.high, abs=0.003)


@pytest.mark.parametrize("accuracies", [(1, 0), (1, 1, 0), (1, 1, 0, 0, 0)])
def test_the_variance_over_trainings_is_unbiased(accuracies: tuple[int, ...]) -> None:
    # All events alike, so nothing but the trainings varies.
    right = np.broadcast_to(np.array(accuracies, bool)[:, None, None], (len(accuracies), 2, 50)).copy()
    (means,) = bootstrap_means([Answers("a", right)], everywhere(50, 2), name="events", replicates=20_000)
    assert means.mean() == pytest.approx(np.mean(accuracies), abs=0.01)
    assert means.var() == pytest.approx(np.var(accuracies, ddof=1) / len(accuracies), rel=0.03)


def coverage(trainings: int, like: int = 0, repetitions: int = 200) -> float:
    """How often the interval of made-up trainings on 300 events holds the truth.

    Args:
        like: methods of three trainings each, whose pooled spread a single training is given.
    """
    rng = np.random.default_rng(3)
    covered = 0
    for repetition in range(repetitions):
        difficulty = rng.normal(1.0, 1.0, size=(1, 300))
        methods = []
        for count in (trainings, *[3] * like):
            skill = rng.normal(0.0, 0.3, size=(count, 1))
            methods.append(rng.random((count, 300)) < 1 / (1 + np.exp(-(skill + difficulty))))
        right, *others = methods
        answers = Answers(f"{repetition}", right[:, None], pooled_deviation([one.mean(axis=1) for one in others]))
        (means,) = bootstrap_means([answers], everywhere(300), name="events", replicates=300)
        interval = percentile_interval(float(right.mean()), means)
        covered += interval.low <= TRUTH <= interval.high
    return covered / repetitions


@pytest.mark.parametrize(("trainings", "least"), [(3, 0.87), (5, 0.90), (8, 0.92)])
def test_the_interval_covers_the_truth_about_as_often_as_it_says(trainings: int, least: float) -> None:
    assert least <= coverage(trainings) <= 0.99


def test_one_training_covers_the_truth_as_often_once_it_is_given_the_spread_of_others() -> None:
    assert coverage(1) < 0.75
    assert 0.88 <= coverage(1, like=3) <= 0.99


def test_a_given_deviation_is_normal_noise_of_that_size() -> None:
    right = np.arange(500)[None, None] < 400
    means = [
        bootstrap_means([Answers("a", right, deviation)], everywhere(500), name="events", replicates=20_000)[0]
        for deviation in (None, 0.03)
    ]
    noise = means[1] - means[0]
    assert stats.kstest(noise, "norm", args=(0, 0.03)).pvalue > 0.01
    assert abs(np.corrcoef(noise, means[0])[0, 1]) < 0.03
    (other,) = bootstrap_means([Answers("b", right, 0.03)], everywhere(500), name="events", replicates=20_000)
    assert abs(np.corrcoef(noise, other - means[0])[0, 1]) < 0.03


def test_the_pooled_deviation_weighs_groups_by_what_they_tell() -> None:
    assert pooled_deviation([[0.5]]) is None
    groups = [[0.1, 0.3], [0.5, 0.6, 0.9], [0.2]]
    variance = (np.var(groups[0], ddof=1) + 2 * np.var(groups[1], ddof=1)) / 3
    assert pooled_deviation(groups) == pytest.approx(variance**0.5)


@pytest.mark.parametrize(("trainings", "deviation"), [(2, 0.1), (1, -0.1), (1, float("nan")), (1, float("inf"))])
def test_a_deviation_is_for_one_training_and_a_number(trainings: int, deviation: float) -> None:
    with pytest.raises(ValueError, match="deviation must be a finite number"):
        Answers("a", np.ones((trainings, 1, 5), bool), deviation)


def test_the_truth_used_above() -> None:
    rng = np.random.default_rng(0)
    logits = 1 + rng.normal(0, np.sqrt(1 + 0.09), size=2_000_000)
    assert np.mean(1 / (1 + np.exp(-logits))) == pytest.approx(TRUTH, abs=0.001)


def test_methods_alike_but_for_the_events_they_share_are_told_apart_only_in_pairs() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random(3000) < 0.3
    better = np.tile(~hard, (3, 1, 1))
    worse = better & (rng.random((3, 1, 3000)) > 0.02)
    means = bootstrap_means([Answers("a", better), Answers("b", worse)], everywhere(3000), name="events")
    first, second = (
        percentile_interval(float(right.mean()), found) for right, found in zip((better, worse), means, strict=True)
    )
    paired = percentile_interval(float(better.mean() - worse.mean()), means[0] - means[1])
    unpaired = unpaired_difference(first, second)
    assert paired.low > 0
    assert unpaired.low < 0 < unpaired.high
    assert unpaired.estimate == pytest.approx(paired.estimate)
    assert first.low <= second.high


def test_a_point_weighs_the_same_whatever_number_of_events_it_has() -> None:
    present = np.stack([np.arange(1000) < 1000, np.arange(1000) < 10])
    right = np.stack([np.arange(1000) < 500, np.arange(1000) < 10])
    (means,) = bootstrap_means([Answers("a", right[None])], present, name="events")
    assert means.mean() == pytest.approx((0.5 + 1.0) / 2, abs=0.005)
    assert np.isfinite(means).all()


def test_a_method_keeps_its_numbers_whatever_stands_beside_it() -> None:
    rng = np.random.default_rng(0)
    one, other = Answers("one", rng.random((3, 2, 100)) < 0.7), Answers("other", rng.random((2, 2, 100)) < 0.6)
    (alone,) = bootstrap_means([one], everywhere(100, 2), name="events")
    _, beside = bootstrap_means([other, one], everywhere(100, 2), name="events")
    np.testing.assert_array_equal(alone, beside)
    (elsewhere,) = bootstrap_means([one], everywhere(100, 2), name="other events")
    assert not np.array_equal(alone, elsewhere)


def test_the_random_numbers_never_change() -> None:
    right = np.arange(600).reshape(3, 2, 100) % 7 < 5
    (means,) = bootstrap_means([Answers("one", right)], everywhere(100, 2), name="events", replicates=3)
    np.testing.assert_allclose(means, [0.7066666666666667, 0.633388181644768, 0.7103367350481121], atol=1e-12)


@pytest.mark.parametrize("shape", [(0, 1, 5), (5, 0, 1), (5, 1, 0), (5, 5)])
def test_nothing_to_resample_is_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="right must be"):
        Answers("a", np.ones(shape, bool))


def test_what_does_not_fit_is_named() -> None:
    right = np.ones((2, 1, 50), bool)
    with pytest.raises(ValueError, match="same 1 points and 40 events; 'a' has 1 points and 50 events"):
        bootstrap_means([Answers("a", right)], everywhere(40), name="events")
    with pytest.raises(ValueError, match="'a' is right about an event that is not present"):
        bootstrap_means([Answers("a", right)], np.arange(50)[None] < 49, name="events")
    with pytest.raises(ValueError, match="at least one event"):
        bootstrap_means([Answers("a", ~right)], ~everywhere(50), name="events")


def test_an_interval_holds_its_estimate() -> None:
    assert percentile_interval(0.9, np.array([0.5, 0.6])).high == 0.9
    assert percentile_interval(0.1, np.array([0.5, 0.6])).low == 0.1
    assert -Interval(0.1, 0.0, 0.3) == Interval(-0.1, -0.3, 0.0)


def test_the_unpaired_difference_of_normal_quantities_adds_their_variances() -> None:
    found = unpaired_difference(Interval(0.8, 0.8 - 0.03, 0.8 + 0.03), Interval(0.7, 0.7 - 0.04, 0.7 + 0.04))
    assert (found.low, found.high) == (pytest.approx(0.05), pytest.approx(0.15))


def test_the_approximation_agrees_with_the_bootstrap() -> None:
    # What is hard is hard for all trainings: the approximation takes nothing else into account.
    right = np.random.default_rng(0).random(3000) < np.array([0.78, 0.79, 0.8, 0.81, 0.82])[:, None, None]
    approximate = interval_from_seeds(right.mean(axis=(1, 2)).tolist(), 3000)
    exact = interval_of(right, everywhere(3000))
    assert approximate.estimate == pytest.approx(exact.estimate)
    assert approximate.high - approximate.low == pytest.approx(exact.high - exact.low, rel=0.15)
    assert interval_from_seeds([1.0], 10) == Interval(1.0, 1.0, 1.0)
    assert interval_from_seeds([0.01, 0.2], 10).low == 0.0
