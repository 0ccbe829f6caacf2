"""Speed of the native engine as a multiple of MinkowskiEngine's, both in one run on the same events.

Without ``--benchmark-enable`` each runs once, on few events, and shows that both compute the same.
"""

from __future__ import annotations

import ctypes
import importlib.util
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from test_sparse_speed import track

from nubench.backbone import build_backbone
from nubench.sparse.batch import SparseBatch
from nubench.sparse.coordinates import build_pyramid
from nubench.sparse.engine import get_engine

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("MinkowskiEngine") is None, reason="MinkowskiEngine is not installed: make minkowski"
)

CHANNELS, KERNEL = 96, 7
MEMORY = Path("/proc/self")


@pytest.fixture(scope="module")
def batch(request: pytest.FixtureRequest) -> SparseBatch:
    """256 events of about 460 voxels to measure, 6 to test."""
    size = 256 if request.config.getoption("benchmark_enable") else 6
    random = np.random.default_rng(0)
    events = [track(random, 460) for _ in range(size)]
    event = torch.repeat_interleave(torch.tensor([len(voxels) for voxels in events]))
    coords = torch.from_numpy(np.concatenate(events))
    features = torch.randn(len(coords), 1, generator=torch.Generator().manual_seed(0))
    return SparseBatch(coords, event, features, size)


def fastest(function: Callable[[], object], rounds: int) -> float:
    """Shortest of several times, in seconds: other programs can only make it longer."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def bandwidth_bound(numbers: int) -> float:
    """Seconds to read and write six times as many single-precision numbers, as fast as memory is copied."""
    source = torch.zeros(2**26)  # larger than any cache
    target = torch.ones_like(source)
    return 6 * numbers / (2 * source.numel()) * fastest(lambda: target.copy_(source), 5)


def peak_memory(function: Callable[[], object]) -> float:
    """Largest resident memory of the process, all that was there before included, in MB."""
    ctypes.CDLL(None).malloc_trim(0)  # what was freed before is not this function's
    MEMORY.joinpath("clear_refs").write_text("5")  # forget the largest so far
    function()
    (line,) = (line for line in MEMORY.joinpath("status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


def test_depthwise(benchmark, batch):
    """Forward and backward of 7^3 on 96 channels, the maps made before, at the voxels of the detector."""
    generator = torch.Generator().manual_seed(1)
    features, upstream = (torch.randn(len(batch.coords), CHANNELS, generator=generator) for _ in range(2))
    weight, bias = torch.randn(KERNEL**3, CHANNELS, generator=generator), torch.zeros(CHANNELS)
    inputs = [tensor.requires_grad_() for tensor in (features, weight, bias)]

    def forward_and_backward(engine: str) -> Callable[[], list[torch.Tensor]]:
        geometry = get_engine(engine).geometry(batch, (1,), KERNEL)

        def run() -> list[torch.Tensor]:
            out = geometry.depthwise(0, *inputs)
            return [out.detach(), *torch.autograd.grad(out, inputs, upstream)]

        return run

    slow = forward_and_backward("minkowski")
    expected = slow()  # makes its kernel map too
    for found, wanted in zip(benchmark(forward_and_backward("native")), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))
    if benchmark.enabled:
        neighbours = build_pyramid(batch, (1,), KERNEL).neighbours[0].pointers[-1].item() / len(features)
        benchmark.extra_info.update(
            voxels=len(features),
            neighbours_a_voxel=neighbours,
            times_the_bandwidth_bound=benchmark.stats.stats.min / bandwidth_bound(features.numel()),
            minkowski_seconds=(seconds := fastest(slow, 3)),
            times_faster_than_minkowski=seconds / benchmark.stats.stats.min,
        )


def training_step(engine: str, batch: SparseBatch) -> Callable[[], float]:
    """A supervised step of the small preset: maps, forward, backward, optimiser."""
    torch.manual_seed(0)
    backbone = build_backbone("small", engine=engine)
    head = torch.nn.Linear(backbone.embedding_size, 5)
    optimiser = torch.optim.AdamW([*backbone.parameters(), *head.parameters()], lr=1e-3, fused=True)
    labels = torch.arange(batch.size) % 5

    def step() -> float:
        loss = torch.nn.functional.cross_entropy(head(backbone(batch)), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.item()

    return step


def test_training_step(benchmark, batch):
    """The whole step, the share of the maps in it, and the peak memory of one."""
    slow, fast = (training_step(engine, batch) for engine in ("minkowski", "native"))
    assert fast() == pytest.approx(slow(), rel=1e-5)  # of the same first weights
    assert benchmark(fast) < 10
    if benchmark.enabled:
        seconds = benchmark.stats.stats.min
        config = build_backbone("small").config
        benchmark.extra_info.update(
            events_per_second=batch.size / seconds,
            share_of_the_maps=fastest(lambda: build_pyramid(batch, config.strides, config.kernel), 5) / seconds,
            peak_megabytes=peak_memory(fast),
            minkowski_seconds=(slow_seconds := fastest(slow, 2)),
            times_faster_than_minkowski=slow_seconds / seconds,
            minkowski_peak_megabytes=peak_memory(slow),
        )
