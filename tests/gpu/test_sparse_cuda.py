"""The sparse network on a GPU against the processor in float64: kernels, maps, the whole network, its determinism."""

from __future__ import annotations

import os
import warnings

# cuBLAS reads this when it starts; with it, its products are the same from run to run.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import numpy as np
import pytest
import torch

from kernel_checks import (
    Place,
    check_depthwise,
    check_pooling,
    check_response,
    check_strided,
    check_ties_and_missing_numbers,
    poisoned_memory,
    sorted_voxels,
)
from nubench.backbone import Backbone, build_backbone
from nubench.sparse.batch import SparseBatch
from nubench.sparse.compilation_triton import triton_usable
from nubench.sparse.coordinates import NeighbourMap, Voxels, build_pyramid, neighbour_map, stride_map
from nubench.sparse.depthwise import depthwise_convolution

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")

SIZES, EDGE = (1, 7, 300, 33, 900), 12
TYPES = [torch.float64, torch.float32, torch.bfloat16]


@pytest.fixture
def seed() -> int:
    """Fresh inputs every time; pytest shows the number where a test fails."""
    number = int.from_bytes(os.urandom(3), "big")
    print(f"seed {number}")  # noqa: T201
    return number


@pytest.fixture(params=["kernels", "torch"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With the GPU kernels, and with the torch forms that serve a GPU without Triton."""
    if request.param == "kernels":
        assert triton_usable(torch.zeros(1, device="cuda"))
    else:
        for module in ("activation", "depthwise", "normalisation", "pooling"):
            monkeypatch.setattr(f"nubench.sparse.{module}.triton_usable", lambda tensor: False)
    return request.param


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("kernel", "channels"), [(3, 5), (7, 96), (5, 384)])
def test_depthwise(seed, dtype, kernel, channels):
    check_depthwise(Place("cuda", dtype, seed), SIZES, EDGE, kernel, channels)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("stride", "channels"), [(4, (1, 96)), (2, (96, 192))])
def test_strided(seed, dtype, stride, channels):
    check_strided(Place("cuda", dtype, seed), SIZES, EDGE, stride, channels)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("channels", [5, 384])
@pytest.mark.parametrize("active", [True, False])
def test_response(seed, dtype, channels, active):
    check_response(Place("cuda", dtype, seed), SIZES, channels, active)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("kind", ["max", "mean", "sum"])
def test_pooling(seed, dtype, kind):
    check_pooling(Place("cuda", dtype, seed), SIZES, 96, kind)


@pytest.mark.parametrize("dtype", TYPES)
def test_ties_and_missing_numbers(dtype):
    check_ties_and_missing_numbers("cuda", dtype)


def test_maps_are_those_of_the_processor(seed):
    voxels = sorted_voxels(seed, SIZES, EDGE)
    order = torch.randperm(len(voxels.coords), generator=torch.Generator().manual_seed(seed))
    order = order[torch.argsort(voxels.event[order], stable=True)]
    here = Voxels(voxels.coords[order], voxels.offsets)
    there = Voxels(here.coords.cuda(), here.offsets.cuda())
    for stride in (4, 2):
        here, into = stride_map(here, stride)
        there, into_there = stride_map(there, stride)
        for name in ("children", "kernel_index", "parent", "pointers"):
            assert torch.equal(getattr(into_there, name).cpu(), getattr(into, name))
        assert torch.equal(there.coords.cpu(), here.coords)
        assert torch.equal(there.offsets.cpu(), here.offsets)
        near, near_there = neighbour_map(here, 7), neighbour_map(there, 7)
        for name in ("pointers", "rows", "kernel_index"):
            assert torch.equal(getattr(near_there, name).cpu(), getattr(near, name))


def test_maps_wait_for_the_device_twice_a_level():
    batch = tracks(0, 8).to("cuda")
    build_pyramid(batch, (4, 2, 2), 7)
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            build_pyramid(batch, (4, 2, 2), 7)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len([w for w in caught if "synchroniz" in str(w.message)]) <= 1 + 2 * 3


def test_rows_beyond_two_to_the_31_numbers():
    channels = 1024
    rows = 2**31 // channels + 1000
    if torch.cuda.mem_get_info()[0] < 5 * rows * channels * 2:
        pytest.skip("needs 22 GB of free GPU memory")
    number = torch.arange(rows, device="cuda")
    middle = torch.zeros(rows, dtype=torch.int16, device="cuda")
    alone = NeighbourMap(1, torch.arange(rows + 1, device="cuda"), number.int(), middle)
    features = (number % 251).to(torch.bfloat16)[:, None].expand(rows, channels).contiguous()
    weight, bias = torch.full((1, channels), 2.0, device="cuda"), torch.ones(channels, device="cuda")
    with poisoned_memory():
        out = depthwise_convolution(features, alone, weight, bias)
    assert torch.equal(out[-1000:], features[-1000:] * 2 + 1)
    assert torch.equal(out[:, 0], features[:, 0] * 2 + 1)


def tracks(seed: int, size: int) -> SparseBatch:
    """Random walks through voxels, some at negative indices, float64."""
    random = np.random.default_rng(seed)
    events = [np.unique(np.cumsum(random.integers(-1, 2, (200, 3)), 0), axis=0) for _ in range(size)]
    coords = torch.from_numpy(np.concatenate(events)).int()
    event = torch.from_numpy(np.repeat(np.arange(size), [len(voxels) for voxels in events]))
    return SparseBatch(coords, event, torch.from_numpy(random.normal(size=(len(coords), 1))), size)


def network() -> Backbone:
    torch.manual_seed(1)
    backbone = build_backbone("tiny")
    for name, parameter in backbone.named_parameters():
        if "grn" in name or "weight" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return backbone


def embed_and_gradients(backbone: Backbone, batch: SparseBatch, autocast: bool) -> list[torch.Tensor]:
    with torch.autocast(batch.device.type, torch.bfloat16, enabled=autocast):
        out = backbone(batch)
    gradients = torch.autograd.grad(out.float().sum(), list(backbone.parameters()))
    return [out.detach(), *gradients]


@pytest.mark.parametrize(
    ("dtype", "autocast", "tolerance"),
    [(torch.float64, False, 1e-9), (torch.float32, False, 1e-3), (torch.float32, True, 0.1)],
    ids=["double", "single", "autocast"],
)
def test_the_whole_network(form, dtype, autocast, tolerance):
    batch = tracks(2, 16)
    exact = embed_and_gradients(network().double(), batch, False)
    there = SparseBatch(batch.coords, batch.event, batch.features.to(dtype), batch.size).to("cuda")
    backbone = network().to("cuda", dtype)
    found = embed_and_gradients(backbone, there, autocast)
    for one, other in zip(found, embed_and_gradients(backbone, there, autocast), strict=True):
        assert torch.equal(one, other), "two runs differ"
    # In half precision another voxel may hold the maximum, so single gradients are not compared.
    error = (found[0].double().cpu() - exact[0]).norm() / exact[0].norm()
    assert error < tolerance
    if not autocast:
        for one, other in zip(found[1:], exact[1:], strict=True):
            assert (one.double().cpu() - other).norm() < 10 * tolerance * other.norm()


def test_a_training_under_autocast_is_the_same_from_run_to_run(form):
    def train() -> list[torch.Tensor]:
        backbone = network().cuda()
        optimiser = torch.optim.AdamW(backbone.parameters(), lr=1e-3, fused=True)
        for step in range(3):
            with torch.autocast("cuda", torch.bfloat16):
                batch = tracks(step, 16)
                single = SparseBatch(batch.coords, batch.event, batch.features.float(), batch.size)
                loss = backbone(single.to("cuda")).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return list(backbone.parameters())

    with poisoned_memory():
        for one, other in zip(train(), train(), strict=True):
            assert torch.equal(one, other)
