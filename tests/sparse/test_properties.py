"""What must hold for any events: symmetries of the whole network, the key space's far corner, repeated voxels."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nubench.backbone import Backbone, build_backbone
from nubench.sparse.batch import SparseBatch, concatenate
from nubench.sparse.coordinates import Voxels, build_pyramid, neighbour_map, stride_map
from nubench.sparse.strided import _whole_cells, strided_convolution

fixture_is_stateless = settings(deadline=None, max_examples=8, suppress_health_check=list(HealthCheck))
seeds = st.integers(0, 10**6)
sparsity = st.sampled_from([0.01, 0.1, 0.5])
TOTAL_STRIDE = 8


@pytest.fixture(scope="module")
def network() -> Backbone:
    """A stem of 4, one halving, depth-wise 5^3; weights large enough that everything matters."""
    torch.manual_seed(0)
    backbone = build_backbone("tiny", 3, dims=(8, 16), depths=(1, 1), kernel=5).eval()
    for parameter in backbone.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return backbone


def embed(network: Backbone, batch: SparseBatch) -> torch.Tensor:
    with torch.no_grad():
        return network(SparseBatch(batch.coords, batch.event, batch.features.float(), batch.size))


@given(seed=seeds, filled=sparsity)
@fixture_is_stateless
def test_the_order_of_voxels_does_not_matter(make_batch, form, network, seed, filled):
    batch = make_batch(seed, edge=8, filled=filled)
    generator = torch.Generator().manual_seed(seed)
    order = torch.argsort(batch.event + 0.9 * torch.rand(len(batch.event), generator=generator))
    shuffled = SparseBatch(batch.coords[order], batch.event[order], batch.features[order], batch.size)
    assert torch.equal(embed(network, batch), embed(network, shuffled))


@given(seed=seeds, filled=sparsity, steps=st.tuples(*[st.integers(-(10**6), 10**6)] * 3))
@fixture_is_stateless
def test_translation_by_the_total_stride_does_not_matter(make_batch, form, network, seed, filled, steps):
    batch = make_batch(seed, edge=8, filled=filled)
    shift = TOTAL_STRIDE * torch.tensor(steps, dtype=torch.int32)
    moved = SparseBatch(batch.coords + shift, batch.event, batch.features, batch.size)
    assert torch.equal(embed(network, batch), embed(network, moved))


@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="holds for the matrix products of MKL")
@given(seed=seeds, filled=sparsity, sizes=st.tuples(st.integers(1, 6), st.integers(1, 6)))
@fixture_is_stateless
def test_an_event_does_not_depend_on_the_rest_of_its_batch_in_any_bit(make_batch, form, network, seed, filled, sizes):
    first = make_batch(seed, sizes[0], edge=8, filled=filled)
    second = make_batch(seed + 1, sizes[1], edge=8, filled=0.1)
    together = embed(network, concatenate(first, second))
    assert torch.equal(together[: sizes[0]], embed(network, first))
    assert torch.equal(together[sizes[0] :], embed(network, second))


def test_events_of_one_voxel_have_maps(form):
    voxels = Voxels(torch.tensor([[-5, 0, 7]] * 3, dtype=torch.int32), torch.arange(4))
    coarse, into = stride_map(voxels, 4)
    assert coarse.coords.tolist() == [[-2, 0, 1]] * 3
    assert into.kernel_index.tolist() == [(3 * 4 + 0) * 4 + 3] * 3
    near = neighbour_map(coarse, 7)
    assert near.rows.tolist() == [0, 1, 2]
    assert near.kernel_index.tolist() == [7**3 // 2] * 3


def test_the_far_corner_of_the_largest_batch(form):
    """4,096 events that fill both corners of 1024^3, in the middle of the signed range: no event sees another."""
    low, high = -512, 511
    event = [[low] * 3, [low, low, low + 2], [high, high, high - 1], [high] * 3]
    size = 4096
    voxels = Voxels(torch.tensor(event, dtype=torch.int32).repeat(size, 1), torch.arange(0, 4 * size + 1, 4))
    fine, _ = stride_map(voxels, 1)
    assert torch.equal(fine.coords, voxels.coords)
    near = neighbour_map(fine, 7)
    assert torch.equal(near.pointers, torch.arange(0, 8 * size + 1, 2))
    rows = near.rows.view(size, 8) - 4 * torch.arange(size)[:, None]
    assert torch.equal(rows, torch.tensor([0, 1, 0, 1, 2, 3, 2, 3]).expand(size, 8))
    middle = 7**3 // 2
    places = torch.tensor([middle, middle + 2, middle - 2, middle, middle, middle + 1, middle - 1, middle])
    assert torch.equal(near.kernel_index.view(size, 8).long(), places.expand(size, 8))


def test_a_voxel_that_stands_twice_is_refused(form):
    coords = torch.tensor([[1, 2, 3], [7, 7, 7], [4, 5, 6], [7, 7, 8], [4, 5, 6]], dtype=torch.int32)
    apart = SparseBatch(coords, torch.tensor([0, 0, 0, 1, 1]), torch.ones(5, 1), 2)
    assert build_pyramid(apart, (4,), 3).size == 2
    twice = SparseBatch(coords, torch.tensor([0, 1, 1, 1, 1]), torch.ones(5, 1), 2)
    with pytest.raises(ValueError, match=r"voxel \(4, 5, 6\) does in event 1 of the batch"):
        build_pyramid(twice, (4,), 3)


@given(seed=seeds, filled=sparsity, stride=st.sampled_from([2, 4]), channels=st.sampled_from([1, 6]))
@fixture_is_stateless
def test_whole_cells_give_the_strided_convolution(make_batch, seed, filled, stride, channels):
    """The form for GPUs, on the processor; the other forms are tested against the dense convolution."""
    batch = make_batch(seed, filled=filled, channels=channels)
    features = batch.features.requires_grad_()
    into = stride_map(Voxels(batch.coords, batch.offsets), stride)[1]
    weight = torch.randn(stride**3, channels, 5, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(5, dtype=torch.float64, requires_grad=True)
    expected = strided_convolution(features, into, weight, bias)
    found = _whole_cells(features, into, weight, bias)
    torch.testing.assert_close(found, expected)
    upstream = torch.randn_like(expected)
    for one, other in zip(
        torch.autograd.grad(found, (features, weight, bias), upstream),
        torch.autograd.grad(expected, (features, weight, bias), upstream),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_whole_cells_read_the_charge_in_full_under_autocast(make_batch):
    batch = make_batch(3, channels=1)
    features = batch.features.float() + 100
    into = stride_map(Voxels(batch.coords, batch.offsets), 4)[1]
    weight, bias = torch.randn(64, 1, 5), torch.randn(5)
    exact = strided_convolution(features, into, weight, bias)
    with torch.autocast("cpu", torch.bfloat16):
        found = _whole_cells(features, into, weight, bias)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, exact.bfloat16()) or (found - exact).abs().max() <= exact.abs().max() / 128


@given(seed=seeds, filled=sparsity, kernel=st.sampled_from([1, 3, 7]), chunk=st.sampled_from([1, 3, 256]))
@fixture_is_stateless
def test_edges_by_place_hold_every_entry_once_in_chunks(make_batch, seed, filled, kernel, chunk):
    batch = make_batch(seed, filled=filled)
    near = neighbour_map(stride_map(Voxels(batch.coords, batch.offsets), 1)[0], kernel)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nubench.sparse.coordinates._CHUNK", chunk)
        edges = near.by_place
    out_rows = torch.repeat_interleave(near.pointers.diff())
    entries = sorted(zip(near.kernel_index.tolist(), out_rows.tolist(), near.rows.tolist(), strict=True))
    places = torch.repeat_interleave(edges.pointers.diff())
    found = list(zip(places.tolist(), edges.out_rows.tolist(), edges.rows.tolist(), strict=True))
    assert found == entries
    # What the kernel works out for each chunk: together they cover every entry once, and no chunk has two places.
    number = torch.arange(len(edges.chunk_place))
    begin = edges.pointers[edges.chunk_place] + (number - edges.chunk_pointers[edges.chunk_place]) * chunk
    end = torch.minimum(begin + chunk, edges.pointers[edges.chunk_place + 1])
    covered = [row for b, e in zip(begin.tolist(), end.tolist(), strict=True) for row in range(b, e)]
    assert covered == list(range(len(found)))
