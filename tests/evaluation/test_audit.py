"""The audit finds leaks that are planted, and none where there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from nubench.containers import Events, LabelledEvents, Primaries
from nubench.evaluation.audit import (
    MOST_EVENTS,
    MOST_FROM_CHARGE,
    NEAR,
    guess_from,
    has_order_of,
    place_columns,
    sampled_places,
    shared_kinematics,
    smallest_charge,
)
from nubench.evaluation.handout import keyed_order

EVENTS, CLASSES = 600, 3


def _truth(seed: int, count: int = 200) -> Primaries:
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=(count, 3))
    return Primaries(
        np.arange(count),
        rng.choice([11, 13, 2212], count),
        rng.uniform(50, 1000, count).astype(np.float32),
        rng.uniform(-50, 50, (count, 3)).astype(np.float32),
        (direction / np.linalg.norm(direction, axis=1, keepdims=True)).astype(np.float32),
    )


@pytest.mark.parametrize(
    ("order", "verdict"),
    [
        (lambda rng: rng.integers(0, CLASSES, EVENTS), "ok"),
        (lambda rng: np.arange(EVENTS) % CLASSES, "LEAK"),
        (lambda rng: np.sort(rng.integers(0, CLASSES, EVENTS)), "LEAK"),
        # One event in ten gives its class away.
        (lambda rng: np.where(np.arange(EVENTS) % 10 == 0, 0, rng.integers(1, CLASSES, EVENTS)), "LEAK"),
    ],
    ids=["shuffled", "in turn", "sorted", "sometimes"],
)
def test_an_order_that_gives_classes_away_is_found(
    order: Callable[[np.random.Generator], np.ndarray], verdict: str
) -> None:
    labels = order(np.random.default_rng(1))
    found = guess_from("position", place_columns(np.arange(EVENTS)), labels)
    assert found.verdict == verdict, found
    # What is handed out is at chance whatever the file is like.
    handed = keyed_order(bytes(16), "test", EVENTS)
    assert guess_from("handed out", place_columns(np.arange(EVENTS)), labels[handed]).verdict == "ok"


@pytest.mark.parametrize("count", [0, 1, 4_999, 5_000, 5_001, 5_149, 12_345, 100_000])
def test_the_events_that_are_looked_at_are_from_all_over_the_file(count: int) -> None:
    places = sampled_places(count)
    assert len(places) == min(count, MOST_EVENTS)
    assert np.all(np.diff(places) > 0)
    assert np.all((places >= 0) & (places < count))
    # No part of the file is left out: a fiftieth of it has an event that is looked at.
    assert np.all(np.histogram(places, 50, (0, count))[0] > 0) or count < 50


@pytest.mark.parametrize("first", [0, 1], ids=["sorted", "sorted backwards"])
def test_a_long_file_that_is_sorted_by_class_is_found(first: int) -> None:
    labels = np.repeat([first, 1 - first], MOST_EVENTS + 1_000)
    places = sampled_places(len(labels))
    found = guess_from("position", place_columns(places), labels[places])
    assert found.verdict == "LEAK", found
    # The file is more than what is looked at first: chance is one in two.
    assert float(found.expected) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("block", [7, 700])
def test_a_long_file_in_blocks_of_a_class_is_found(block: int) -> None:
    labels = np.arange(20_000) // block % CLASSES
    places = sampled_places(len(labels))
    found = guess_from("position", place_columns(places), labels[places])
    assert found.verdict == "LEAK", found


def test_chance_is_the_most_frequent_class() -> None:
    rng = np.random.default_rng(2)
    labels = (rng.random(EVENTS) < 0.1).astype(np.int64)
    found = guess_from("position", place_columns(np.arange(EVENTS)), labels)
    assert found.verdict == "ok"
    assert float(found.expected) == pytest.approx(1 - labels.mean(), abs=1e-3)


def test_chance_is_seldom_taken_for_a_leak() -> None:
    rng = np.random.default_rng(3)
    verdicts = [guess_from("x", rng.normal(size=(200, 1)), rng.integers(0, 2, 200)).verdict for _ in range(8)]
    assert set(verdicts) == {"ok"}


def test_too_few_events_to_tell_are_no_leak() -> None:
    assert guess_from("x", np.zeros((3, 1)), np.array([0, 1, 1])).verdict == "ok"


def test_the_smallest_charge_may_tell_a_little_and_not_the_class(
    synthetic_events: Callable[..., LabelledEvents],
) -> None:
    events = synthetic_events(EVENTS, 5)
    charge = smallest_charge(events.events)
    assert charge[7, 0] == events.events.select(np.array([7])).features.min()
    # A fifth of the events betray their class, as tracks that cross many pixels do.
    rng = np.random.default_rng(6)
    told = 60.0 + np.where(rng.random(EVENTS) < 0.2, events.labels, rng.integers(0, 3, EVENTS))[:, None]
    found = guess_from("smallest charge", told, events.labels, allowed=MOST_FROM_CHARGE)
    assert (found.verdict, guess_from("metadata", told, events.labels).verdict) == ("physics", "LEAK"), found
    named = guess_from("smallest charge", 60.0 + 10.0 * events.labels[:, None], events.labels, allowed=MOST_FROM_CHARGE)
    assert named.verdict == "LEAK"
    assert named.expected.endswith("at most")
    hidden = replace(events, events=Events(events.events.offsets, events.events.coords, 0 * events.events.features))
    named = guess_from("smallest charge", 60.0 + 10.0 * events.labels[:, None], events.labels, allowed=MOST_FROM_CHARGE)
    assert named.verdict == "LEAK"
    assert named.expected.endswith("at most")
    assert guess_from("none", smallest_charge(hidden.events), events.labels, allowed=MOST_FROM_CHARGE).verdict == "ok"


def test_a_particle_in_two_splits_is_found_when_it_is_moved_a_little() -> None:
    train, test = _truth(1), _truth(2)
    assert shared_kinematics({"train": train, "test": test}).verdict == "ok"
    borrowed = train.select(np.arange(5))
    # 200 events from -50 to 50 cm have a spread of some 29 cm.
    for moved, verdict in ((0.0, "LEAK"), (0.5 * NEAR * 29, "LEAK"), (3 * NEAR * 29, "ok")):
        shifted = replace(borrowed, vertex=(borrowed.vertex + moved).astype(np.float32))
        found = shared_kinematics({"train": train, "test": Primaries.concatenate([test, shifted])})
        assert found.verdict == verdict, moved
    other = replace(borrowed, pdg=borrowed.pdg + 1)
    assert shared_kinematics({"train": train, "test": Primaries.concatenate([test, other])}).verdict == "ok"


def test_the_order_of_another_file_holds_for_the_same_events_alone(
    synthetic_events: Callable[..., LabelledEvents],
) -> None:
    known = synthetic_events(EVENTS, 5)
    assert has_order_of(known, known.truth, known.labels)
    fewer = known.select(np.delete(np.arange(EVENTS), [0, 50, 599]))
    assert has_order_of(known, fewer.truth, fewer.labels)
    # The other file may lack a few as well, and no more than a classifier would miss.
    assert has_order_of(fewer, known.truth, known.labels)
    assert not has_order_of(known.select(np.arange(EVENTS - 20)), known.truth, known.labels)

    swapped = known.select(np.concatenate([[1, 0], np.arange(2, EVENTS)]))
    assert not has_order_of(known, swapped.truth, swapped.labels)
    assert not has_order_of(known, known.truth, np.where(np.arange(EVENTS) == 7, 1 - known.labels, known.labels))
    moved = replace(known.truth, vertex=known.truth.vertex + np.float32(1))
    assert not has_order_of(known, moved, known.labels)
    assert not has_order_of(known, replace(known.truth, event_id=known.truth.event_id + 10**6), known.labels)


def test_kinematics_that_nobody_recorded_are_not_compared() -> None:
    nothing = replace(
        _truth(1),
        kinetic_energy=np.full(200, np.nan, np.float32),
        vertex=np.zeros((200, 3), np.float32),
        direction=np.zeros((200, 3), np.float32),
    )
    assert shared_kinematics({"train": nothing, "test": nothing}).verdict == "ok"
    # Of so many events some are as near in the energy alone, whoever they are.
    rng = np.random.default_rng(4)
    energies = [replace(nothing, kinetic_energy=rng.uniform(50, 1000, 200).astype(np.float32)) for _ in range(2)]
    found = shared_kinematics(dict(zip(("train", "test"), energies, strict=True)))
    assert (found.verdict, found.found) == ("ok", "too little is recorded of 400 events")


def test_a_quantity_that_some_events_lack_hides_no_pair() -> None:
    train, test = _truth(1), _truth(2)
    energy = train.kinetic_energy.copy()
    energy[7] = np.nan
    train = replace(train, kinetic_energy=energy)
    both = {"train": train, "test": Primaries.concatenate([test, train.select(np.array([7]))])}
    assert shared_kinematics(both).found == "1 pairs among 401 events"
    assert shared_kinematics({"train": train, "test": test}).verdict == "ok"
