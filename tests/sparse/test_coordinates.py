from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nubench.sparse.coordinates import Voxels, build_pyramid, neighbour_map, stride_map

fixture_is_stateless = settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))


def rows_of(voxels: Voxels) -> dict[tuple[int, ...], int]:
    """From (event, x, y, z) to row."""
    keyed = torch.cat([voxels.event[:, None], voxels.coords.long()], 1).tolist()
    return {tuple(key): row for row, key in enumerate(keyed)}


@given(seed=st.integers(0, 10**6), filled=st.sampled_from([0.02, 0.3, 1.0]), stride=st.sampled_from([1, 2, 3, 4]))
@fixture_is_stateless
def test_stride_map_against_a_loop(make_batch, form, seed, filled, stride):
    batch = make_batch(seed, filled=filled)
    fine = Voxels(batch.coords, batch.offsets)
    coarse, into = stride_map(fine, stride)
    expected: dict[tuple[int, ...], list[tuple[int, int]]] = {}
    for (event, *xyz), row in rows_of(fine).items():
        cell = (event, *(value // stride for value in xyz))
        x, y, z = (value % stride for value in xyz)
        expected.setdefault(cell, []).append(((x * stride + y) * stride + z, row))
    assert list(rows_of(coarse)) == sorted(expected)
    for row, cell in enumerate(sorted(expected)):
        children = slice(into.pointers[row], into.pointers[row + 1])
        places, fine_rows = zip(*sorted(expected[cell]), strict=True)
        assert tuple(into.children[children].tolist()) == fine_rows
        assert tuple(into.kernel_index[children].tolist()) == places
        assert set(into.parent[children].tolist()) == {row}


@given(seed=st.integers(0, 10**6), filled=st.sampled_from([0.02, 0.3, 1.0]), kernel=st.sampled_from([1, 3, 5, 7]))
@fixture_is_stateless
def test_neighbour_map_against_a_loop(make_batch, form, seed, filled, kernel):
    batch = make_batch(seed, filled=filled, edge=5)
    voxels, _ = stride_map(Voxels(batch.coords, batch.offsets), 1)
    found = neighbour_map(voxels, kernel)
    rows = rows_of(voxels)
    radius = kernel // 2
    steps = list(itertools.product(range(-radius, radius + 1), repeat=3))
    expected = [
        [(rows[near], place) for place, step in enumerate(steps) if (near := neighbour(key, step)) in rows]
        for key in rows
    ]
    assert found.pointers.diff().tolist() == [len(row) for row in expected]
    edges = list(itertools.chain.from_iterable(expected))
    assert list(zip(found.rows.tolist(), found.kernel_index.tolist(), strict=True)) == edges


def neighbour(key: tuple[int, ...], step: tuple[int, ...]) -> tuple[int, ...]:
    return (key[0], *(value + shift for value, shift in zip(key[1:], step, strict=True)))


def test_large_batches_and_extents_fit_the_keys(form):
    corners = torch.tensor([[-512, -512, -512], [511, 511, 511]], dtype=torch.int32)
    size = 4096
    voxels = Voxels(corners.repeat(size, 1), torch.arange(0, 2 * size + 1, 2))
    coarse, into = stride_map(voxels, 4)
    assert coarse.coords[:2].tolist() == [[-128] * 3, [127] * 3]
    assert into.kernel_index[:2].tolist() == [0, 63]
    assert neighbour_map(coarse, 7).pointers.diff().unique().tolist() == [1]


def test_coordinates_too_far_apart_are_refused(form):
    corners = torch.tensor([[-(2**30)] * 3, [2**30] * 3], dtype=torch.int32)
    voxels = Voxels(corners, torch.tensor([0, 2]))
    for build in (lambda: stride_map(voxels, 2), lambda: neighbour_map(voxels, 3)):
        with pytest.raises(ValueError, match="too far apart"):
            build()


@pytest.mark.parametrize("kernel", [0, 2, 33])
def test_wrong_kernels_are_refused(make_batch, kernel):
    batch = make_batch(0)
    with pytest.raises(ValueError, match=f"got {kernel}"):
        neighbour_map(Voxels(batch.coords, batch.offsets), kernel)


def test_pyramid_has_a_level_for_each_stride(make_batch):
    pyramid = build_pyramid(make_batch(3), (4, 2), 3)
    assert len(pyramid.levels) == len(pyramid.strides) == len(pyramid.neighbours) == 2
    coarse, _ = stride_map(pyramid.levels[0], 2)
    assert torch.equal(coarse.coords, pyramid.levels[1].coords)
