"""The scores in a result file, which must agree with the confusion matrix beside them."""

from __future__ import annotations

import math
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
from pydantic import FiniteFloat, model_validator

from nubench.containers import Int64
from nubench.evaluation import metrics
from nubench.results.bits import pack
from nubench.results.fields import Amount, Bits, Count, Fraction, Name, ReadoutName, Record

#: How far a stored number may be from the same number computed from its confusion matrix.
TOLERANCE: Final = 1e-9


class Scores(Record):
    """Metrics of one read-out at one shift point; see :mod:`nubench.evaluation.metrics`.

    Attributes:
        efficiency: (C,) fractions, None for a class without events.
        purity: (C,) fractions, None for a class that was never predicted.
        confusion: (C, C) counts, rows true.
        nll: mean negative log-likelihood, nats.
        right: which of the U test events were judged right; None in version 1.
        further: metrics that plugins bring, by name.
    """

    accuracy: Fraction
    balanced_accuracy: Fraction
    efficiency: tuple[Fraction | None, ...]
    purity: tuple[Fraction | None, ...]
    confusion: tuple[tuple[Count, ...], ...]
    nll: Amount
    calibration_error: Fraction
    right: Bits | None = None
    further: dict[Name, FiniteFloat] = {}

    @classmethod
    def measure(
        cls,
        labels: Int64,
        log_probabilities: npt.NDArray[np.floating],
        event: Int64 | None = None,
        test_events: int | None = None,
    ) -> Self:
        """Compute every metric.

        Args:
            labels: (E,) true classes.
            log_probabilities: (E, C) natural logarithms, normalised.
            event: (E,) which of the U test events each is, for ``right``; without it, ``right`` is None.
            test_events: U.

        Raises:
            ValueError: see :func:`nubench.evaluation.metrics.check_predictions`.

        Example:
            >>> Scores.measure(np.array([0, 1]), np.log([[0.9, 0.1], [0.6, 0.4]])).accuracy
            0.5
        """
        right = np.zeros(test_events or 0, dtype=bool)
        if event is not None:
            right[event[log_probabilities.argmax(axis=1) == labels]] = True
        return cls(
            **_from_confusion(metrics.confusion_matrix(labels, log_probabilities)),
            nll=metrics.negative_log_likelihood(labels, log_probabilities),
            calibration_error=metrics.calibration_error(labels, log_probabilities),
            right=None if event is None or test_events is None else pack(right),
        )

    @model_validator(mode="after")
    def _agrees_with_its_confusion_matrix(self) -> Self:
        size = len(self.confusion)
        if size < 2 or any(len(row) != size for row in self.confusion):
            raise ValueError("confusion must be square with at least 2 classes")
        if not any(map(sum, self.confusion)):
            raise ValueError("confusion must count at least one event")
        for name, value in _from_confusion(np.array(self.confusion, dtype=np.int64)).items():
            if name != "confusion" and not _agree(value, getattr(self, name)):
                raise ValueError(f"{name} {getattr(self, name)} contradicts the confusion matrix, which gives {value}")
        return self


class Readouts(Record):
    """The scores of each read-out; None for one that the method does not have.

    ``probe_converged`` is False when the solver of the probe gave up; None without a probe, and in version 1.
    """

    head: Scores | None = None
    probe: Scores | None = None
    probe_converged: bool | None = None

    def get(self, name: ReadoutName) -> Scores | None:
        """Return the scores of a read-out by its name."""
        return self.head if name == "head" else self.probe


def _from_confusion(confusion: Int64) -> dict[str, Any]:
    return {
        "accuracy": metrics.accuracy(confusion),
        "balanced_accuracy": metrics.balanced_accuracy(confusion),
        "efficiency": _defined(metrics.efficiency(confusion)),
        "purity": _defined(metrics.purity(confusion)),
        "confusion": tuple(map(tuple, confusion.tolist())),
    }


def _defined(values: npt.NDArray[np.float64]) -> tuple[float | None, ...]:
    return tuple(None if math.isnan(value) else value for value in values.tolist())


def _agree(expected: Any, found: Any) -> bool:
    if isinstance(expected, tuple):
        return len(expected) == len(found) and all(map(_agree, expected, found))
    if expected is None or found is None:
        return expected is found
    return bool(abs(expected - found) <= TOLERANCE)
