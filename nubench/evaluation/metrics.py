"""Metrics as pure functions of the true classes and the predicted log-probabilities.

What depends only on which class was predicted is a function of the confusion matrix, so that a stored
matrix can be checked against the numbers stored beside it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from nubench.containers import Float64, Int64
from nubench.errors import PluginError

#: Log-probabilities below this count as this, so that one event given probability zero costs 100 nats and
#: not infinity (the floor of ``torch.nn.BCELoss``).
LOG_PROBABILITY_FLOOR: Final = -100.0

#: Metrics that every result holds; a plugin's metric has another name.
BUILT_IN: Final = frozenset(
    {"accuracy", "balanced-accuracy", "efficiency", "purity", "confusion", "nll", "calibration-error"}
)

#: How far the probabilities of an event may sum from 1; half-precision networks stay inside.
SUM_TOLERANCE: Final = 1e-2


@dataclass(frozen=True)
class Metric:
    """A further metric of one read-out at one shift point, as the hook ``register_metrics`` brings it.

    Attributes:
        name: lower case, digits, hyphens and dots, at most 64 characters; the key in result files.
        title: one line for people.
        higher_is_better: whether larger is better, as `nubench list metrics` says of it.
        compute: from the true classes (E,) int64 and the natural log-probabilities (E, C) float, both read-only, to
            one finite number.

    Raises:
        PluginError: when the name or the title is not accepted, or ``compute`` cannot be called.
    """

    name: str
    title: str
    higher_is_better: bool
    compute: Callable[[Int64, npt.NDArray[np.floating]], float]

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]+([.-][a-z0-9]+)*", self.name) or len(self.name) > 64:
            raise PluginError(
                f"metric {self.name!r}: a name holds lower-case letters, digits, and single hyphens or dots between "
                "them, at most 64 characters"
            )
        if self.name in BUILT_IN:
            raise PluginError(f"metric {self.name!r}: every result holds one of this name; choose another")
        if not self.title or "\n" in self.title:
            raise PluginError(f"metric {self.name!r}: title must be one line of text; got {self.title!r}")
        if not callable(self.compute):
            raise PluginError(f"metric {self.name!r}: compute must be a function; got {self.compute!r}")


def further_scores(
    further: Iterable[Metric], labels: Int64, log_probabilities: npt.NDArray[np.floating]
) -> dict[str, float]:
    """Compute the metrics of plugins.

    Args:
        further: their names are unique.
        labels: (E,) true classes.
        log_probabilities: (E, C) natural logarithms.

    Returns:
        The value of each by its name.

    Raises:
        ValueError: see :func:`check_predictions`.
        PluginError: when a metric raises or returns something else than a finite number; the message names it.

    Example:
        >>> error = Metric("error", "share of wrong events", False, lambda y, p: float((p.argmax(1) != y).mean()))
        >>> further_scores([error], np.array([0, 1]), np.log([[0.5, 0.5], [0.25, 0.75]]))
        {'error': 0.0}
    """
    check_predictions(labels, log_probabilities)
    true, scores = labels.view(), log_probabilities.view()
    true.flags.writeable = scores.flags.writeable = False
    return {metric.name: _computed(metric, true, scores) for metric in further}


def _computed(metric: Metric, labels: Int64, log_probabilities: npt.NDArray[np.floating]) -> float:
    try:
        found = metric.compute(labels, log_probabilities)
        value = float(found)
    except Exception as error:
        raise PluginError(f"metric {metric.name!r} failed: {type(error).__name__}: {error}") from error
    if not math.isfinite(value):
        raise PluginError(f"metric {metric.name!r} must return a finite number; got {found!r}")
    return value


def check_predictions(labels: Int64, log_probabilities: npt.NDArray[np.floating]) -> None:
    """Raise unless these are E >= 1 true classes and normalised log-probabilities of C >= 2 classes.

    Args:
        labels: (E,) integers in [0, C).
        log_probabilities: (E, C) natural logarithms; minus infinity is accepted.

    Raises:
        ValueError: naming the argument, what it was, and what would have been accepted.
    """
    if log_probabilities.ndim != 2 or log_probabilities.shape[1] < 2 or len(log_probabilities) == 0:
        raise ValueError(f"log_probabilities must be (E >= 1, C >= 2); got shape {log_probabilities.shape}")
    if labels.shape != log_probabilities.shape[:1]:
        raise ValueError(f"labels must be ({len(log_probabilities)},) as log_probabilities; got shape {labels.shape}")
    check_labels(labels, log_probabilities.shape[1])
    bad = np.logical_not((log_probabilities <= SUM_TOLERANCE).all(axis=1))
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"log_probabilities must be at most 0 and no NaN; {bad.sum()} of {len(bad)} events are not, "
            f"first event {row}: {log_probabilities[row].tolist()}"
        )
    sums = np.exp(log_probabilities.astype(np.float64)).sum(axis=1)
    bad = np.abs(sums - 1.0) > SUM_TOLERANCE
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"probabilities must sum to 1 in every event; in {bad.sum()} of {len(bad)} events they do not, "
            f"first event {row}: sum {sums[row]:.6g} (are these logits? apply log_softmax)"
        )


def check_labels(labels: npt.NDArray[np.integer], classes: int) -> None:
    """Raise ValueError unless ``labels`` are integers in [0, ``classes``)."""
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be integers; got dtype {labels.dtype}")
    outside = (labels < 0) | (labels >= classes)
    if outside.any():
        raise ValueError(f"labels must be in [0, {classes}); got {int(labels[outside][0])}")


def confusion_matrix(labels: Int64, log_probabilities: npt.NDArray[np.floating]) -> Int64:
    """Count events by true and predicted class; of equally probable classes the first is predicted.

    Args:
        labels: (E,) true classes.
        log_probabilities: (E, C) natural logarithms.

    Returns:
        (C, C) int64; rows are true, columns predicted classes.

    Raises:
        ValueError: see :func:`check_predictions`.

    Example:
        >>> confusion_matrix(np.array([0, 0, 1]), np.log([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]]))
        array([[1, 1],
               [0, 1]])
    """
    check_predictions(labels, log_probabilities)
    classes = log_probabilities.shape[1]
    cells = labels.astype(np.int64) * classes + log_probabilities.argmax(axis=1)
    return np.bincount(cells, minlength=classes * classes).astype(np.int64).reshape(classes, classes)


def accuracy(confusion: Int64) -> float:
    """Return the fraction of events whose class was predicted.

    Args:
        confusion: (C, C) counts, rows true, at least one event.

    Example:
        >>> accuracy(np.array([[3, 1], [0, 4]]))
        0.875
    """
    return float(np.trace(confusion) / confusion.sum())


def efficiency(confusion: Int64) -> Float64:
    """Return the fraction of each true class that was found (recall).

    Args:
        confusion: (C, C) counts, rows true.

    Returns:
        (C,) in [0, 1]; NaN for a class without events.

    Example:
        >>> efficiency(np.array([[3, 1], [0, 0]]))
        array([0.75,  nan])
    """
    return _ratio(np.diag(confusion), confusion.sum(axis=1))


def purity(confusion: Int64) -> Float64:
    """Return the fraction of each predicted class that truly is of it (precision).

    Args:
        confusion: (C, C) counts, rows true.

    Returns:
        (C,) in [0, 1]; NaN for a class that was never predicted.

    Example:
        >>> purity(np.array([[3, 0], [1, 0]]))
        array([0.75,  nan])
    """
    return _ratio(np.diag(confusion), confusion.sum(axis=0))


def balanced_accuracy(confusion: Int64) -> float:
    """Return the mean efficiency of the classes that have events.

    Args:
        confusion: (C, C) counts, rows true, at least one event.

    Example:
        >>> balanced_accuracy(np.array([[9, 0], [1, 1]]))
        0.75
    """
    return float(np.nanmean(efficiency(confusion)))


def negative_log_likelihood(labels: Int64, log_probabilities: npt.NDArray[np.floating]) -> float:
    """Return the mean of -log p(true class), in nats, each event at most ``-LOG_PROBABILITY_FLOOR``.

    Args:
        labels: (E,) true classes.
        log_probabilities: (E, C) natural logarithms.

    Raises:
        ValueError: see :func:`check_predictions`.

    Example:
        >>> round(negative_log_likelihood(np.array([0, 1]), np.log([[0.5, 0.5], [0.75, 0.25]])), 4)
        1.0397
    """
    check_predictions(labels, log_probabilities)
    of_true = log_probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.clip(of_true, LOG_PROBABILITY_FLOOR, 0.0).mean())


def calibration_error(labels: Int64, log_probabilities: npt.NDArray[np.floating], bins: int = 15) -> float:
    """Return the expected calibration error of the predicted class, with bins of equal numbers of events.

    Events are binned by the probability of their predicted class; the error is the mean over events of
    |accuracy - mean probability| of their bin. Events of equal probability share a bin, so the order of the
    events does not matter.

    Args:
        labels: (E,) true classes.
        log_probabilities: (E, C) natural logarithms.
        bins: number of bins; bins may stay empty when there are fewer events or many ties.

    Returns:
        The error in [0, 1]; 0 is calibrated.

    Raises:
        ValueError: see :func:`check_predictions`; also for ``bins`` below 1.

    Source:
        Naeini, Cooper and Hauskrecht, AAAI 2015; adaptive bins: Nixon et al., arXiv 1904.01685.

    Example:
        >>> round(calibration_error(np.array([0, 0, 1, 1]), np.log([[0.75, 0.25]] * 4)), 4)
        0.25
    """
    check_predictions(labels, log_probabilities)
    if bins < 1:
        raise ValueError(f"bins must be at least 1; got {bins}")
    confidence = np.exp(log_probabilities.astype(np.float64)).max(axis=1)
    correct = log_probabilities.argmax(axis=1) == labels
    _, level, counts = np.unique(confidence, return_inverse=True, return_counts=True)
    # The middle of the ranks that the events of one confidence take together.
    middle = np.cumsum(counts) - counts / 2
    bin_of_event = np.floor(middle * bins / len(labels)).astype(np.int64)[level]
    gap = np.bincount(bin_of_event, weights=confidence - correct, minlength=bins)
    return float(np.abs(gap).sum() / len(labels))


def _ratio(part: Int64, whole: Int64) -> Float64:
    result = np.full(len(whole), np.nan)
    np.divide(part, whole, out=result, where=whole > 0)
    return result
