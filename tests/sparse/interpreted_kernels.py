"""The GPU kernels under Triton's interpreter. Collected by ``test_triton.py`` alone, in a process of its own."""

from __future__ import annotations

import os

import pytest
import torch

from kernel_checks import (
    Place,
    check_depthwise,
    check_pooling,
    check_response,
    check_ties_and_missing_numbers,
    poisoned_memory,
)
from nubench.backbone import Backbone, build_backbone
from nubench.sparse.batch import SparseBatch
from nubench.sparse.compilation_triton import triton_usable
from nubench.sparse.strided import _whole_cells

# Events of one voxel, of fewer rows than a tile has and of more.
SIZES, EDGE = (1, 9, 20), 4
TYPES = [torch.float64, torch.float32, torch.bfloat16]


def test_the_interpreter_is_on():
    assert os.environ["TRITON_INTERPRET"] == "1"
    assert triton_usable(torch.zeros(1))
    assert not triton_usable(torch.zeros(1, dtype=torch.int64))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("kernel", "channels"), [(3, 5), (1, 33)])
def test_depthwise(dtype, kernel, channels):
    check_depthwise(Place("cpu", dtype, 1), SIZES, EDGE, kernel, channels)


def test_depthwise_with_several_tiles_of_channels():
    check_depthwise(Place("cpu", torch.bfloat16, 1), (1, 6), EDGE, 3, 48)


def test_depthwise_with_several_chunks_a_place(monkeypatch):
    monkeypatch.setattr("nubench.sparse.coordinates._CHUNK", 4)
    check_depthwise(Place("cpu", torch.float64, 2), SIZES, EDGE, 3, 4)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("active", [True, False])
def test_response(dtype, active):
    check_response(Place("cpu", dtype, 3), (1, 9, 70), 20, active)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("kind", ["max", "mean", "sum"])
def test_pooling(dtype, kind):
    check_pooling(Place("cpu", dtype, 4), (1, 9, 70), 20, kind)


@pytest.mark.parametrize("dtype", TYPES)
def test_ties_and_missing_numbers(dtype):
    check_ties_and_missing_numbers("cpu", dtype)


def small_network() -> tuple[Backbone, SparseBatch]:
    torch.manual_seed(5)
    network = build_backbone("tiny", dims=(8, 16), depths=(1, 1), kernel=3).double()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    coords = torch.cartesian_prod(torch.arange(-6, 6, 3), torch.arange(3), torch.arange(2)).int()
    event = torch.tensor([0] + [1] * 23)
    return network, SparseBatch(coords, event, torch.randn(24, 1, dtype=torch.float64), 2)


def embed_and_gradients(network: Backbone, batch: SparseBatch) -> list[torch.Tensor]:
    out = network(batch)
    return [out, *torch.autograd.grad(out.square().sum(), list(network.parameters()))]


def test_the_whole_network(monkeypatch):
    with poisoned_memory():
        found = embed_and_gradients(*small_network())
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    for one, other in zip(found, embed_and_gradients(*small_network()), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("interpreted", ["1", "0"], ids=["kernels", "torch"])
def test_the_whole_network_under_autocast_as_on_a_gpu(monkeypatch, interpreted):
    exact = embed_and_gradients(*small_network())
    monkeypatch.setenv("TRITON_INTERPRET", interpreted)
    for module in ("coordinates", "depthwise", "activation", "normalisation", "pooling", "strided"):
        monkeypatch.setattr(f"nubench.sparse.{module}.kernels_usable", lambda tensor: False)
    monkeypatch.setattr("nubench.sparse.engine.strided_convolution", _whole_cells)
    network, batch = small_network()
    single = SparseBatch(batch.coords, batch.event, batch.features.float(), batch.size)
    network.float()
    with torch.autocast("cpu", torch.bfloat16):
        out = network(single)
    gradients = torch.autograd.grad(out.float().square().sum(), list(network.parameters()))
    assert (out - exact[0]).norm() < 0.05 * exact[0].norm()
    for name, one, other in zip(dict(network.named_parameters()), gradients, exact[1:], strict=True):
        assert (one - other).norm() < 0.15 * other.norm(), name
