"""Both convolutions against torch's dense conv3d, event by event, forward and gradients, in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn.functional import conv3d

from nubench.sparse.batch import SparseBatch
from nubench.sparse.coordinates import NeighbourMap, StrideMap, Voxels, neighbour_map, stride_map
from nubench.sparse.depthwise import depthwise_convolution
from nubench.sparse.strided import strided_convolution

fixture_is_stateless = settings(deadline=None, max_examples=15, suppress_health_check=list(HealthCheck))
kinds = st.sampled_from([0.02, 0.3, 1.0])
seeds = st.integers(0, 10**6)


def sorted_batch(batch: SparseBatch) -> tuple[Voxels, torch.Tensor]:
    voxels, into = stride_map(Voxels(batch.coords, batch.offsets), 1)
    return voxels, batch.features[into.children].requires_grad_()


def random_parameters(seed: int, *shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(*shape, generator=generator, dtype=torch.float64)
    bias = torch.randn(shape[-1], generator=generator, dtype=torch.float64)
    return weight.requires_grad_(), bias.requires_grad_()


def dense_event(voxels: Voxels, features: torch.Tensor, event: int, stride: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(C, X, Y, Z) grid of one event with its corner on a multiple of the stride, and that corner."""
    rows = slice(voxels.offsets[event], voxels.offsets[event + 1])
    coords = voxels.coords[rows].long()
    corner = torch.div(coords.amin(0), stride, rounding_mode="floor") * stride
    extent = [-(-(size + 1) // stride) * stride for size in (coords.amax(0) - corner).tolist()]
    x, y, z = (coords - corner).unbind(1)
    grid = features.new_zeros((*extent, features.shape[1])).index_put((x, y, z), features[rows])
    return grid.permute(3, 0, 1, 2), corner


def at_voxels(grid: torch.Tensor, voxels: Voxels, event: int, corner: torch.Tensor) -> torch.Tensor:
    coords = voxels.coords[voxels.offsets[event] : voxels.offsets[event + 1]].long() - corner
    x, y, z = coords.unbind(1)
    return grid[:, x, y, z].t()


def dense_depthwise(voxels, features, kernel, weight, bias):
    channels = features.shape[1]
    dense_weight = weight.t().reshape(channels, 1, kernel, kernel, kernel)
    rows = []
    for event in range(len(voxels.offsets) - 1):
        grid, corner = dense_event(voxels, features, event, 1)
        grid = conv3d(grid[None], dense_weight, bias, padding=kernel // 2, groups=channels)[0]
        rows.append(at_voxels(grid, voxels, event, corner))
    return torch.cat(rows)


def dense_strided(fine, coarse, features, stride, weight, bias):
    dense_weight = weight.permute(2, 1, 0).reshape(weight.shape[2], weight.shape[1], stride, stride, stride)
    rows = []
    for event in range(len(fine.offsets) - 1):
        grid, corner = dense_event(fine, features, event, stride)
        grid = conv3d(grid[None], dense_weight, bias, stride=stride)[0]
        rows.append(at_voxels(grid, coarse, event, torch.div(corner, stride, rounding_mode="floor")))
    return torch.cat(rows)


def assert_same_with_gradients(out, expected, *inputs):
    torch.testing.assert_close(out, expected)
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(7), dtype=out.dtype)
    for found, wanted in zip(
        torch.autograd.grad(out, inputs, upstream), torch.autograd.grad(expected, inputs, upstream), strict=True
    ):
        torch.testing.assert_close(found, wanted)


@given(seed=seeds, filled=kinds, kernel=st.sampled_from([1, 3, 7]), channels=st.sampled_from([1, 3, 16]))
@fixture_is_stateless
def test_depthwise_is_the_dense_convolution(make_batch, form, seed, filled, kernel, channels):
    voxels, features = sorted_batch(make_batch(seed, filled=filled, channels=channels))
    weight, bias = random_parameters(seed, kernel**3, channels)
    out = depthwise_convolution(features, neighbour_map(voxels, kernel), weight, bias)
    assert_same_with_gradients(out, dense_depthwise(voxels, features, kernel, weight, bias), features, weight, bias)


@given(seed=seeds, filled=kinds, stride=st.sampled_from([2, 4]), channels=st.sampled_from([1, 3, 8]))
@fixture_is_stateless
def test_strided_is_the_dense_convolution(make_batch, form, seed, filled, stride, channels):
    batch = make_batch(seed, filled=filled, channels=channels)
    fine, features = Voxels(batch.coords, batch.offsets), batch.features.requires_grad_()
    coarse, into = stride_map(fine, stride)
    weight, bias = random_parameters(seed, stride**3, channels, 5)
    out = strided_convolution(features, into, weight, bias)
    assert_same_with_gradients(out, dense_strided(fine, coarse, features, stride, weight, bias), features, weight, bias)


def test_gradcheck(make_batch, form):
    voxels, features = sorted_batch(make_batch(5, size=2, edge=3, channels=2))
    near: NeighbourMap = neighbour_map(voxels, 3)
    weight, bias = random_parameters(1, 27, 2)
    assert torch.autograd.gradcheck(lambda *a: depthwise_convolution(a[0], near, *a[1:]), (features, weight, bias))
    into: StrideMap = stride_map(voxels, 2)[1]
    weight, bias = random_parameters(1, 8, 2, 3)
    assert torch.autograd.gradcheck(lambda *a: strided_convolution(a[0], into, *a[1:]), (features, weight, bias))


def test_the_torch_form_works_in_chunks(make_batch, monkeypatch):
    voxels, features = sorted_batch(make_batch(9, size=4, edge=6))
    near = neighbour_map(voxels, 5)
    weight, bias = random_parameters(2, 125, 3)
    expected = depthwise_convolution(features, near, weight, bias)
    monkeypatch.setattr("nubench.sparse.depthwise.kernels_usable", lambda tensor: False)
    monkeypatch.setattr("nubench.sparse.depthwise._CHUNK_EDGES", 100)
    found = depthwise_convolution(features, near, weight, bias)
    assert_same_with_gradients(found, expected, features, weight, bias)


@pytest.mark.parametrize("threads", [1, 2])
def test_results_do_not_depend_on_the_number_of_threads(make_batch, threads):
    voxels, features = sorted_batch(make_batch(11, size=20, edge=6))
    weight, bias = random_parameters(3, 27, 3)
    near = neighbour_map(voxels, 3)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        out = depthwise_convolution(features, near, weight, bias)
        gradients = torch.autograd.grad(out.square().sum(), (features, weight))
    finally:
        torch.set_num_threads(before)
    again = depthwise_convolution(features, near, weight, bias)
    assert torch.equal(out, again)
    for one, other in zip(gradients, torch.autograd.grad(again.square().sum(), (features, weight)), strict=True):
        assert torch.equal(one, other)
