"""Deposits that cost little to simulate and whose charges differ enough to show the scale of a detector."""

from __future__ import annotations

import numpy as np

from nubench.containers import Deposits

#: Deposits, and the ids of their events.
Sample = tuple[Deposits, np.ndarray]


def short_tracks(count: int, seed: int) -> Sample:
    """Straight tracks of 2 to 5 cm whose mean loss differs from one to the next, as a mixture of particles has it."""
    rng = np.random.default_rng(seed)
    steps = rng.integers(20, 50, count)
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    vertices = rng.uniform([-50, -50, 600], [50, 50, 700], (count, 3))
    event = np.repeat(np.arange(count), steps)
    offsets = np.concatenate([[0], np.cumsum(steps)]).astype(np.int64)
    along = (np.arange(len(event)) - offsets[event])[:, None] * 0.1
    start = vertices[event] + along * directions[event]
    loss = rng.gamma(4.0, 0.052, len(event)) * rng.uniform(0.8, 4.0, count)[event]
    deposits = Deposits(
        offsets,
        start.astype(np.float32),
        (start + 0.1 * directions[event]).astype(np.float32),
        loss.astype(np.float32),
        np.zeros(len(event), np.float32),
    )
    return deposits, rng.permutation(100_000)[:count].astype(np.int64)
