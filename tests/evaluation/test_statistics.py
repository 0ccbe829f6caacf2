"""Intervals cover the truth as often as they say, and pairing narrows a difference."""

from __future__ import annotations

import numpy as np
import pytest

from nubench.evaluation.statistics import Interval, accuracy_interval, interval_from_seeds, paired_difference

#: Mean accuracy of the made-up trainings and events of the coverage test.
TRUTH = 0.6946


def test_one_seed_gives_the_binomial_interval() -> None:
    correct = np.arange(2000)[None] < 1600
    interval = accuracy_interval(correct, seed=1, replicates=4000)
    half = 1.96 * (0.8 * 0.2 / 2000) ** 0.5
    assert interval.estimate == 0.8
    assert interval.low == pytest.approx(0.8 - half, abs=0.002)
    assert interval.high == pytest.approx(0.8 + half, abs=0.002)


def test_the_spread_of_seeds_widens_the_interval() -> None:
    rng = np.random.default_rng(0)
    alike = rng.random((5, 2000)) < 0.8
    spread = rng.random((5, 2000)) < np.array([0.7, 0.75, 0.8, 0.85, 0.9])[:, None]
    one, other = accuracy_interval(alike, seed=0), accuracy_interval(spread, seed=0)
    assert other.high - other.low > 3 * (one.high - one.low)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for repetition in range(200):
        skill = rng.normal(0.0, 0.3, size=(8, 1))
        difficulty = rng.normal(1.0, 1.0, size=(1, 300))
        correct = rng.random((8, 300)) < 1 / (1 + np.exp(-(skill + difficulty)))
        interval = accuracy_interval(correct, seed=repetition, replicates=300)
        covered += interval.low <= TRUTH <= interval.high
    assert 0.90 <= covered / 200 <= 1.0


def test_the_truth_used_above() -> None:
    rng = np.random.default_rng(0)
    logits = 1 + rng.normal(0, np.sqrt(1 + 0.09), size=2_000_000)
    assert np.mean(1 / (1 + np.exp(-logits))) == pytest.approx(TRUTH, abs=0.001)


def test_a_seed_gives_the_same_interval_and_another_seed_another() -> None:
    correct = np.random.default_rng(0).random((3, 500)) < 0.7
    assert accuracy_interval(correct, seed=5) == accuracy_interval(correct, seed=5)
    assert accuracy_interval(correct, seed=5) != accuracy_interval(correct, seed=6)


def test_pairing_narrows_the_difference() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random(3000) < 0.3
    better = np.tile(~hard, (3, 1))
    worse = better & (rng.random((3, 3000)) > 0.02)
    paired = paired_difference(better, worse, seed=0)
    alone = accuracy_interval(better, seed=0)
    assert paired.estimate == pytest.approx(better.mean() - worse.mean())
    assert paired.low > 0
    assert paired.high - paired.low < 0.6 * (alone.high - alone.low)
    flipped = paired_difference(worse, better, seed=0)
    assert flipped.estimate == -paired.estimate
    assert not paired.overlaps(flipped)


def test_methods_may_have_different_numbers_of_seeds() -> None:
    ones = np.ones((2, 50), bool)
    assert paired_difference(ones, np.ones((5, 50), bool), seed=0) == Interval(0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="same events; got 50 and 40"):
        paired_difference(ones, np.ones((2, 40), bool), seed=0)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (5,)])
def test_nothing_to_resample_is_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="correct must be"):
        accuracy_interval(np.ones(shape, bool), seed=0)


def test_the_approximation_agrees_with_the_bootstrap() -> None:
    correct = np.random.default_rng(0).random((20, 3000)) < 0.8
    approximate = interval_from_seeds(correct.mean(axis=1).tolist(), 3000)
    assert approximate.estimate == pytest.approx(correct.mean())
    assert interval_from_seeds([1.0], 10) == Interval(1.0, 1.0, 1.0)
    assert interval_from_seeds([0.01, 0.2], 10).low == 0.0
