from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from nubench.backbone import BACKBONE_PRESETS, BackboneConfig, build_backbone, forward_flops, number_of_parameters
from nubench.errors import UsageError
from nubench.sparse.batch import SparseBatch, concatenate

TOTAL_STRIDE = 32


def tracks(seed: int, size: int = 6, voxels: int = 150) -> SparseBatch:
    """Random walks through voxels, some at negative indices."""
    random = np.random.default_rng(seed)
    events = [np.unique(np.cumsum(random.integers(-1, 2, (voxels, 3)), 0), axis=0) for _ in range(size)]
    coords = torch.from_numpy(np.concatenate(events)).int()
    event = torch.from_numpy(np.repeat(np.arange(size), [len(e) for e in events]))
    return SparseBatch(coords, event, torch.from_numpy(random.normal(size=(len(coords), 1))).float(), size)


def embed(backbone, batch):
    with torch.no_grad():
        return backbone(batch)


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    network = build_backbone("tiny").eval()
    for name, parameter in network.named_parameters():
        # At its start the normalisation is the identity and the embeddings are tiny: neither would test much.
        if "grn" in name or "weight" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return network


def test_embeddings_have_a_row_for_each_event_and_depend_on_charge(backbone):
    batch = tracks(1)
    out = embed(backbone, batch)
    assert out.shape == (batch.size, backbone.embedding_size) == (6, 128)
    brighter = SparseBatch(batch.coords, batch.event, batch.features + 1, batch.size)
    assert (embed(backbone, brighter) - out).abs().max() > 1e-3


def test_order_of_voxels_does_not_matter(backbone):
    batch = tracks(2)
    order = torch.argsort(batch.event + torch.rand(len(batch.event)) * 0.9)
    shuffled = SparseBatch(batch.coords[order], batch.event[order], batch.features[order], batch.size)
    assert torch.equal(embed(backbone, batch), embed(backbone, shuffled))


def test_translation_by_the_total_stride_does_not_matter(backbone):
    batch = tracks(3)
    shift = torch.tensor([TOTAL_STRIDE, -7 * TOTAL_STRIDE, 20 * TOTAL_STRIDE], dtype=torch.int32)
    moved = SparseBatch(batch.coords + shift, batch.event, batch.features, batch.size)
    assert torch.equal(embed(backbone, batch), embed(backbone, moved))


def test_an_event_does_not_depend_on_its_neighbours(backbone):
    first, second = tracks(4), tracks(5)
    together = embed(backbone, concatenate(first, second))
    apart = torch.cat([embed(backbone, first), embed(backbone, second)])
    torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="holds for the matrix products of MKL")
@pytest.mark.parametrize(("size", "voxels"), [(1, 1), (1, 20), (2, 150), (9, 400)])
def test_on_one_machine_not_even_in_the_last_bit(backbone, size, voxels):
    first, second = tracks(10, size, voxels), tracks(11, 20)
    together = embed(backbone, concatenate(first, second))
    assert torch.equal(together[:size], embed(backbone, first))
    assert torch.equal(together[size:], embed(backbone, second))


def test_events_of_one_voxel_train(backbone):
    batch = SparseBatch(torch.tensor([[3, -4, 5], [0, 0, 0]]).int(), torch.arange(2), torch.ones(2, 1), 2)
    backbone(batch).sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in backbone.parameters())


def test_gradients_reach_every_parameter_and_are_reproducible(backbone):
    batch = tracks(6)
    gradients = []
    for _ in range(2):
        backbone.zero_grad()
        backbone(batch).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in backbone.parameters()])
    assert all(gradient.abs().sum() > 0 for gradient in gradients[0])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_double_precision_agrees_with_single(backbone):
    batch = tracks(7)
    single = embed(backbone, batch)
    double = SparseBatch(batch.coords, batch.event, batch.features.double(), batch.size)
    torch.testing.assert_close(embed(backbone.double(), double).float(), single, rtol=1e-4, atol=1e-4)


def test_stochastic_depth_drops_whole_events_in_training_only():
    torch.manual_seed(0)
    network = build_backbone("tiny", dims=(8,), depths=(2,), drop_path=0.9)
    block = network.stages[0].blocks[1]
    torch.nn.init.normal_(block.contract.weight)
    batch = tracks(8, size=40)
    calm = embed(network.eval(), batch)
    assert torch.equal(calm, embed(network, batch))
    network.train()
    assert not torch.equal(calm, embed(network, batch))
    geometry = network._engine.geometry(batch, network.config.strides, network.config.kernel)
    features = network.stages[0].downsample(batch.features, geometry)
    changed = (block(features, geometry) - features).abs().amax(1) > 0
    by_event = changed.split(geometry.offsets(0).diff().tolist())
    assert all(event.all() or not event.any() for event in by_event)
    assert 0 < sum(bool(event.any()) for event in by_event) < 20


def test_the_network_learns_to_tell_charge_and_shape():
    torch.manual_seed(0)
    network = build_backbone("tiny")
    head = torch.nn.Linear(128, 2)
    optimiser = torch.optim.AdamW([*network.parameters(), *head.parameters()], lr=3e-3)
    batch = tracks(9, size=32)
    labels = torch.arange(32) % 2
    bright = SparseBatch(batch.coords, batch.event, batch.features + 2 * labels[batch.event][:, None], 32)
    for _ in range(30):
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(head(network(bright)), labels)
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.1


def test_the_paper_preset_is_convnext_v2():
    config = BACKBONE_PRESETS["paper"]
    assert (config.dims, config.depths) == ((96, 192, 384, 768), (3, 3, 9, 3))
    blocks = sum(
        depth * ((7**3 + 1) * dim + 2 * dim + (dim + 1) * 4 * dim + 2 * 4 * dim + (4 * dim + 1) * dim)
        for dim, depth in zip(config.dims, config.depths, strict=True)
    )
    downsampling = sum(2 * before + (8 * before + 1) * after for before, after in pairwise(config.dims))
    with torch.device("meta"):
        assert number_of_parameters(build_backbone("paper")) == blocks + downsampling + (4**3 + 1) * 96


def test_flops_of_one_voxel_are_those_of_its_path():
    network = build_backbone("tiny", dims=(8, 16), depths=(1, 2))
    batch = SparseBatch(torch.zeros(1, 3).int(), torch.zeros(1).long(), torch.ones(1, 1), 1)
    stem, block, down, blocks = 8, 8 + 2 * 8 * 32, 8 * 16, 2 * (16 + 2 * 16 * 64)
    assert forward_flops(network, batch) == 2 * (stem + block + down + blocks)


def test_overrides_and_unknown_names():
    assert build_backbone("tiny", grn=False, kernel=3).config.kernel == 3
    assert build_backbone("tiny", dims=(8, 16), depths=(1, 1)).embedding_size == 16
    with pytest.raises(UsageError, match="unknown backbone preset 'tony'; did you mean 'tiny'"):
        build_backbone("tony")
    with pytest.raises(UsageError, match="unknown engine 'nativ'; did you mean 'native'"):
        build_backbone("tiny", engine="nativ")
    with pytest.raises(UsageError, match="unknown backbone setting 'dim'; did you mean 'dims'"):
        build_backbone("tiny", dim=(1,))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dims": (8,), "depths": (1, 1)}, "equally long"),
        ({"dims": (), "depths": ()}, "equally long"),
        ({"dims": (8,), "depths": (1,), "kernel": 4}, "kernel must be odd"),
        ({"dims": (8,), "depths": (1,), "stem": 0}, "stem and expansion"),
        ({"dims": (8,), "depths": (1,), "drop_path": 1.0}, "drop_path"),
    ],
)
def test_impossible_shapes_are_refused(values, message):
    with pytest.raises(UsageError, match=message):
        BackboneConfig(**values)
