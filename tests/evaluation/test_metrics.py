"""Metrics agree with scikit-learn and torchmetrics, with numbers worked out by hand, and with their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference
from torchmetrics.functional import classification as torch_reference
from torchmetrics.functional.text import perplexity

from nubench.errors import PluginError
from nubench.evaluation import metrics
from nubench.evaluation.metrics import Metric, further_scores


def predictions(seed: int, events: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=events)
    logits = rng.normal(size=(events, classes)) + 1.5 * np.eye(classes)[labels]
    return labels, logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 200), st.integers(2, 6))
def test_agreement_with_scikit_learn(seed: int, events: int, classes: int) -> None:
    labels, log_probabilities = predictions(seed, events, classes)
    predicted = log_probabilities.argmax(axis=1)
    every = list(range(classes))
    confusion = metrics.confusion_matrix(labels, log_probabilities)
    assert confusion.dtype == np.int64
    np.testing.assert_array_equal(confusion, reference.confusion_matrix(labels, predicted, labels=every))
    assert metrics.accuracy(confusion) == pytest.approx(reference.accuracy_score(labels, predicted))
    options = {"labels": every, "average": None, "zero_division": np.nan}
    np.testing.assert_allclose(metrics.efficiency(confusion), reference.recall_score(labels, predicted, **options))
    np.testing.assert_allclose(metrics.purity(confusion), reference.precision_score(labels, predicted, **options))
    present = reference.recall_score(labels, predicted, labels=np.unique(labels), average="macro", zero_division=0)
    assert metrics.balanced_accuracy(confusion) == pytest.approx(present)
    nll = reference.log_loss(labels, np.exp(log_probabilities), labels=every)
    assert metrics.negative_log_likelihood(labels, log_probabilities) == pytest.approx(nll)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.integers(1, 200), st.integers(2, 6))
def test_agreement_with_torchmetrics(seed: int, events: int, classes: int) -> None:
    labels, log_probabilities = predictions(seed, events, classes)
    confusion = metrics.confusion_matrix(labels, log_probabilities)
    of_class = {"num_classes": classes, "average": "none"}
    given_to = torch.as_tensor(log_probabilities).exp(), torch.as_tensor(labels)
    found = torch_reference.multiclass_confusion_matrix(*given_to, num_classes=classes)
    np.testing.assert_array_equal(confusion, found)
    recall, precision = (
        function(*given_to, **of_class).numpy()
        for function in (torch_reference.multiclass_recall, torch_reference.multiclass_precision)
    )
    # torchmetrics counts a class without events as 0; here it has no efficiency.
    np.testing.assert_allclose(np.nan_to_num(metrics.efficiency(confusion)), recall, atol=1e-6)
    np.testing.assert_allclose(np.nan_to_num(metrics.purity(confusion)), precision, atol=1e-6)
    if len(np.unique(labels)) == classes:
        balanced = torch_reference.multiclass_recall(*given_to, num_classes=classes, average="macro")
        assert metrics.balanced_accuracy(confusion) == pytest.approx(float(balanced), abs=1e-6)
    surprise = perplexity(torch.as_tensor(log_probabilities)[None], torch.as_tensor(labels)[None])
    assert metrics.negative_log_likelihood(labels, log_probabilities) == pytest.approx(float(surprise.log()), abs=1e-6)
    overall = torch_reference.multiclass_accuracy(*given_to, num_classes=classes, average="micro")
    assert metrics.accuracy(confusion) == pytest.approx(float(overall), abs=1e-6)


@pytest.mark.parametrize("events_a_bin", [1, 7, 40])
def test_calibration_error_agrees_with_torchmetrics_where_both_kinds_of_bin_are_the_same(events_a_bin: int) -> None:
    # torchmetrics has bins of equal width; with as many events in each of the five above 1/2, they hold equal numbers.
    rng = np.random.default_rng(events_a_bin)
    confident = np.concatenate([rng.uniform(low + 0.01, low + 0.09, events_a_bin) for low in (0.5, 0.6, 0.7, 0.8, 0.9)])
    probabilities = np.column_stack([confident, 1 - confident])
    labels = rng.integers(2, size=len(confident))
    expected = torch_reference.multiclass_calibration_error(
        torch.as_tensor(probabilities), torch.as_tensor(labels), num_classes=2, n_bins=10
    )
    found = metrics.calibration_error(labels, np.log(probabilities), bins=5)
    assert found == pytest.approx(float(expected), abs=1e-6)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 100), st.integers(1, 30), st.integers(1, 3))
def test_calibration_error_ignores_the_order_of_events_also_with_ties(
    seed: int, events: int, bins: int, decimals: int
) -> None:
    labels, log_probabilities = predictions(seed, events, 3)
    probabilities = np.round(np.exp(log_probabilities), decimals) + 1e-3
    log_probabilities = np.log(probabilities / probabilities.sum(axis=1, keepdims=True))
    error = metrics.calibration_error(labels, log_probabilities, bins)
    order = np.random.default_rng(seed).permutation(events)
    assert 0 <= error <= 1
    assert metrics.calibration_error(labels[order], log_probabilities[order], bins) == pytest.approx(error, abs=1e-12)


def test_calibration_error_by_hand() -> None:
    # Two bins of two events: confidences .6, .7 (one right) and .8, .9 (both right).
    confident = np.array([0.6, 0.7, 0.8, 0.9])
    log_probabilities = np.log(np.column_stack([confident, 1 - confident]))
    labels = np.array([0, 1, 0, 0])
    expected = 0.5 * abs(0.65 - 0.5) + 0.5 * abs(0.85 - 1.0)
    assert metrics.calibration_error(labels, log_probabilities, bins=2) == pytest.approx(expected)
    assert metrics.calibration_error(labels, log_probabilities, bins=1) == pytest.approx(abs(0.75 - 0.75))


def test_a_calibrated_classifier_has_a_small_error_and_an_overconfident_one_a_large() -> None:
    rng = np.random.default_rng(0)
    right = rng.uniform(0.5, 1, size=40_000)
    labels = (rng.random(40_000) > right).astype(np.int64)
    calibrated = np.log(np.column_stack([right, 1 - right]))
    assert metrics.calibration_error(labels, calibrated) < 0.02
    sure = np.log(np.tile([0.999, 0.001], (40_000, 1)))
    assert metrics.calibration_error(labels, sure) == pytest.approx(0.249, abs=0.01)


def test_an_event_of_probability_zero_costs_the_floor() -> None:
    with np.errstate(divide="ignore"):
        log_probabilities = np.log([[1.0, 0.0], [1.0, 0.0]])
    assert metrics.negative_log_likelihood(np.array([1, 0]), log_probabilities) == 50.0


def test_single_precision_is_accepted() -> None:
    labels, log_probabilities = predictions(0, 1000, 5)
    single = log_probabilities.astype(np.float32)
    exact = metrics.negative_log_likelihood(labels, log_probabilities)
    assert metrics.negative_log_likelihood(labels, single) == pytest.approx(exact, rel=1e-6)


FINE = np.log(np.full((2, 4), 0.25))


@pytest.mark.parametrize(
    ("labels", "log_probabilities", "words"),
    [
        (np.array([0]), FINE, r"labels must be \(2,\).*got shape \(1,\)"),
        (np.array([0, 4]), FINE, r"labels must be in \[0, 4\); got 4"),
        (np.array([-1, 0]), FINE, "got -1"),
        (np.array([0.0, 1.0]), FINE, "integers; got dtype float64"),
        (np.array([], int), FINE[:0], r"shape \(0, 4\)"),
        (np.array([0, 0]), FINE[:, :1], r"shape \(2, 1\)"),
        (np.array([0, 0]), np.where([[False], [True]], np.nan, FINE), "1 of 2 events.*first event 1"),
        (np.array([0, 0]), np.full((2, 4), -np.inf), "sum 0 "),
        (np.array([0, 0]), np.full((2, 4), -5.0), "are these logits"),
        (np.array([0, 0]), np.full((2, 4), 5.0), "at most 0"),
    ],
)
def test_what_cannot_be_scored_is_named(labels: np.ndarray, log_probabilities: np.ndarray, words: str) -> None:
    for function in (metrics.confusion_matrix, metrics.negative_log_likelihood, metrics.calibration_error):
        with pytest.raises(ValueError, match=words):
            function(labels, log_probabilities)


def test_bins_must_be_positive() -> None:
    with pytest.raises(ValueError, match="bins must be at least 1; got 0"):
        metrics.calibration_error(np.array([0, 0]), FINE, bins=0)


def brier(labels: np.ndarray, log_probabilities: np.ndarray) -> float:
    """Mean squared distance of the probabilities from certainty of the true class."""
    return float(np.square(np.exp(log_probabilities) - np.eye(log_probabilities.shape[1])[labels]).sum(axis=1).mean())


def test_metrics_of_plugins_are_computed_by_name() -> None:
    labels, log_probabilities = predictions(0, 200, 3)
    found = further_scores([Metric("brier", "Brier score", False, brier)], labels, log_probabilities)
    of_class = [np.mean((np.exp(log_probabilities)[:, k] - (labels == k)) ** 2) for k in range(3)]
    assert found == {"brier": pytest.approx(sum(of_class))}
    assert further_scores([], labels, log_probabilities) == {}


def spoil(labels: np.ndarray, log_probabilities: np.ndarray) -> float:
    """Tries to change what it is given."""
    labels[:] = 0
    return 0.0


@pytest.mark.parametrize(
    ("compute", "words"),
    [
        (lambda labels, rows: float("nan"), "metric 'mine' must return a finite number; got nan"),
        (lambda labels, rows: "good", "metric 'mine' failed: ValueError: could not convert"),
        (lambda labels, rows: rows, "metric 'mine' failed: TypeError"),
        (lambda labels, rows: 1 / 0, "metric 'mine' failed: ZeroDivisionError"),
        (spoil, "metric 'mine' failed: ValueError: assignment destination is read-only"),
    ],
)
def test_a_metric_that_breaks_its_contract_is_named(compute: object, words: str) -> None:
    labels, log_probabilities = predictions(0, 20, 3)
    before = labels.copy()
    with pytest.raises(PluginError, match=words):
        further_scores([Metric("mine", "words", True, compute)], labels, log_probabilities)
    np.testing.assert_array_equal(labels, before)
    labels[0] = 0  # what was read-only for the plugin is not for its owner


@pytest.mark.parametrize(
    ("name", "title", "compute", "words"),
    [
        ("Brier Score", "words", brier, "'Brier Score': a name holds lower-case letters"),
        ("a" * 65, "words", brier, "at most 64 characters"),
        ("-", "words", brier, "a name holds"),
        ("accuracy", "words", brier, "'accuracy': every result holds one of this name"),
        ("brier", "", brier, "title must be one line of text; got ''"),
        ("brier", "two\nlines", brier, "one line"),
        ("brier", "words", 3, "compute must be a function; got 3"),
    ],
)
def test_a_metric_says_what_it_is(name: str, title: str, compute: object, words: str) -> None:
    with pytest.raises(PluginError, match=words):
        Metric(name, title, True, compute)
