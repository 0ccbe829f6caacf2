"""Where the simulation's tests find their inputs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from nubench.containers import Deposits


@pytest.fixture(scope="session")
def reference_folder() -> Path:
    """The folder of reference runs of other programs; not shipped, so tests that need it skip where it is absent."""
    repository = Path(__file__).resolve().parents[2]
    folder = Path(os.environ.get("NUBENCH_REFERENCE", repository.parent / "shared" / "reference"))
    if not folder.is_dir():
        pytest.skip(f"no reference data at {folder}; set NUBENCH_REFERENCE to the folder that holds larndsim/")
    return folder


@pytest.fixture(scope="session")
def straight_muons() -> tuple[Deposits, np.ndarray]:
    """24 straight tracks of 1 mm steps with a minimum ionising particle's fluctuating loss, and their event ids."""
    rng = np.random.default_rng(11)
    starts, ends, offsets = [], [], [0]
    for _ in range(24):
        steps = int(rng.integers(20, 300))
        direction = rng.normal(size=3)
        direction /= np.linalg.norm(direction)
        vertex = rng.uniform([-50, -50, 600], [50, 50, 700])
        points = vertex + np.arange(steps + 1)[:, None] * 0.1 * direction
        starts.append(points[:-1])
        ends.append(points[1:])
        offsets.append(offsets[-1] + steps)
    total = offsets[-1]
    deposits = Deposits(
        np.array(offsets, np.int64),
        np.concatenate(starts).astype(np.float32),
        np.concatenate(ends).astype(np.float32),
        rng.gamma(4.0, 0.052, total).astype(np.float32),
        rng.exponential(0.01, total).astype(np.float32),
    )
    return deposits, rng.permutation(10_000)[:24].astype(np.int64)
