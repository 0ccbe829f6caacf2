"""Deposits come back with every bit, whatever they are; small differences make small numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nubench.containers import Deposits
from nubench.events.deposit_packing import PackedDeposits, pack, unpack

# Zeros of both signs, the smallest and the largest numbers, infinities and nan are in here and are drawn often.
NUMBER = st.floats(width=32)
POSITION = st.tuples(NUMBER, NUMBER, NUMBER)
# Kind of a deposit: where it starts, and where it ends.
DEPOSIT = st.tuples(st.sampled_from(["chain", "gap"]), st.sampled_from(["point", "line"]), POSITION, POSITION, NUMBER)
Event = list[tuple[str, str, tuple[float, ...], tuple[float, ...], float]]
EVENTS = st.lists(st.lists(DEPOSIT, max_size=6), max_size=5)
ODD_START, ODD_END = (-0.0, 1e-45, np.nan), (0.0, -1e-45, -np.inf)


def _deposits(events: list[Event]) -> Deposits:
    start, end, time = [], [], []
    for event in events:
        last = (0.0, 0.0, 0.0)
        for begin, kind, new_start, new_end, at in event:
            start.append(last if begin == "chain" else new_start)
            last = start[-1] if kind == "point" else new_end
            end.append(last)
            time.append(at)
    return Deposits(
        np.concatenate([[0], np.cumsum([len(event) for event in events])]).astype(np.int64),
        np.array(start, np.float32).reshape(-1, 3),
        np.array(end, np.float32).reshape(-1, 3),
        np.array(time, np.float32)[::-1].copy(),  # any other numbers
        np.array(time, np.float32),
    )


def assert_same_bits(found: Deposits, expected: Deposits) -> None:
    """Every column has the same type and the same bits, also of nan and of minus zero."""
    for name in ("offsets", "start", "end", "energy", "time"):
        left, right = getattr(found, name), getattr(expected, name)
        assert (left.dtype, left.shape) == (right.dtype, right.shape), name
        assert left.tobytes() == right.tobytes(), name


@given(EVENTS)
@example([])
@example([[], []])
@example(
    [[("gap", "line", (-0.0, 1e-45, np.nan), (0.0, -1e-45, -np.inf), 3e38)], [], [("chain", "point", (), (), 0.0)]]
)
def test_every_bit_comes_back(events: list[Event]) -> None:
    deposits = _deposits(events)
    assert_same_bits(unpack(pack(deposits)), deposits)


@given(EVENTS, EVENTS)
def test_an_event_is_packed_the_same_whatever_stands_before_it(before: list[Event], after: list[Event]) -> None:
    both = pack(Deposits.concatenate([_deposits(before), _deposits(after)]))
    one, other = pack(_deposits(before)), pack(_deposits(after))
    for name in ("is_jump", "jump", "step", "time_step", "energy"):
        assert getattr(both, name).tobytes() == getattr(one, name).tobytes() + getattr(other, name).tobytes()


def _as_documented(packed: PackedDeposits) -> list[tuple[list[int], list[int], int]]:
    """The recipe of docs/data-format.md with whole numbers, one deposit after the other."""

    def unfold(number: int) -> int:
        return -(number + 1) // 2 if number % 2 else number // 2

    found = []
    jumps = iter(packed.jump.tolist())
    for first, last in zip(packed.offsets[:-1], packed.offsets[1:], strict=True):
        position, time = [0, 0, 0], 0
        for row in range(first, last):
            if packed.is_jump[row]:
                position = [(p + unfold(d)) % 2**32 for p, d in zip(position, next(jumps), strict=True)]
            start = position
            position = [(p + unfold(d)) % 2**32 for p, d in zip(position, packed.step[row].tolist(), strict=True)]
            time = (time + unfold(int(packed.time_step[row]))) % 2**32
            found.append((start, position, time))
    return found


@given(EVENTS)
def test_the_documented_recipe_unpacks_too(events: list[Event]) -> None:
    deposits = _deposits(events)
    start, end, time = (column.view(np.uint32).tolist() for column in (deposits.start, deposits.end, deposits.time))
    assert _as_documented(pack(deposits)) == list(zip(start, end, time, strict=True))


def test_points_and_chains_cost_zeros_and_short_steps_small_numbers() -> None:
    near = np.nextafter(np.float32(650), np.float32(0))
    start = np.array([[1, 2, 650], [1, 2, 650], [1, 2, near], [5, 2, 650]], np.float32)
    end = np.array([[1, 2, 650], [1, 2, near], [1, 2, 650], [5, 2, 650]], np.float32)
    packed = pack(Deposits(np.array([0, 4]), start, end, np.ones(4, np.float32), np.ones(4, np.float32)))

    assert packed.is_jump.tolist() == [1, 0, 0, 1]
    assert packed.jump_offsets.tolist() == [0, 2]
    assert packed.step.tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 0, 0]]  # none, one down, one up, none
    assert packed.time_step[1:].tolist() == [0, 0, 0]


@pytest.mark.parametrize("marks", [[1, 0, 0], [1, 1, 1], [0, 1, 1]])
def test_marks_that_do_not_fit_are_refused(marks: list[int]) -> None:
    position = np.arange(1, 10, dtype=np.float32).reshape(3, 3)
    packed = pack(Deposits(np.array([0, 1, 3]), position, position + 1, np.ones(3, np.float32), np.ones(3, np.float32)))
    chained = PackedDeposits(
        packed.offsets,
        np.array([0, 1, 2]),
        np.array(marks, np.uint8),
        packed.jump[:2],
        packed.step,
        packed.time_step,
        packed.energy,
    )
    with pytest.raises(ValueError, match="is_jump does not mark as many deposits"):
        unpack(chained)
