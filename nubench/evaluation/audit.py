"""Looking for leaks in a data set: the same particle in two splits, classes that can be guessed from metadata.

Metadata are what stands beside the measured charge: the position of an event in its file, its id, the split it is in,
the place at which it is handed to a model. A small classifier is given them and nothing else, and must do no better
than naming the most frequent class. The smallest charge of an event is looked at too. It is measured and tells
something of the particle, so it may be above chance, but not far.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree
from scipy.stats import binom
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from nubench.containers import Events, Float64, Int64, LabelledEvents, Primaries
from nubench.datasets.cards import SPLITS, Split
from nubench.datasets.dataset import FIRST_EVENT_ID, HIDDEN_SPLITS, Dataset
from nubench.errors import DataError
from nubench.evaluation.handout import KEY_SIZE, keyed_order
from nubench.evaluation.labels import load_labelled, load_labels
from nubench.shifts import NOMINAL, Shift, ShiftPoint

#: A classifier this unlikely to be right so often by chance has found something. Some ten are tried for a data set, and
#: two for each file at a point that holds its events in an order of its own.
SIGNIFICANCE: Final = 1e-4

#: The smallest charge may lead so far from chance, 0, to certainty, 1. A threshold or a pedestal that hangs on the
#: class would let it name the classes one by one.
MOST_FROM_CHARGE: Final = 0.25

#: Two particles are the same when no quantity differs by more than this, in units of its spread. In a data set of a
#: million independent particles not one pair is expected: six independent quantities give 1e12 (1e-3)^6 pairs.
NEAR: Final = 1e-3

#: So few pairs of independent particles may be that near, for one pair to be a leak. A direction of three numbers holds
#: two quantities, so this is an order of magnitude.
_MOST_BY_CHANCE: Final = 0.1

#: Enough to see 3% above chance; more would only take longer.
MOST_EVENTS: Final = 5_000
_SEEN: Final = 0.97

#: Of a longer file, runs of so many neighbours are looked at: an order of a few events shows within a run, one of the
#: whole file between them.
_RUN: Final = 100

_FOLDS: Final = 5
_LARGEST_PERIOD: Final = 12

Verdict = Literal["ok", "LEAK", "physics"]


@dataclass(frozen=True)
class Finding:
    """One line of an audit.

    Attributes:
        subject: what was looked at.
        found, expected: what there is, and what there would be without a leak.
        verdict: ``physics`` for what is above chance and may be.
    """

    subject: str
    found: str
    expected: str
    verdict: Verdict


def guess_from(subject: str, columns: npt.NDArray[np.floating], labels: Int64, *, allowed: float = 0.0) -> Finding:
    """Try to guess classes with a random forest that sees some columns alone, by five-fold cross-validation.

    Args:
        subject: what the columns are.
        columns: (E, K) numbers.
        labels: (E,) true classes.
        allowed: how far the share of right guesses may lie from chance, 0, to certainty, 1; metadata tell nothing.

    Returns:
        The fraction of right guesses beside the share of the most frequent class, and LEAK where a binomial
        distribution of the largest share that is allowed gives as many right guesses with a probability below
        :data:`SIGNIFICANCE`; ``physics`` for what is above chance and allowed.
    """
    counts = np.bincount(labels)
    chance = float(counts.max() / len(labels))
    folds = min(_FOLDS, int(counts[counts > 0].min()))
    if folds < 2:
        return Finding(subject, f"{len(labels)} events are too few", f"{chance:.3f}", "ok")
    forest = RandomForestClassifier(20, min_samples_leaf=3, max_features=None, random_state=0)
    guessed = cross_val_predict(forest, columns, labels, cv=StratifiedKFold(folds, shuffle=True, random_state=0))
    right = int(np.sum(guessed == labels))
    limit = chance + allowed * (1 - chance)

    def is_above(share: float) -> bool:
        return float(binom.sf(right - 1, len(labels), share)) < SIGNIFICANCE

    verdict: Verdict = "LEAK" if is_above(limit) else "physics" if is_above(chance) else "ok"
    expected = f"{chance:.3f}" if allowed == 0 else f"{chance:.3f}, {limit:.3f} at most"
    return Finding(subject, f"{right / len(labels):.3f} of {len(labels):,} right", expected, verdict)


def sampled_places(count: int) -> Int64:
    """Choose the events of a file that are looked at: all of a short one, else runs of neighbours from all over it.

    Each run begins at random in a stretch of its own: runs at equal distances would all begin at the same place of an
    order that repeats.

    Args:
        count: number of events in the file.

    Returns:
        (E,) ascending places in the file, at most :data:`MOST_EVENTS`.

    Example:
        >>> places = sampled_places(1_000_000)
        >>> len(places), int(places[0]) < 20_000, int(places[-1]) >= 980_000
        (5000, True, True)
    """
    if count <= MOST_EVENTS:
        return np.arange(count)
    edges = np.linspace(0, count, MOST_EVENTS // _RUN + 1).astype(np.int64)
    first = np.random.default_rng(0).integers(edges[:-1], edges[1:] - _RUN, endpoint=True)
    return (first[:, None] + np.arange(_RUN)).ravel()


def has_order_of(known: LabelledEvents, truth: Primaries, labels: Int64) -> bool:
    """Tell whether events are those of another file in the same order: then what is found there holds for them.

    Args:
        known: the events of the other file.
        truth: E particles.
        labels: (E,) their classes.

    Returns:
        Whether those of the events whose id stands in the other file are the same particles of the same classes and
        come in the same order, and so few are not in it that no classifier here would see them.
    """
    _, there, here = np.intersect1d(known.truth.event_id, truth.event_id, return_indices=True)
    if len(here) < _SEEN * len(labels):
        return False
    one, two = known.truth.select(there), truth.select(here)
    return (
        bool(np.all(np.diff(there[np.argsort(here)]) > 0))
        and np.array_equal(known.labels[there], labels[here])
        and np.array_equal(_kinematics(one), _kinematics(two), equal_nan=True)
    )


def place_columns(place: Int64) -> Float64:
    """What a small classifier needs to see any simple order: the number itself, and its remainders by 2 to 12.

    Args:
        place: (E,) positions or ids.
    """
    remainders = [place % period for period in range(2, _LARGEST_PERIOD + 1)]
    return np.column_stack([place, *remainders]).astype(np.float64)


def smallest_charge(events: Events) -> Float64:
    """(E, 1) the smallest feature of each event, none of which may be empty."""
    return np.minimum.reduceat(events.features[:, 0], events.offsets[:-1])[:, None].astype(np.float64)


def shared_kinematics(truth: Mapping[str, Primaries]) -> Finding:
    """Look for particles of one species with the same energy, vertex and direction in two splits.

    Args:
        truth: the particles of each split.

    Returns:
        LEAK where two differ by less than :data:`NEAR` of the spread of every recorded quantity. Where so little
        is that independent particles come as near by chance, nothing can be told, and the finding says so.
    """
    pairs, by_chance = 0, 0.0
    names = list(truth)
    for number, first in enumerate(names):
        for second in names[number + 1 :]:
            one, two = truth[first], truth[second]
            spread = _spreads(one, two)
            pairs += _near_pairs(one, two, spread)
            by_chance += len(one) * len(two) * NEAR ** np.count_nonzero(spread)
    events = sum(len(primaries) for primaries in truth.values())
    subject = f"same particle in two of {', '.join(names)}"
    if by_chance > _MOST_BY_CHANCE:
        return Finding(subject, f"too little is recorded of {events:,} events", "0", "ok")
    return Finding(subject, f"{pairs} pairs among {events:,} events", "0", "LEAK" if pairs else "ok")


def repeated_kinematics(dataset: Dataset) -> int:
    """Count the events whose particle, energy, vertex and direction stand in more than one split, to the last bit.

    Raises:
        DataError: when a file is not the one that was built.
    """
    rows = [np.unique(_kinematics(events.truth), axis=0) for events in _nominal(dataset).values()]
    if not rows:
        return 0
    _, counts = np.unique(np.concatenate(rows), axis=0, return_counts=True)
    return int(np.sum(counts[counts > 1]))


def audit(dataset: Dataset) -> Iterator[Finding]:
    """Look for leaks in the built files.

    Those of the nominal point are looked at first. The files at other points hold the same events, apart from the few
    that have too few hits here or there: one whose events come in the same order needs no search of its own.

    Yields:
        The findings, as they are made.

    Raises:
        DataError: when a file is not the one that was built, or no split is built at nominal.
    """
    splits = _nominal(dataset)
    if not splits:
        raise DataError(f"nothing can be audited: no split of {dataset.card.name!r} is built at nominal")
    yield shared_kinematics({split: events.truth for split, events in splits.items()})
    for split, events in splits.items():
        places = sampled_places(len(events))
        yield from _by_order(split, split, events.truth, events.labels)
        if split == "test":
            order = keyed_order(secrets.token_bytes(KEY_SIZE), NOMINAL, len(events))
            yield guess_from("test: position as handed to a model", place_columns(places), events.labels[order[places]])
        shown = events.select(places)
        charge = smallest_charge(shown.events)
        yield guess_from(f"{split}: smallest charge of the event", charge, shown.labels, allowed=MOST_FROM_CHARGE)
    if len(splits) > 1:
        member = np.repeat(np.arange(len(splits)), [len(events) for events in splits.values()])
        labels = np.concatenate([events.labels for events in splits.values()])
        chosen = np.random.default_rng(0).permutation(len(labels))[:MOST_EVENTS]
        yield guess_from("split that the event is in", np.eye(len(splits))[member[chosen]], labels[chosen])
    yield from _at_other_points(dataset, splits)


def _by_order(subject: str, split: Split, truth: Primaries, labels: Int64) -> Iterator[Finding]:
    """Try to guess the classes of a file from where an event stands in it, and from its id."""
    places = sampled_places(len(labels))
    yield guess_from(f"{subject}: position in the file", place_columns(places), labels[places])
    ids = truth.event_id[places] - FIRST_EVENT_ID[split]
    yield guess_from(f"{subject}: event id", place_columns(ids), labels[places])


def _at_other_points(dataset: Dataset, nominal: Mapping[Split, LabelledEvents]) -> Iterator[Finding]:
    """Look at the order of the events in the built files of all shifts."""
    files = alike = 0
    for split, shift, point in _built_points(dataset):
        files += 1
        truth, labels = _truth_and_labels(dataset, split, shift.name, point)
        if split in nominal and has_order_of(nominal[split], truth, labels):
            alike += 1
            continue
        subject = f"{split} at {point.name} of {shift.name}"
        others: dict[str, Primaries] = {name: events.truth for name, events in nominal.items() if name != split}
        yield shared_kinematics({subject: truth} | others)
        yield from _by_order(subject, split, truth, labels)
    if files:
        yield Finding("events and order at other points", f"those of nominal in {alike} of {files} files", "", "ok")


def _built_points(dataset: Dataset) -> Iterator[tuple[Split, Shift, ShiftPoint]]:
    """The files that are built at other points than nominal."""
    for shift in dataset.card.shifts:
        for point in shift.all_points(dataset.card.nominal):
            for split in SPLITS:
                exists = split in HIDDEN_SPLITS or point.name in shift.sources
                if exists and point.name != NOMINAL and dataset.is_built((split,), shift.name, (point,), shift.sources):
                    yield split, shift, point


def _truth_and_labels(dataset: Dataset, split: Split, shift: str, point: ShiftPoint) -> tuple[Primaries, Int64]:
    events = load_labels(dataset, split, shift, point) if split in HIDDEN_SPLITS else dataset.load(split, shift, point)
    return events.truth, events.labels


def _nominal(dataset: Dataset) -> dict[Split, LabelledEvents]:
    """The splits whose nominal events are built."""
    point = ShiftPoint(name=NOMINAL, strength=0.0, parameters=dict(dataset.card.nominal))
    built: list[Split] = [split for split in SPLITS if dataset.is_built((split,), NOMINAL, (point,))]
    return {split: load_labelled(dataset, split, NOMINAL, point) for split in built}


def _kinematics(truth: Primaries) -> Float64:
    """(E, 8): species, energy, vertex, direction."""
    return np.column_stack([truth.pdg, truth.kinetic_energy, truth.vertex, truth.direction])


def _spreads(first: Primaries, second: Primaries) -> Float64:
    """(7,) spread of energy, vertex and direction; 0 for quantities that nobody recorded: they are the same in all."""
    values = np.concatenate([_kinematics(first), _kinematics(second)])[:, 1:]
    found = np.zeros(values.shape[1])
    for place, column in enumerate(values.T):
        known = column[np.isfinite(column)]
        found[place] = known.std() if len(known) else 0.0
    return found


def _near_pairs(first: Primaries, second: Primaries, spread: Float64) -> int:
    known = np.flatnonzero(spread)
    if len(known) == 0:
        return 0
    # The species must be equal. Where a quantity is missing in two events, they do not differ in it.
    scaled = [
        np.nan_to_num(np.column_stack([rows[:, 0] / NEAR, rows[:, 1 + known] / spread[known]]), nan=0.0)
        for rows in (_kinematics(first), _kinematics(second))
    ]
    trees = [KDTree(rows) for rows in scaled]
    return int(trees[0].count_neighbors(trees[1], NEAR, p=np.inf))
