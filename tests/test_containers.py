from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nubench.containers import Deposits, Events, LabelledEvents, Primaries, join_offsets, ragged_rows


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.data())
def test_ragged_rows_gathers_the_rows_of_each_event_in_order(lengths: list[int], data: st.DataObject) -> None:
    index = data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=10))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    expected = [list(range(offsets[i], offsets[i + 1])) for i in index]

    selected, rows = ragged_rows(offsets, np.array(index, dtype=np.int64))

    assert [rows[a:b].tolist() for a, b in pairwise(selected)] == expected


def _events(lengths: list[int], start: int = 0) -> Events:
    total = sum(lengths)
    numbers = np.arange(start, start + total)
    return Events(
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.stack([numbers] * 3, axis=1).astype(np.int32),
        numbers[:, None].astype(np.float32),
    )


def test_concatenating_pieces_of_a_selection_gives_the_whole() -> None:
    events = _events([2, 0, 3, 1])
    parts = [events.select(np.array([0, 1])), events.select(np.array([2])), events.select(np.array([3]))]

    whole = Events.concatenate(parts)

    assert whole.offsets.tolist() == events.offsets.tolist()
    assert np.array_equal(whole.coords, events.coords)
    assert np.array_equal(whole.features, events.features)
    assert whole.voxels_per_event.tolist() == [2, 0, 3, 1]


def test_no_pieces_have_no_events() -> None:
    assert join_offsets([]).tolist() == [0]


@pytest.mark.parametrize("offsets", [[0, 2], [1, 3], [0, 4, 3], []])
def test_offsets_that_do_not_fit_the_rows_are_refused(offsets: list[int]) -> None:
    with pytest.raises(ValueError, match="offsets"):
        Events(np.array(offsets, np.int64), np.zeros((3, 3), np.int32), np.zeros((3, 1), np.float32))


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"coords must be \(N, 3\)"):
        Events(np.array([0, 3]), np.zeros((3, 2), np.int32), np.zeros((3, 1), np.float32))


def test_deposits_and_labelled_events_select_every_column() -> None:
    deposits = Deposits(
        np.array([0, 1, 3]),
        np.arange(9, dtype=np.float32).reshape(3, 3),
        np.arange(9, 18, dtype=np.float32).reshape(3, 3),
        np.array([1, 2, 3], np.float32),
        np.array([4, 5, 6], np.float32),
    )
    taken = deposits.select(np.array([1]))
    assert (taken.energy.tolist(), taken.time.tolist(), len(taken)) == ([2, 3], [5, 6], 1)
    assert np.array_equal(Deposits.concatenate([deposits.select(np.array([0])), taken]).end, deposits.end)

    truth = Primaries(
        np.array([7, 8]),
        np.array([11, 13]),
        np.ones(2, np.float32),
        np.zeros((2, 3), np.float32),
        np.zeros((2, 3), np.float32),
    )
    labelled = LabelledEvents(_events([2, 1]), np.array([0, 1]), truth)
    second = labelled.select(np.array([1]))
    assert (second.labels.tolist(), second.truth.event_id.tolist(), second.events.coords[:, 0].tolist()) == (
        [1],
        [8],
        [2],
    )
    assert Primaries.concatenate([truth, truth]).pdg.tolist() == [11, 13, 11, 13]
    with pytest.raises(ValueError, match="2 events, 1 labels"):
        LabelledEvents(_events([2, 1]), np.array([0]), truth)
