"""A world in which a command builds, trains, scores and submits in a second or two, for tests that repeat it often.

Everything is nubench's own but for three things: the deposits are drawn straight tracks, not Geant4's, whose workers
take longer to start than all the rest; the pictures of the boards are empty; and the code has one digest and no
revision, though somebody edits it meanwhile. What happens when a build with Geant4 is killed, tests/test_cli.py tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import small_world
from nubench import environment
from nubench.containers import Deposits, Int64, Primaries
from nubench.datasets import building as dataset_building
from nubench.leaderboard import generate
from nubench.leaderboard.figure import Pictures
from nubench.simulation.geant4 import DATA_VARIABLE
from nubench.simulation.standin_data import write_standin_data

SHIFT = "leakage"
DATASET = "scintillator"
EVENTS_A_CHUNK = 8
_STEPS = 24


def open_world(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Make the world in a folder: small cards and budgets, drawn deposits, a cache below the folder."""
    small_world.shrink(folder, patch)
    patch.setenv(DATA_VARIABLE, str(write_standin_data(folder / "geant4")))
    patch.setattr(dataset_building, "generate", drawn_truth)
    patch.setattr(generate, "draw", lambda *_: Pictures(b"png", b"svg"))
    patch.setattr(environment, "code_digest", lambda _: "0" * 64)
    patch.setattr(environment, "git_revision", lambda: None)
    # Another number of threads is another last bit, and sealed trainings inherit it.
    patch.setenv("OMP_NUM_THREADS", "1")


def command(cache: Path, boards: Path, *more: str, method: str = "classifier") -> list[str]:
    """The arguments of a run with one seed on the smallest shift."""
    run = ["run", "--method", method, "--shift", SHIFT, "--dataset", DATASET, "--device", "cpu"]
    return [*run, "--cache", str(cache), "--leaderboards", str(boards), *more]


def drawn_truth(
    gun: Any, material: str, events_per_class: int, *, seed: int, first_event_id: int, **_: Any
) -> Iterator[tuple[Primaries, Int64, Deposits]]:
    """Stand in for :func:`nubench.simulation.geant4.generate`: straight tracks of fixed length, a class a density."""
    labels = gun.shuffled_labels(events_per_class, seed, first_event_id)
    event_id = first_event_id + np.arange(len(labels), dtype=np.int64)
    for low in range(0, len(labels), EVENTS_A_CHUNK):
        part = slice(low, low + EVENTS_A_CHUNK)
        primaries, _position = gun.fire(labels[part], event_id[part], seed)
        yield primaries, labels[part], _tracks(primaries, labels[part])


def _tracks(primaries: Primaries, labels: Int64) -> Deposits:
    count = len(labels)
    along = np.arange(_STEPS + 1, dtype=np.float64)[None, :, None] * (1.0 + 0.2 * labels[:, None, None])
    places = (primaries.vertex[:, None, :] + along * primaries.direction[:, None, :]).astype(np.float32)
    return Deposits(
        offsets=np.arange(count + 1, dtype=np.int64) * _STEPS,
        start=np.ascontiguousarray(places[:, :-1].reshape(-1, 3)),
        end=np.ascontiguousarray(places[:, 1:].reshape(-1, 3)),
        energy=np.repeat(2.0 + labels.astype(np.float32), _STEPS),
        time=np.tile(np.linspace(0, 1e-3, _STEPS, dtype=np.float32), count),
    )
