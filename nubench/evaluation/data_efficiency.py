"""How many labels a method needs: the probe fitted with 10, 100, 1,000, ... labels a class on frozen embeddings.

The network is the one that the run trained; what varies is the number of labelled source events that the probe is
given. For a network trained with labels the curve therefore says how far its embeddings have the classes apart, not
what it would have learnt from fewer labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Final

import numpy as np

from nubench.containers import Float32, Int64
from nubench.evaluation.drawing import Stream
from nubench.evaluation.metrics import check_labels
from nubench.evaluation.probe import fit_probe

#: Random choices of the labelled events, unless told otherwise.
REPEATS: Final = 5


@dataclass(frozen=True)
class Labelled:
    """Embeddings with true classes.

    Attributes:
        rows: (E, D) float32.
        labels: (E,) int64.

    Raises:
        ValueError: when the shapes do not fit.
    """

    rows: Float32
    labels: Int64

    def __post_init__(self) -> None:
        if self.rows.ndim != 2 or self.labels.shape != self.rows.shape[:1] or len(self.labels) == 0:
            raise ValueError(f"rows must be (E >= 1, D) and labels (E,); got {self.rows.shape} and {self.labels.shape}")


@dataclass(frozen=True)
class Network:
    """What one frozen network made of the events of a run.

    Attributes:
        train: source events that labels may be taken from.
        tests: test events by shift point.
    """

    train: Labelled
    tests: Mapping[str, Labelled]


@dataclass(frozen=True)
class CurvePoint:
    """The accuracies of probes that were given one number of labels.

    Attributes:
        labels_a_class: of each class; a class that has fewer gives all it has.
        events: labelled events that the probe was fitted on.
        accuracies: by the name of the test, (R,) one of each random choice; a single one where all labels are used.
        converged: whether every solver reached its tolerance.
    """

    labels_a_class: int
    events: int
    accuracies: Mapping[str, tuple[float, ...]]
    converged: bool

    def mean_over(self, names: Sequence[str]) -> tuple[float, ...]:
        """The mean accuracy over some of the tests, (R,) one of each random choice."""
        return tuple(mean(of_choice) for of_choice in zip(*(self.accuracies[name] for name in names), strict=True))


def label_counts(labels: Int64) -> tuple[int, ...]:
    """Return 10, 100, 1,000, ... as far as there are labels, and the size of the largest class, which takes all.

    Args:
        labels: (E,) of the events that may be given to the probe.

    Example:
        >>> label_counts(np.repeat([0, 1], [240, 60]))
        (10, 100, 240)
    """
    most = int(np.bincount(labels).max())
    powers = [10**exponent for exponent in range(1, len(str(most)) + 1) if 10**exponent < most]
    return (*powers, most)


def label_curve(
    train: Labelled,
    tests: Mapping[str, Labelled],
    counts: Sequence[int] | None = None,
    *,
    repeats: int = REPEATS,
    seed: int = 0,
    device: str = "cpu",
) -> tuple[CurvePoint, ...]:
    """Fit the probe with growing numbers of labels, and score it.

    In each repeat the classes are shuffled once and the first labels of each are taken, so that more labels are always
    added to fewer. The choice follows from ``seed`` and the labels alone: methods are given the same events.

    Args:
        train: source events that labels may be taken from, the same order for every method.
        tests: by name.
        counts: labels a class, at least 1; by default :func:`label_counts`.
        repeats: random choices of the labelled events.
        seed: of the choices.
        device: of :func:`nubench.evaluation.probe.fit_probe`.

    Returns:
        One point for each number, in ascending order.

    Raises:
        ValueError: when a number of labels or of repeats is below 1, there is no test, or shapes do not fit.
        NubenchError: when the probe cannot be fitted.
    """
    counts = label_counts(train.labels) if counts is None else tuple(sorted(set(counts)))
    if not counts or counts[0] < 1 or repeats < 1:
        raise ValueError(f"numbers of labels and repeats must be at least 1; got {list(counts)} and {repeats}")
    if not tests:
        raise ValueError("tests must hold at least one set of events")
    classes = int(train.labels.max()) + 1
    for test in tests.values():
        check_labels(test.labels, classes)
    orders = [_shuffled_classes(train.labels, classes, f"{seed} {repeat}") for repeat in range(repeats)]
    return tuple(_point(train, tests, count, orders, classes, device) for count in counts)


def joint_curve(
    networks: Sequence[Network],
    counts: Sequence[int] | None = None,
    *,
    repeats: int = REPEATS,
    seed: int = 0,
    device: str = "cpu",
) -> tuple[CurvePoint, ...]:
    """Fit the probe with growing numbers of labels on the networks of one run.

    Args:
        networks: one, or one for each target; no two of them are tested under the same name.
        counts, repeats, seed, device: of :func:`label_curve`.

    Returns:
        As :func:`label_curve`, with the tests of all networks.

    Raises:
        ValueError: when there is no network, or as :func:`label_curve`.
        NubenchError: when the probe cannot be fitted.
    """
    if not networks:
        raise ValueError("networks must hold at least one")
    curves = [
        label_curve(network.train, network.tests, counts, repeats=repeats, seed=seed, device=device)
        for network in networks
    ]
    return tuple(
        CurvePoint(
            points[0].labels_a_class,
            points[0].events,
            {name: accuracies for point in points for name, accuracies in point.accuracies.items()},
            all(point.converged for point in points),
        )
        for points in zip(*curves, strict=True)
    )


def _point(
    train: Labelled,
    tests: Mapping[str, Labelled],
    count: int,
    orders: Sequence[Sequence[Int64]],
    classes: int,
    device: str,
) -> CurvePoint:
    if count >= max(len(of_class) for of_class in orders[0]):
        orders = orders[:1]  # every choice takes all
    accuracies: dict[str, list[float]] = {name: [] for name in tests}
    converged, chosen = True, np.zeros(0, np.int64)
    for order in orders:
        # In the order of the data, so that all labels give the very probe that a run is scored by.
        chosen = np.sort(np.concatenate([of_class[:count] for of_class in order]))
        probe = fit_probe(train.rows[chosen], train.labels[chosen], classes, device=device)
        converged &= probe.converged
        for name, test in tests.items():
            right = probe.log_probabilities(test.rows).argmax(axis=1) == test.labels
            accuracies[name].append(float(right.mean()))
    return CurvePoint(count, len(chosen), {name: tuple(found) for name, found in accuracies.items()}, converged)


def _shuffled_classes(labels: Int64, classes: int, name: str) -> list[Int64]:
    """The events of each class in a random order."""
    found = []
    for label in range(classes):
        events = np.flatnonzero(labels == label)
        found.append(events[Stream(f"labels {name} {label}").order(len(events))])
    return found
