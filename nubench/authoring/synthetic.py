"""Events that cost nothing: straight tracks of three classes, to try a method on within seconds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nubench.containers import Deposits, Events, Int64
from nubench.datasets.cards import Normalisation

if TYPE_CHECKING:
    from nubench.simulation.resimulation import Resimulator

CLASSES: Final = ("short", "middle", "long")
VOXEL_CM: Final = 0.38
PEDESTAL: Final = 74.0
NORMALISATION: Final = Normalisation(offset=90.0, scale=16.0, unit="ADC counts", how="synthetic tracks")
_VOXELS: Final = ((10, 20), (20, 40), (40, 80))
_CHARGE: Final = (24.0, 18.0, 12.0)  # mean ADC counts above the pedestal
_STEP_CM: Final = 0.1
_ADC_A_MEV: Final = 60.0


@dataclass(frozen=True)
class Tracks:
    """E straight tracks.

    Attributes:
        events: their voxels; the feature looks like the ADC counts of the LArTPC.
        labels: (E,) int64, the class, which decides length and charge.
    """

    events: Events
    labels: Int64


def draw_tracks(count: int, seed: int, charge: float = 1.0, offset: float = 0.0) -> Tracks:
    """Draw tracks of all classes.

    Args:
        count: number of events E.
        seed: of everything that is drawn.
        charge: factor on the counts above the pedestal, other than 1 for a shifted detector.
        offset: counts added to every voxel.
    """
    rng = np.random.default_rng([seed, count])
    labels = np.arange(count) % len(CLASSES)
    rng.shuffle(labels)
    voxels = [_track(rng, int(rng.integers(*_VOXELS[label]))) for label in labels]
    features = [
        PEDESTAL + offset + charge * rng.gamma(6.0, _CHARGE[label] / 6.0, (len(rows), 1))
        for label, rows in zip(labels, voxels, strict=True)
    ]
    return Tracks(_events(voxels, features), labels.astype(np.int64))


def edge_events() -> Events:
    """An event of a single voxel, one of two that are far apart, and one of some thousand."""
    rng = np.random.default_rng(7)
    voxels = [
        np.array([[5, -3, 900]], np.int32),
        np.array([[-130, 0, 0], [130, 130, 1800]], np.int32),
        np.unique(rng.integers(-12, 12, (2500, 3)).astype(np.int32), axis=0),
    ]
    return _events(voxels, [PEDESTAL + rng.gamma(6.0, 3.0, (len(rows), 1)) for rows in voxels])


def resimulator_of(tracks: Tracks) -> Resimulator[Deposits, Any, Events]:
    """Deposits along the tracks in liquid argon, ready to be simulated again with the LArTPC's response."""
    from nubench.simulation.lartpc import draw_parameters, simulate_draws
    from nubench.simulation.resimulation import Resimulator

    starts, ends, energies, lengths = [], [], [], []
    rng = np.random.default_rng(11)
    for number, label in enumerate(tracks.labels):
        rows = tracks.events.coords[tracks.events.offsets[number] : tracks.events.offsets[number + 1]]
        # In the middle of the drift volume, along the longest side of the track.
        first, last = rows[0] * VOXEL_CM, rows[-1] * VOXEL_CM
        steps = max(2, int(np.linalg.norm(last - first) / _STEP_CM))
        ends_of_steps = np.linspace(first, last, steps + 1) - first + [0.0, 0.0, 640.0]
        starts.append(ends_of_steps[:-1])
        ends.append(ends_of_steps[1:])
        energies.append(rng.gamma(4.0, _CHARGE[label] / _ADC_A_MEV / 4.0, steps))
        lengths.append(steps)
    energy = np.concatenate(energies).astype(np.float32)
    deposits = Deposits(
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.concatenate(starts).astype(np.float32),
        np.concatenate(ends).astype(np.float32),
        energy,
        np.zeros(len(energy), np.float32),
    )
    # One thread: the tracks are short, and others may use the cores.
    return Resimulator(deposits, np.arange(len(tracks.labels)), partial(simulate_draws, threads=1), draw_parameters)


def _track(rng: np.random.Generator, length: int) -> np.ndarray[Any, np.dtype[np.int32]]:
    direction = rng.normal(size=3)
    points = np.arange(length)[:, None] * direction / np.abs(direction).max() + rng.uniform(-50, 50, 3)
    rows: np.ndarray[Any, np.dtype[np.int32]] = np.floor(points).astype(np.int32)
    return rows


def _events(voxels: list[Any], features: list[Any]) -> Events:
    offsets = np.concatenate([[0], np.cumsum([len(rows) for rows in voxels])]).astype(np.int64)
    return Events(offsets, np.concatenate(voxels), np.concatenate(features).astype(np.float32))
