"""Scores from stored predictions: the one function behind a run's own scores and behind scoring them again.

A result is made from the float32 numbers that its file of predictions holds, so it can be computed again from that
file and the labels of the data set, by anybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from nubench.containers import Bool, Int64
from nubench.errors import DataError
from nubench.evaluation.metrics import Metric, further_scores
from nubench.evaluation.predictions import PointPredictions
from nubench.results.fields import ReadoutName
from nubench.results.scores import Readouts, Scores


@dataclass(frozen=True, eq=False)
class TestEvents:
    """The different test events of all points of a shift, with their labels.

    Attributes:
        event_id: (U,) int64, ascending: event u of a result's bits is the u-th.
        labels: (U,) int64 true classes.
    """

    __test__ = False  # pytest: the name is the protocol's word, not a class of tests

    event_id: Int64
    labels: Int64

    @classmethod
    def union(cls, parts: Iterable[tuple[Int64, Int64]]) -> Self:
        """Join the events of several points.

        Args:
            parts: for each point the ids (E,) and the labels (E,) of its events.

        Raises:
            DataError: when an event has different labels at different points.

        Example:
            >>> TestEvents.union([(np.array([5, 3]), np.array([0, 1])), (np.array([5, 7]), np.array([0, 2]))]).labels
            array([1, 0, 2])
        """
        parts = list(parts)
        ids = np.concatenate([part[0] for part in parts])
        labels = np.concatenate([part[1] for part in parts])
        event_id, first, index = np.unique(ids, return_index=True, return_inverse=True)
        wrong = np.flatnonzero(labels[first][index] != labels)
        if len(wrong):
            event = int(ids[wrong[0]])
            found = sorted(set(labels[ids == event].tolist()))
            raise DataError(f"test event {event} has different labels at different points: {found}")
        return cls(event_id.astype(np.int64), labels[first].astype(np.int64))

    def __len__(self) -> int:
        return len(self.event_id)

    def index_of(self, event_id: Int64) -> Int64:
        """Return which of the U events these are, (E,).

        Raises:
            DataError: when one of them is none of the test events.
        """
        index = np.searchsorted(self.event_id, event_id)
        unknown = self.event_id[np.minimum(index, len(self) - 1)] != event_id
        if unknown.any():
            raise DataError(
                f"{int(unknown.sum())} predicted events are no test events, the first has the id "
                f"{int(event_id[unknown][0])}"
            )
        return index.astype(np.int64)

    def present(self, event_id: Int64) -> Bool:
        """Return which of the U events are among these, (U,).

        Raises:
            DataError: when one of them is none of the test events.
        """
        present = np.zeros(len(self), dtype=bool)
        present[self.index_of(event_id)] = True
        return present


def readouts_from(
    predictions: PointPredictions,
    test: TestEvents,
    further: Sequence[Metric] = (),
    *,
    probe_converged: bool | None = None,
) -> Readouts:
    """Score every read-out at one point.

    Events are scored in the order of their ids, so that the last bit of a sum does not depend on the order in which
    they came.

    Args:
        predictions: of the E events of the point.
        test: all U test events, those of the point among them.
        further: metrics of plugins.
        probe_converged: whether the solver of the probe reached its tolerance; None without a probe.

    Raises:
        DataError: when a predicted event is none of the test events.
        PluginError: when a metric of a plugin fails or returns something that is no finite number.
        ValueError: when a label is not in [0, C).
    """
    ordered = predictions.ordered()
    index = test.index_of(ordered.event_id)
    labels = test.labels[index]
    scores: dict[ReadoutName, Scores] = {}
    for name, rows in ordered.log_probabilities.items():
        measured = Scores.measure(labels, rows, index, len(test))
        scores[name] = measured.model_copy(update={"further": further_scores(further, labels, rows)})
    return Readouts(head=scores.get("head"), probe=scores.get("probe"), probe_converged=probe_converged)
