from __future__ import annotations

import numpy as np
import pytest
import torch

from nubench.backbone import BACKBONE_PRESETS, build_backbone, number_of_parameters
from nubench.backbone_designs import (
    REFERENCE_VOXELS,
    BackboneDesign,
    backbone_rows,
    preset_designs,
    reference_events,
)
from nubench.sparse.batch import SparseBatch
from nubench.sparse.coordinates import build_pyramid


def test_reference_events_are_reproducible_and_have_no_voxel_twice():
    events = reference_events(5, seed=3)
    assert events.voxels_per_event.tolist() == [REFERENCE_VOXELS] * 5
    for number in range(5):
        voxels = events.select(np.array([number])).coords
        assert len(np.unique(voxels, axis=0)) == len(voxels)
    again = reference_events(5, seed=3)
    assert np.array_equal(events.coords, again.coords)
    assert np.array_equal(events.features, again.features)
    assert not np.array_equal(events.coords, reference_events(5, seed=4).coords)


def test_reference_events_occupy_the_levels_as_the_detector_does():
    """Rows an event after each strided convolution; 672 events of the LArTPC's nominal training split have these."""
    batch = SparseBatch.from_events(reference_events(32))
    levels = build_pyramid(batch, (4, 2, 2, 2), 1).levels
    rows = [len(level.coords) / batch.size for level in levels]
    assert rows == pytest.approx([165.8, 90.2, 51.8, 31.1], rel=0.15)


def test_presets_are_listed_with_their_parameters_and_operations():
    rows = backbone_rows(preset_designs())
    assert [row[0] for row in rows] == list(BACKBONE_PRESETS)
    assert [row[2] for row in rows] == ["403,488", "2,438,368", "31,362,048"]
    operations = [float(row[3].removesuffix(" M").replace(",", "")) for row in rows]
    # 672 events of the LArTPC's nominal training split: 19.0, 144 and 2273 million.
    assert operations == pytest.approx([19, 144, 2273], rel=0.05)


def test_designs_build_what_the_presets_say():
    torch.manual_seed(3)
    expected = build_backbone("tiny", 2, kernel=3).state_dict()
    torch.manual_seed(3)
    found = preset_designs()[0].build(in_channels=2, engine="native", kernel=3).state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


class Mean(torch.nn.Module):
    """A backbone of somebody else: the mean charge, through one layer."""

    embedding_size = 4

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(in_channels, self.embedding_size)

    def forward(self, batch: SparseBatch) -> torch.Tensor:
        return self.layer(torch.segment_reduce(batch.features, "mean", offsets=batch.offsets))


def test_another_backbone_is_listed_beside_them():
    design = BackboneDesign(
        "mean",
        "mean charge",
        lambda in_channels, engine: Mean(in_channels),
        lambda network, batch: len(batch.features) * 10**6 + 2 * batch.size * number_of_parameters(network),
    )
    assert backbone_rows([design]) == [["mean", "mean charge", "8", f"{REFERENCE_VOXELS} M"]]
    batch = SparseBatch.from_events(reference_events(3))
    assert design.build(in_channels=1, engine="native")(batch).shape == (3, 4)
