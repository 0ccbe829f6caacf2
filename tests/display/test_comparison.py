"""The same event at two points: which voxels change, appear and vanish."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nubench.display.comparison import compare_events
from nubench.display.views import Hits

Event = dict[tuple[int, int, int], float]
INDEX = st.integers(-3, 3)
EVENTS = st.dictionaries(st.tuples(INDEX, INDEX, INDEX), st.integers(0, 255).map(float), max_size=40)


def _hits(event: Event) -> Hits:
    return Hits(np.array(list(event), np.int32).reshape(-1, 3), np.array(list(event.values()), np.float32))


def _event(coords: np.ndarray, values: np.ndarray) -> Event:
    return {(int(x), int(y), int(z)): float(value) for (x, y, z), value in zip(coords, values, strict=True)}


def test_by_hand() -> None:
    before = Hits(
        np.array([[0, 0, 0], [1, 0, 0], [-5, 2, 9]], np.int32),
        np.array([80, 90, 100], np.float32),
        np.array([True, True, False]),
    )
    after = Hits(
        np.array([[2, 0, 0], [-5, 2, 9], [1, 0, 0]], np.int32),
        np.array([81, 97, 95], np.float32),
        np.array([False, False, True]),
    )
    difference = compare_events(before, after)
    assert _event(difference.coords, difference.change) == {(1, 0, 0): 5.0, (-5, 2, 9): -3.0}
    assert difference.appeared.coords.tolist() == [[2, 0, 0]]
    assert difference.appeared.charge.tolist() == [81]
    assert difference.appeared.from_track is not None
    assert difference.appeared.from_track.tolist() == [False]
    assert difference.vanished.coords.tolist() == [[0, 0, 0]]
    assert difference.vanished.charge.tolist() == [80]


@given(before=EVENTS, after=EVENTS)
def test_against_dictionaries(before: Event, after: Event) -> None:
    difference = compare_events(_hits(before), _hits(after))
    both = before.keys() & after.keys()
    assert _event(difference.coords, difference.change) == {voxel: after[voxel] - before[voxel] for voxel in both}
    assert _event(difference.appeared.coords, difference.appeared.charge) == {
        voxel: charge for voxel, charge in after.items() if voxel not in before
    }
    assert _event(difference.vanished.coords, difference.vanished.charge) == {
        voxel: charge for voxel, charge in before.items() if voxel not in after
    }


@given(event=EVENTS)
def test_an_event_does_not_differ_from_itself_in_another_order(event: Event) -> None:
    hits = _hits(event)
    order = np.random.default_rng(len(event)).permutation(len(event))
    difference = compare_events(hits, Hits(hits.coords[order], hits.charge[order]))
    assert len(difference.coords) == len(event)
    assert not difference.change.any()
    assert len(difference.appeared) == len(difference.vanished) == 0
    assert difference.change_range() == 1.0


def test_colours_reach_as_far_as_nearly_all_changes() -> None:
    coords = np.stack([np.arange(100), np.zeros(100), np.zeros(100)], axis=1).astype(np.int32)
    change = np.full(100, -30, np.float32)
    change[0] = 4000  # one wild voxel
    difference = compare_events(Hits(coords, np.zeros(100, np.float32)), Hits(coords, change))
    assert difference.change_range() == 30.0
