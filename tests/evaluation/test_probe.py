"""The probe is scikit-learn's logistic regression, and survives the embeddings that networks give."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nubench.errors import NubenchError
from nubench.evaluation.probe import fit_probe


def embeddings(classes: int, events: int = 600, size: int = 8, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(events) % classes
    centres = np.random.default_rng(99).normal(size=(classes, size))
    return (centres[labels] + rng.normal(size=(events, size))).astype(np.float32), labels


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_agreement_with_the_pipeline_of_scikit_learn(classes: int) -> None:
    train, labels = embeddings(classes)
    test, _ = embeddings(classes, seed=1)
    probe = fit_probe(train, labels)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-4, max_iter=3000))
    expected = pipeline.fit(train.astype(np.float64), labels).predict_log_proba(test.astype(np.float64))
    np.testing.assert_allclose(probe.log_probabilities(test), expected, atol=1e-6)
    assert probe.converged
    assert probe.weights.shape == (8, classes)


def test_the_scale_and_offset_of_the_embeddings_do_not_matter() -> None:
    train, labels = embeddings(3)
    shifted = (train * np.geomspace(1e-3, 1e3, 8) + 7).astype(np.float32)
    one = fit_probe(train, labels).log_probabilities(train)
    other = fit_probe(shifted, labels).log_probabilities(shifted)
    np.testing.assert_allclose(one, other, atol=2e-2)


def test_constant_features_are_safe_also_when_they_move_in_the_target() -> None:
    train, labels = embeddings(3)
    constant = np.column_stack([train, np.full(len(train), 0.1, np.float32), np.zeros(len(train), np.float32)])
    probe = fit_probe(constant, labels)
    np.testing.assert_allclose(
        probe.log_probabilities(constant), fit_probe(train, labels).log_probabilities(train), atol=1e-3
    )
    moved = constant.copy()
    moved[:, 8:] += 5
    np.testing.assert_allclose(probe.log_probabilities(moved), probe.log_probabilities(constant), atol=1e-6)


def test_collapsed_embeddings_give_the_frequencies_of_the_classes() -> None:
    labels = np.array([0, 0, 0, 1])
    probe = fit_probe(np.ones((4, 5), np.float32), labels)
    np.testing.assert_allclose(np.exp(probe.log_probabilities(np.ones((1, 5), np.float32))), [[0.75, 0.25]], atol=1e-3)


def test_stopping_early_is_recorded_and_not_warned(recwarn: pytest.WarningsRecorder) -> None:
    train, labels = embeddings(3)
    probe = fit_probe(train, labels, max_iterations=2)
    assert not probe.converged
    assert probe.iterations == 2
    assert not recwarn.list


def test_not_finite_embeddings_are_counted() -> None:
    train, labels = embeddings(3)
    broken = train.copy()
    broken[[5, 7, 9], 2] = np.nan, np.inf, -np.inf
    with pytest.raises(NubenchError, match="3 of 600 embeddings hold NaN or infinity, the first is event 5"):
        fit_probe(broken, labels)
    with pytest.raises(NubenchError, match="3 of 600"):
        fit_probe(train, labels).log_probabilities(broken)


def test_a_missing_class_is_named() -> None:
    train, labels = embeddings(3)
    with pytest.raises(NubenchError, match=r"without events: \[1\]"):
        fit_probe(train[labels != 1], labels[labels != 1])
    with pytest.raises(NubenchError, match=r"got 4 classes, without events: \[3\]"):
        fit_probe(train, labels, classes=4)
    with pytest.raises(NubenchError, match="at least 2 classes"):
        fit_probe(train, np.zeros(len(train), np.int64))


def test_shapes_are_checked() -> None:
    train, labels = embeddings(3)
    with pytest.raises(ValueError, match=r"labels must be \(600,\)"):
        fit_probe(train, labels[:-1])
    with pytest.raises(ValueError, match=r"embeddings must be \(E, D\)"):
        fit_probe(train[0], labels)
    with pytest.raises(ValueError, match=r"embeddings must be \(E, 8\)"):
        fit_probe(train, labels).log_probabilities(train[:, :4])
    with pytest.raises(ValueError, match=r"labels must be in \[0, 3\); got -1"):
        fit_probe(train, labels - 1, classes=3)
