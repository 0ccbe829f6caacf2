"""Which split an event goes to, such that equal kinematics never stand in two."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from nubench.containers import Float64, Int64
from nubench.datasets.cards import SPLITS, Split
from nubench.datasets.dataset import FIRST_EVENT_ID
from nubench.errors import DataError, UsageError

DEFAULT_FRACTIONS: Final[Mapping[Split, float]] = {"train": 0.7, "val": 0.1, "adapt": 0.1, "test": 0.1}


class Assignment(NamedTuple):
    """Where the events go.

    Attributes:
        split: (E,) int64 index into :data:`nubench.datasets.cards.SPLITS`.
        sharing: number of events whose kinematics another event has too.
    """

    split: Int64
    sharing: int


def parse_fractions(text: str) -> dict[Split, float]:
    """Read shares of train, val, adapt and test, such as ``0.7,0.1,0.1,0.1``.

    Raises:
        UsageError: when they are not four numbers above 0 with the sum 1.
    """
    try:
        values = [float(word) for word in text.split(",")]
    except ValueError:
        values = []
    if len(values) != len(SPLITS) or not all(value > 0 for value in values) or abs(sum(values) - 1) > 1e-6:
        raise UsageError(
            f"--fractions must be four numbers above 0 with the sum 1, the shares of {', '.join(SPLITS)}; got {text!r}"
        )
    return dict(zip(SPLITS, values, strict=True))


def assign_splits(
    labels: Int64, kinematics: Float64, classes: Sequence[str], fractions: Mapping[Split, float], seed: int
) -> Assignment:
    """Share out events between the splits, class by class; events of the same kinematics go together.

    The kinematics of a class are put in the order of a keyed hash of their bits, so that the result depends neither on
    the order of the files nor on the machine. Each goes to the split that lacks most of its share.

    Args:
        labels: (E,) class of each event.
        kinematics: (E, K) true kinematics; only bitwise equal rows of one class count as the same.
        classes: names, for messages.
        fractions: share of each split.
        seed: another one gives another sharing out.

    Raises:
        DataError: when a class has fewer kinematics than there are splits.
    """
    split = np.empty(len(labels), np.int64)
    sharing = 0
    for label, name in enumerate(classes):
        members = np.flatnonzero(labels == label)
        unique, group, sizes = np.unique(kinematics[members], axis=0, return_inverse=True, return_counts=True)
        if len(unique) < len(SPLITS):
            raise DataError(
                f"class {name!r} has {len(members)} events of {len(unique)} different kinematics; each of "
                f"{', '.join(SPLITS)} needs one of its own"
            )
        sharing += int(sizes[sizes > 1].sum())
        order = np.argsort(_digests(unique, name, seed))
        split[members] = _fill(sizes, order, fractions)[group.reshape(-1)]
    return Assignment(split, sharing)


def set_aside(keys: Sequence[str], fraction: float, seed: int) -> Int64:
    """Choose about ``fraction`` of some things, by a keyed hash of their names.

    Returns:
        Their positions, ascending; at least one and not all of them.
    """
    digests = [_digest(key.encode(), seed) for key in keys]
    count = min(max(round(fraction * len(keys)), 1), len(keys) - 1)
    return np.sort(np.argsort(np.array(digests, np.uint64))[:count])


def number_events(split: Int64, seed: int) -> Int64:
    """Give events their ids: those of a split count up from its first id, in random order.

    Files come class by class; where an event stands must not tell its class.

    Args:
        split: (E,) index into :data:`nubench.datasets.cards.SPLITS`.
        seed: of the order.
    """
    event_id = np.empty(len(split), np.int64)
    for index, name in enumerate(SPLITS):
        members = np.flatnonzero(split == index)
        order = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,))).permutation(len(members))
        event_id[members[order]] = FIRST_EVENT_ID[name] + np.arange(len(members))
    return event_id


def _digests(rows: Float64, name: str, seed: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.array([_digest(name.encode() + np.ascontiguousarray(row).tobytes(), seed) for row in rows], np.uint64)


def _digest(content: bytes, seed: int) -> int:
    key = seed.to_bytes(8, "little")
    return int.from_bytes(hashlib.blake2b(content, digest_size=8, key=key).digest(), "little")


def _fill(sizes: Int64, order: Int64, fractions: Mapping[Split, float]) -> Int64:
    """Give each group, in this order, to the split that is farthest from its share; the split of each group."""
    wanted = [fractions[split] * float(sizes.sum()) for split in SPLITS]
    filled = [0.0] * len(SPLITS)
    chosen = np.empty(len(sizes), np.int64)
    for group in order.tolist():
        best = min(range(len(SPLITS)), key=lambda index: filled[index] / wanted[index])
        chosen[group] = best
        filled[best] += float(sizes[group])
    return chosen
