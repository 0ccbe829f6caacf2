from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from shifted_domain import SmallBackbone, accuracy, draw_events, fit, small_context, small_view

from nubench.sparse.batch import SparseBatch
from nubench_plugins.statistics_alignment import Aligned, Moments, StatisticsAlignment, align, measure

pytestmark = pytest.mark.usefixtures("one_thread")


def _batches(displaced: float, seed: int) -> list[SparseBatch]:
    events, _ = draw_events(300, seed, displaced, stretched=2.0 if displaced else 1.0)
    return [SparseBatch.from_events(events, np.arange(first, first + 100)) for first in (0, 100, 200)]


def test_moments_are_those_of_all_rows_of_all_batches() -> None:
    torch.manual_seed(1)
    backbone, batches = SmallBackbone().eval(), _batches(0, 1)
    of_first, of_embedding = measure(backbone, [backbone.stages[0], backbone], batches)
    with torch.inference_mode():
        first = torch.cat([backbone.stages[0](batch.features, None) for batch in batches])
        embedding = torch.cat([backbone(batch) for batch in batches])
    for found, rows in ((of_first, first), (of_embedding, embedding)):
        assert torch.allclose(found.mean, rows.mean(0), atol=1e-6)
        assert torch.allclose(found.std, rows.std(0, correction=0), atol=1e-6)
    assert not backbone._forward_hooks


def test_a_map_by_hand() -> None:
    wanted = Moments(torch.tensor([1.0, 5.0]), torch.tensor([2.0, 3.0]))
    found = Moments(torch.tensor([10.0, 7.0]), torch.tensor([4.0, 0.0]))
    mapped = Aligned(torch.nn.Identity(), wanted, found)(torch.tensor([[10.0, 7.0], [14.0, 8.0]]))
    # The second channel does not vary: it is only shifted.
    assert mapped.tolist() == [[1.0, 5.0], [3.0, 6.0]]


@pytest.mark.parametrize("stages", [True, False])
def test_the_target_s_moments_become_the_source_s(stages: bool) -> None:
    torch.manual_seed(1)
    backbone, source, target = SmallBackbone().eval(), _batches(0, 1), _batches(3, 2)
    original = list(backbone.stages)
    wanted = measure(backbone, [*original, backbone], source)
    before = measure(backbone, [*original, backbone], target)

    aligned = align(backbone, source, target, stages)

    watched = [*backbone.stages, aligned] if stages else [aligned]
    after = measure(aligned, watched, target)
    for found, expected in zip(after, wanted if stages else wanted[-1:], strict=True):
        assert torch.allclose(found.mean, expected.mean, atol=1e-4)
        assert torch.allclose(found.std, expected.std, atol=1e-4)
    assert not torch.allclose(before[-1].mean, wanted[-1].mean, atol=0.05)
    assert list(backbone.stages) == (list(backbone.stages) if stages else original)


@pytest.mark.parametrize("layers", ["stages", "embedding"])
def test_alignment_helps_on_the_target_and_changes_little_without_a_shift(layers: str, tmp_path: Path) -> None:
    shifted = fit(
        StatisticsAlignment, small_view(StatisticsAlignment, 3.0, 2.0), small_context(tmp_path / "a"), layers=layers
    )
    same = fit(StatisticsAlignment, small_view(StatisticsAlignment), small_context(tmp_path / "b"), layers=layers)
    # The same source classifier without maps, or almost: this target is drawn like the source.
    source_only = accuracy(same, 3.0, 2.0)
    assert accuracy(shifted, 3.0, 2.0) > source_only + 0.08
    assert accuracy(same) > 0.97


def test_there_are_no_embeddings_for_a_probe(tmp_path: Path) -> None:
    model = fit(StatisticsAlignment, small_view(StatisticsAlignment), small_context(tmp_path), views=640)
    assert model.embed(draw_events(5, 1)[0]) is None
    assert model.number_of_parameters == model.backbone_parameters + 16 * 2 + 2
    assert model.training_record["views"] == 640
