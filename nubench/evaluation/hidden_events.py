"""What a run needs of the labels that no ranked method sees: those of the target for an oracle, those of the test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from nubench.containers import Int64
from nubench.datasets.dataset import Dataset
from nubench.evaluation.handout import Handout
from nubench.evaluation.labels import load_labels
from nubench.evaluation.rescoring import TestEvents
from nubench.results.fields import TargetAccess
from nubench.shifts import ShiftPoint


@dataclass(frozen=True)
class KnownTest:
    """The test events of a run with their labels; read when all trainings of the run are over.

    Attributes:
        event_id: (E,) ids at each point, in the order of the file.
        events: those of all points together.
    """

    event_id: dict[str, Int64]
    events: TestEvents

    @staticmethod
    def load(dataset: Dataset, shift: str, points: Sequence[ShiftPoint]) -> KnownTest:
        """Read ids and labels at some points.

        Raises:
            DataError: when a file is not the one that was built, or an event has two labels.
        """
        known = {point.name: load_labels(dataset, "test", shift, point) for point in points}
        ids = {name: labels.truth.event_id for name, labels in known.items()}
        return KnownTest(ids, TestEvents.union((ids[name], known[name].labels) for name in known))


def with_target(source: Handout, dataset: Dataset, shift: str, point: ShiftPoint, access: TargetAccess) -> Handout:
    """Add the events of ``adapt`` at a point to the source's, with their labels for an oracle alone.

    Args:
        source: the source events.
        dataset, shift, point: where the target is.
        access: what the method declares; for ``none`` the source's events stay alone.

    Raises:
        DataError: when a file is not the one that was built.
    """
    if access == "none":
        return source
    labels = load_labels(dataset, "adapt", shift, point).labels if access == "labelled" else None
    return replace(source, target=dataset.events("adapt", shift, point), target_labels=labels)
