"""Looking for leaks in a data set: the same particle in two splits, classes that can be guessed from metadata.

Metadata are what stands beside the measured charge: the position of an event in its file, its id, the split it is in,
the place at which it is handed to a model. A small classifier is given them and nothing else, and must do no better
than naming the most frequent class. The smallest charge of an event is looked at too, and is no metadata: it is
measured.
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
from nubench.datasets.dataset import FIRST_EVENT_ID, Dataset
from nubench.evaluation.handout import KEY_SIZE, keyed_order
from nubench.evaluation.labels import load_labelled
from nubench.shifts import NOMINAL, ShiftPoint

#: A classifier this unlikely to be right so often by chance has found something. Some ten are tried for a data set.
SIGNIFICANCE: Final = 1e-4

#: Two particles are the same when no quantity differs by more than this, in units of its spread. In a data set of a
#: million independent particles not one pair is expected: six independent quantities give 1e12 (1e-3)^6 pairs.
NEAR: Final = 1e-3

#: Enough to see 3% above chance; more would only take longer.
MOST_EVENTS: Final = 5_000

_FOLDS: Final = 5
_LARGEST_PERIOD: Final = 12

Verdict = Literal["ok", "LEAK", "physics"]


@dataclass(frozen=True)
class Finding:
    """One line of an audit.

    Attributes:
        subject: what was looked at.
        found, expected: what there is, and what there would be without a leak.
        verdict: ``physics`` for what may be above chance.
    """

    subject: str
    found: str
    expected: str
    verdict: Verdict


def guess_from(subject: str, columns: npt.NDArray[np.floating], labels: Int64, *, is_metadata: bool = True) -> Finding:
    """Try to guess classes with a random forest that sees some columns alone, by five-fold cross-validation.

    Args:
        subject: what the columns are.
        columns: (E, K) numbers.
        labels: (E,) true classes.
        is_metadata: whether more than chance is a leak.

    Returns:
        The fraction of right guesses beside the share of the most frequent class, and LEAK where a binomial
        distribution of that share gives as many right guesses with a probability below :data:`SIGNIFICANCE`.
    """
    counts = np.bincount(labels)
    chance = float(counts.max() / len(labels))
    folds = min(_FOLDS, int(counts[counts > 0].min()))
    if folds < 2:
        return Finding(subject, f"{len(labels)} events are too few", f"{chance:.3f}", "ok")
    forest = RandomForestClassifier(20, min_samples_leaf=3, max_features=None, random_state=0)
    guessed = cross_val_predict(forest, columns, labels, cv=StratifiedKFold(folds, shuffle=True, random_state=0))
    right = int(np.sum(guessed == labels))
    by_luck = float(binom.sf(right - 1, len(labels), chance))
    above: Verdict = "LEAK" if is_metadata else "physics"
    return Finding(
        subject,
        f"{right / len(labels):.3f} of {len(labels):,} right",
        f"{chance:.3f}",
        above if by_luck < SIGNIFICANCE else "ok",
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
        LEAK where two differ by less than :data:`NEAR` of the spread of every quantity.
    """
    pairs = 0
    names = list(truth)
    for number, first in enumerate(names):
        for second in names[number + 1 :]:
            pairs += _near_pairs(truth[first], truth[second])
    events = sum(len(primaries) for primaries in truth.values())
    subject = f"same particle in two of {', '.join(names)}"
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
    """Look for leaks in the built files at the nominal point.

    Yields:
        The findings, as they are made.

    Raises:
        DataError: when a file is not the one that was built.
    """
    splits = _nominal(dataset)
    yield shared_kinematics({split: events.truth for split, events in splits.items()})
    for split, events in splits.items():
        shown = events.select(np.arange(min(len(events), MOST_EVENTS)))
        yield guess_from(f"{split}: position in the file", place_columns(np.arange(len(shown))), shown.labels)
        ids = shown.truth.event_id - FIRST_EVENT_ID[split]
        yield guess_from(f"{split}: event id", place_columns(ids), shown.labels)
        if split == "test":
            order = keyed_order(secrets.token_bytes(KEY_SIZE), NOMINAL, len(shown))
            handed = place_columns(np.arange(len(shown)))
            yield guess_from("test: position as handed to a model", handed, shown.labels[order])
        charge = smallest_charge(shown.events)
        yield guess_from(f"{split}: smallest charge of the event", charge, shown.labels, is_metadata=False)
    if len(splits) > 1:
        member = np.repeat(np.arange(len(splits)), [len(events) for events in splits.values()])
        labels = np.concatenate([events.labels for events in splits.values()])
        chosen = np.random.default_rng(0).permutation(len(labels))[:MOST_EVENTS]
        yield guess_from("split that the event is in", np.eye(len(splits))[member[chosen]], labels[chosen])


def _nominal(dataset: Dataset) -> dict[Split, LabelledEvents]:
    """The splits whose nominal events are built."""
    point = ShiftPoint(name=NOMINAL, strength=0.0, parameters=dict(dataset.card.nominal))
    built: list[Split] = [split for split in SPLITS if dataset.is_built((split,), NOMINAL, (point,))]
    return {split: load_labelled(dataset, split, NOMINAL, point) for split in built}


def _kinematics(truth: Primaries) -> Float64:
    """(E, 8): species, energy, vertex, direction."""
    return np.column_stack([truth.pdg, truth.kinetic_energy, truth.vertex, truth.direction])


def _near_pairs(first: Primaries, second: Primaries) -> int:
    one, two = _kinematics(first), _kinematics(second)
    spread = np.concatenate([one, two])[:, 1:].std(axis=0)
    # Quantities that nobody recorded are the same in all events and tell nothing; the species must be equal.
    known = np.flatnonzero(np.isfinite(spread) & (spread > 0))
    if len(known) == 0:
        return 0
    scaled = [np.column_stack([rows[:, 0] / NEAR, rows[:, 1 + known] / spread[known]]) for rows in (one, two)]
    trees = [KDTree(rows) for rows in scaled]
    return int(trees[0].count_neighbors(trees[1], NEAR, p=np.inf))
