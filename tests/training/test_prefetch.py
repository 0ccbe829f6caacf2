from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from nubench.sparse.batch import SparseBatch
from nubench.training.prefetch import Prefetcher, ResidentEvents, ready_batches


def prefetch_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


@pytest.mark.parametrize("ahead", [1, 2, 7, 100])
def test_items_come_in_order_and_end(ahead):
    with Prefetcher(iter(range(50)), ahead) as numbers:
        assert list(numbers) == list(range(50))
        assert list(numbers) == []


def test_an_error_comes_in_place_of_its_item():
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise KeyError("broken file")

    with Prefetcher(items(), 5) as numbers:
        assert [next(numbers), next(numbers)] == [1, 2]
        with pytest.raises(KeyError, match="broken file"):
            next(numbers)
        assert list(numbers) == []


@pytest.mark.parametrize("taken", [0, 3])
@pytest.mark.parametrize("ahead", [1, 4])
def test_no_more_items_are_made_than_asked_for(taken, ahead):
    made = []
    enough = threading.Event()

    def items() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            if len(made) == taken + ahead:
                enough.set()
            yield number

    with Prefetcher(items(), ahead) as numbers:
        for _ in range(taken):
            next(numbers)
        assert enough.wait(30)
    # The thread has ended: had it gone on beyond the limit, it would show.
    assert made == list(range(taken + ahead))


def test_closing_early_ends_the_thread_and_the_generator():
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            while True:
                yield 0
        finally:
            closed.set()

    before = prefetch_threads()
    numbers = Prefetcher(items())

    def failing_step() -> None:
        with numbers:
            next(numbers)
            raise RuntimeError("of the step")

    with pytest.raises(RuntimeError, match="of the step"):
        failing_step()
    assert closed.is_set()
    assert prefetch_threads() == before
    assert list(numbers) == []
    numbers.close()


def test_waiting_is_counted():
    def slow() -> Iterator[int]:
        time.sleep(0.05)
        yield 1

    with Prefetcher(slow()) as numbers:
        next(numbers)
        assert 0 < numbers.seconds_waited < 30


def test_ahead_must_be_positive():
    with pytest.raises(ValueError, match="at least 1; got 0"):
        Prefetcher([1], 0)


def test_ready_batches_are_those_made_one_by_one(synthetic_events):
    events = synthetic_events(40, seed=1).events
    indices = list(np.random.default_rng(0).permutation(40).reshape(5, 8))
    with Prefetcher(ready_batches(events, indices, 90.0, 10.0, "cpu")) as batches:
        for index, (given, batch) in zip(indices, batches, strict=True):
            assert given is index
            expected = SparseBatch.from_events(events, index, 90.0, 10.0)
            for name in ("coords", "event", "features", "offsets"):
                assert torch.equal(getattr(batch, name), getattr(expected, name))


def test_batches_gathered_on_a_device_are_those_made_outside(synthetic_events):
    """The very code that a GPU runs, on the CPU."""
    events = synthetic_events(40, seed=1).events
    resident = ResidentEvents(events, 90.0, 10.0, "cpu")
    for index in (np.array([3, 0, 39]), np.array([7, 7]), np.random.default_rng(1).permutation(40)):
        batch, expected = resident.batch(index), SparseBatch.from_events(events, index, 90.0, 10.0)
        assert batch.size == expected.size
        for name in ("coords", "event", "features", "offsets"):
            assert torch.equal(getattr(batch, name), getattr(expected, name))
