"""Speed of the sparse network on the CPU: ``pytest tests/benchmarks --benchmark-enable``.

Without that option each runs once, as a test, on few events.
"""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from nubench.augment import Augmentation, augment
from nubench.backbone import build_backbone
from nubench.sparse.batch import SparseBatch
from nubench.sparse.coordinates import build_pyramid
from nubench.sparse.depthwise import depthwise_convolution

STRIDES, KERNEL = (4, 2, 2, 2), 7


def track(random: np.random.Generator, voxels: int) -> np.ndarray:
    """Voxels along a slowly turning path with some width, like a charged particle's."""
    direction = random.normal(size=3)
    path = []
    position = np.zeros(3)
    for kick in random.normal(size=(voxels, 3)):
        direction = direction / np.linalg.norm(direction) + 0.15 * kick
        position = position + 0.7 * direction
        path += [position, position + random.normal(size=3) * 0.6]
    return np.unique(np.floor(path).astype(np.int32), axis=0)[:voxels]


@pytest.fixture(scope="module")
def batch(request: pytest.FixtureRequest) -> SparseBatch:
    """256 events of about 460 voxels to measure, 8 to test."""
    size = 256 if request.config.getoption("benchmark_enable") else 8
    random = np.random.default_rng(0)
    events = [track(random, 460) for _ in range(size)]
    coords = torch.from_numpy(np.concatenate(events))
    event = torch.repeat_interleave(torch.tensor([len(voxels) for voxels in events]))
    return SparseBatch(coords, event, torch.randn(len(coords), 1), size)


def test_augmentation(benchmark, batch):
    generator, settings = torch.Generator().manual_seed(0), Augmentation(0.3)
    assert benchmark(augment, batch, generator, settings).size == batch.size


def test_maps(benchmark, batch):
    assert benchmark(build_pyramid, batch, STRIDES, KERNEL).size == batch.size


def test_depthwise_against_the_memory_bound(benchmark, batch):
    """Forward and backward; reading and writing six times as many numbers as there are features is the bound."""
    pyramid = build_pyramid(batch, STRIDES[:1], KERNEL)
    features = torch.randn(len(pyramid.levels[0].coords), 96, requires_grad=True)
    weight, bias = torch.randn(KERNEL**3, 96, requires_grad=True), torch.zeros(96, requires_grad=True)
    upstream = torch.randn_like(features)

    def forward_and_backward() -> torch.Tensor:
        out = depthwise_convolution(features, pyramid.neighbours[0], weight, bias)
        return torch.autograd.grad(out, (features, weight, bias), upstream)[0]

    assert benchmark(forward_and_backward).shape == features.shape
    if benchmark.enabled:
        source = torch.zeros(2**26)  # larger than any cache
        target = torch.ones_like(source)
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            target.copy_(source)
            seconds.append(time.perf_counter() - start)
        bound = 6 * features.numel() / (2 * source.numel()) * min(seconds)
        benchmark.extra_info["times_the_bandwidth_bound"] = benchmark.stats.stats.min / bound


@pytest.mark.parametrize("augmented", [False, True], ids=["plain", "augmented"])
def test_training_step(benchmark, batch, augmented):
    """One supervised step of the tiny preset: augmentation, maps, forward, backward, optimiser."""
    torch.manual_seed(0)
    backbone = build_backbone("tiny")
    head = torch.nn.Linear(backbone.embedding_size, 5)
    parameters = [*backbone.parameters(), *head.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=1e-3, fused=True)
    labels = torch.arange(batch.size) % 5
    generator, settings = torch.Generator().manual_seed(0), Augmentation(0.3)

    def step() -> float:
        events = augment(batch, generator, settings) if augmented else batch
        loss = torch.nn.functional.cross_entropy(head(backbone(events)), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.item()

    assert benchmark(step) < 10
    if benchmark.enabled:
        benchmark.extra_info["events_per_second"] = batch.size / benchmark.stats.stats.min
