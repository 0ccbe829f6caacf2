"""The sum over squares against a plain loop, the response at single pixels, and the card."""

from __future__ import annotations

from collections import defaultdict

import nubench_ganged_pixels
import numpy as np
import pytest
from nubench_ganged_pixels.response import GangedPixels, ganged

from nubench.containers import Deposits, Events
from nubench.datasets.cards import read_card
from nubench.detectors import LArTPC
from nubench.errors import UsageError


def _events() -> Events:
    rng = np.random.default_rng(1)
    voxels = [np.unique(rng.integers(-5, 5, (count, 3)), axis=0).astype(np.int32) for count in (60, 1, 0, 200)]
    offsets = np.concatenate([[0], np.cumsum([len(rows) for rows in voxels])])
    coords = np.concatenate(voxels)
    return Events(offsets, coords, rng.uniform(60, 120, (len(coords), 1)).astype(np.float32))


@pytest.mark.parametrize("gang", [2, 3])
def test_counts_above_the_pedestal_are_summed_over_squares(gang: int) -> None:
    events = _events()
    found = ganged(events, gang, 74.0)
    assert len(found) == len(events)
    for number in range(len(events)):
        sums: dict[tuple[int, ...], float] = defaultdict(float)
        for row in range(events.offsets[number], events.offsets[number + 1]):
            drift, y, z = map(int, events.coords[row])
            sums[drift, y // gang * gang, z // gang * gang] += float(events.features[row, 0]) - 74.0
        rows = slice(found.offsets[number], found.offsets[number + 1])
        assert {tuple(map(int, coords)) for coords in found.coords[rows]} == set(sums)
        for coords, count in zip(found.coords[rows], found.features[rows, 0], strict=True):
            assert count == pytest.approx(min(255.0, 74.0 + sums[tuple(map(int, coords))]), abs=1e-3)


def test_a_square_of_one_pixel_is_the_detector_of_nubench() -> None:
    steps = np.arange(40, dtype=np.float32)[:, None] * np.array([0.1, 0.05, 0.02], np.float32) + [0.0, 0.0, 640.0]
    deposits = Deposits(
        np.array([0, 39]), *(part.astype(np.float32) for part in (steps[:-1], steps[1:])),
        np.full(39, 0.25, np.float32), np.zeros(39, np.float32),
    )  # fmt: skip
    ids = np.array([5])
    single = LArTPC().respond(deposits, ids, {}, 1).events
    same = GangedPixels().respond(deposits, ids, {"gang": 1.0}, 1).events
    assert np.array_equal(single.coords, same.coords)
    assert np.array_equal(single.features, same.features)
    coarse = GangedPixels().respond(deposits, ids, {"gang": 4.0}, 1).events
    assert 0 < len(coarse.coords) < len(single.coords)
    with pytest.raises(UsageError, match=r"gang must be a whole number from 1 to 16; got 1\.5"):
        GangedPixels().respond(deposits, ids, {"gang": 1.5}, 1)


def test_the_card_is_whole_and_belongs_to_the_detector() -> None:
    (file,) = nubench_ganged_pixels.register_datasets()
    card = read_card(file)
    assert card.detector == GangedPixels.name
    assert card.voxel_size_cm == GangedPixels.voxel_size_cm
    assert [point.parameters["gang"] for point in card.shift("gangs").points] == [2.0, 3.0, 4.0]
