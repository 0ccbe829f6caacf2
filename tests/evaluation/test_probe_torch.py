"""The probe of the GPU has scikit-learn's optimum; run here on the processor, the code is the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from nubench.errors import NubenchError
from nubench.evaluation.probe import fit_probe, fit_with_torch
from probe_checks import HARD, Problem, accuracy, check_against_scikit_learn, heavy_tails, separated, unbalanced


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_the_optimum_of_scikit_learn(classes: int) -> None:
    check_against_scikit_learn(separated(classes), "cpu")


@pytest.mark.parametrize("make", HARD)
def test_the_optimum_of_scikit_learn_where_it_is_hard_to_find(make: Callable[[], Problem]) -> None:
    check_against_scikit_learn(make(), "cpu")


@pytest.mark.parametrize("make", [unbalanced, heavy_tails])
def test_the_accuracy_of_the_probe_that_leaderboards_use(make: Callable[[], Problem]) -> None:
    features, labels, classes = make()
    usual = fit_probe(features, labels, classes)
    other = fit_with_torch(features, labels, classes, device="cpu")
    assert accuracy(usual, features, labels) == pytest.approx(accuracy(other, features, labels), abs=0.001)


def test_the_same_numbers_every_time() -> None:
    features, labels, classes = separated(4)
    one, other = (fit_with_torch(features, labels, classes, device="cpu") for _ in range(2))
    np.testing.assert_array_equal(one.weights, other.weights)


def test_collapsed_embeddings_give_the_frequencies_of_the_classes() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    probe = fit_with_torch(np.ones((6, 5), np.float32), labels, 3, device="cpu")
    found = np.exp(probe.log_probabilities(np.ones((1, 5), np.float32)))
    np.testing.assert_allclose(found, [[3 / 6, 2 / 6, 1 / 6]], atol=1e-6)


def test_stopping_early_is_recorded() -> None:
    features, labels, classes = separated(3)
    probe = fit_with_torch(features, labels, classes, max_iterations=1, device="cpu")
    assert not probe.converged
    assert probe.iterations == 1


def test_what_cannot_be_fitted_is_refused_before_any_device_is_asked() -> None:
    features, labels, _ = separated(3)
    with pytest.raises(NubenchError, match=r"without events: \[3\]"):
        fit_probe(features, labels, classes=4, device="cuda")


def test_large_problems_take_the_faster_solver_and_keep_their_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels, classes = heavy_tails()
    usual = fit_probe(features, labels)
    monkeypatch.setattr("nubench.evaluation.probe.LARGE", features.size - 1)
    large = fit_probe(features, labels)
    np.testing.assert_array_equal(large.weights, fit_with_torch(features, labels, classes, device="cpu").weights)
    assert accuracy(usual, features, labels) == pytest.approx(accuracy(large, features, labels), abs=0.001)
