"""Random sparse events for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from nubench.sparse.batch import SparseBatch

BatchMaker = Callable[..., SparseBatch]


@pytest.fixture(scope="session")
def make_batch() -> BatchMaker:
    """A function that makes events of different occupancy in overlapping cubes, in random voxel order, float64."""

    def make(seed: int, size: int = 3, edge: int = 6, filled: float = 0.2, channels: int = 3) -> SparseBatch:
        random = np.random.default_rng(seed)
        coords, event = [], []
        for number in range(size):
            count = max(1, int(random.binomial(edge**3, filled)))
            cells = random.choice(edge**3, count, replace=False)
            # Negative and positive indices; only the event index tells neighbouring events apart.
            coords.append(np.stack(np.unravel_index(cells, (edge,) * 3), 1) - edge // 2 + random.integers(-3, 4, 3))
            event.append(np.full(count, number))
        rows = torch.from_numpy(np.concatenate(coords)).int()
        features = torch.from_numpy(random.normal(size=(len(rows), channels)))
        return SparseBatch(rows, torch.from_numpy(np.concatenate(event)), features, size)

    return make


@pytest.fixture(params=["compiled", "torch"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test with the compiled kernels, and with the torch forms that serve every other device."""
    if request.param == "compiled":
        pytest.importorskip("numba")
    else:
        for module in ("activation", "coordinates", "depthwise", "strided", "normalisation", "pooling"):
            monkeypatch.setattr(f"nubench.sparse.{module}.kernels_usable", lambda tensor: False)
    return request.param
