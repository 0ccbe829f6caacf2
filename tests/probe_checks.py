"""Problems for the probe, easy and hard, and the comparison with scikit-learn, on any device."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from nubench.evaluation.probe import Probe, fit_with_torch

Problem = tuple[np.ndarray, np.ndarray, int]


def separated(classes: int, events: int = 1500, size: int = 20, seed: int = 0) -> Problem:
    """Normal clusters that overlap: features (n, D), labels (n,), number of classes."""
    rng = np.random.default_rng(seed)
    labels = np.arange(events) % classes
    centres = 0.6 * np.random.default_rng(99).normal(size=(classes, size))
    return (centres[labels] + rng.normal(size=(events, size))).astype(np.float32), labels, classes


def collinear() -> Problem:
    """Features that are copies, nearly copies and sums of others."""
    features, labels, classes = separated(5)
    rng = np.random.default_rng(1)
    nearly = features[:, :5] + 1e-4 * rng.normal(size=(len(features), 5))
    return (
        np.column_stack([features, nearly, features[:, :3], features.sum(axis=1)]).astype(np.float32),
        labels,
        classes,
    )


def constant() -> Problem:
    """Some features are the same for every event."""
    features, labels, classes = separated(3)
    ones = np.full((len(features), 2), 0.1, np.float32)
    return np.column_stack([features, ones, np.zeros(len(features), np.float32)]), labels, classes


def unbalanced() -> Problem:
    """Classes of 100 to 1 events."""
    features, labels, classes = separated(5, events=4000)
    kept = np.random.default_rng(2).random(len(labels)) < np.array([1.0, 0.05, 0.03, 0.02, 0.01])[labels]
    return features[kept], labels[kept], classes


def separable() -> Problem:
    """One feature tells every class apart."""
    features, labels, classes = separated(4)
    features[:, 0] += 30 * labels
    return features, labels, classes


def fewer_events_than_features() -> Problem:
    """30 events of 100 features."""
    return separated(3, events=30, size=100)


def heavy_tails() -> Problem:
    """Features spread over orders of magnitude."""
    features, labels, classes = separated(5)
    return np.exp(2 * features), labels, classes


HARD: list[Callable[[], Problem]] = [
    collinear,
    constant,
    unbalanced,
    separable,
    fewer_events_than_features,
    heavy_tails,
]


def check_against_scikit_learn(problem: Problem, device: str) -> None:
    """Coefficients within 1e-3 and accuracy within 0.1% of a tightly converged scikit-learn."""
    features, labels, classes = problem
    probe = fit_with_torch(features, labels, classes, device=device)
    assert probe.converged
    scaler = StandardScaler().fit(features.astype(np.float64))
    standard = scaler.transform(features.astype(np.float64))
    # The default tolerance of scikit-learn stops it short of the optimum by more than is compared here.
    model = LogisticRegression(C=1.0, tol=1e-10, max_iter=20_000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(standard, labels)
    np.testing.assert_allclose(probe.mean, scaler.mean_, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(probe.scale, scaler.scale_, rtol=1e-9)
    weights, bias = (probe.weights.T, probe.bias) if classes > 2 else (probe.weights.T[1:], probe.bias[1:])
    np.testing.assert_allclose(weights, model.coef_, atol=1e-3)
    np.testing.assert_allclose(bias, model.intercept_, atol=1e-3)
    np.testing.assert_allclose(probe.log_probabilities(features), model.predict_log_proba(standard), atol=1e-2)
    assert accuracy(probe, features, labels) == pytest.approx(model.score(standard, labels), abs=0.001)


def accuracy(probe: Probe, features: np.ndarray, labels: np.ndarray) -> float:
    """The share of right answers."""
    return float(np.mean(probe.log_probabilities(features).argmax(axis=1) == labels))
