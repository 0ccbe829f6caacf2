from __future__ import annotations

import numpy as np
import pytest
import torch

from nubench.containers import Events
from nubench.sparse.batch import SparseBatch, concatenate


@pytest.fixture
def events() -> Events:
    coords = np.array([[0, 0, 0], [1, 0, 0], [5, 5, 5], [-1, 2, 3], [-1, 2, 4]], np.int32)
    return Events(np.array([0, 2, 3, 5]), coords, np.array([[80], [90], [100], [60], [70]], np.float32))


def test_from_events_takes_the_events_in_order_and_normalises(events):
    batch = SparseBatch.from_events(events, np.array([2, 0, 2]), offset=60, scale=20)
    assert batch.size == 3
    assert batch.event.tolist() == [0, 0, 1, 1, 2, 2]
    assert batch.offsets.tolist() == [0, 2, 4, 6]
    assert batch.coords[:2].tolist() == [[-1, 2, 3], [-1, 2, 4]]
    torch.testing.assert_close(batch.features[:4, 0], torch.tensor([0.0, 0.5, 1.0, 1.5]))
    assert batch.features.dtype == torch.float32


def test_from_events_without_index_takes_all_and_shares_no_memory(events):
    batch = SparseBatch.from_events(events, None)
    batch.coords.zero_()
    batch.features.zero_()
    assert batch.size == 3
    assert events.coords[1, 0] == 1
    assert events.features[0, 0] == 80


def test_empty_batches_and_events_are_refused(events):
    with pytest.raises(ValueError, match="at least one event"):
        SparseBatch.from_events(events, np.array([], np.int64))
    hole = Events(np.array([0, 2, 2]), events.coords[:2], events.features[:2])
    with pytest.raises(ValueError, match="event 1 of the batch is empty"):
        SparseBatch.from_events(hole, None)


@pytest.mark.parametrize(
    ("event", "size", "message"),
    [([0, 1, 0], 2, "without decreasing"), ([0, 1, 2], 2, "size - 1 = 1"), ([0, 1], 2, "must be")],
)
def test_wrong_event_columns_are_refused(event, size, message):
    with pytest.raises(ValueError, match=message):
        SparseBatch(torch.zeros(3, 3, dtype=torch.int32), torch.tensor(event), torch.zeros(3, 1), size)


def test_scale_must_be_positive(events):
    with pytest.raises(ValueError, match="scale must be positive; got 0"):
        SparseBatch.from_events(events, None, scale=0)


def test_concatenate_puts_the_second_behind_the_first(make_batch):
    first, second = make_batch(1, size=2), make_batch(2, size=3)
    both = concatenate(first, second)
    assert both.size == 5
    assert torch.equal(both.coords, torch.cat([first.coords, second.coords]))
    assert torch.equal(both.event, torch.cat([first.event, second.event + 2]))


def test_to_the_same_device_is_the_batch_itself(make_batch):
    batch = make_batch(1)
    assert batch.to("cpu") is batch
