"""Writers of tiny files in the formats that are imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from nubench.importing.plans import ImportSettings
from nubench.importing.splits import DEFAULT_FRACTIONS

MIP_MEV_CM = 2.1
STEP_CM = 0.1
CODES = {"electron": 11, "muon": 13, "proton": 2212}


@dataclass(frozen=True)
class Dialect:
    """What a segment file calls its table and columns."""

    table: str = "segments"
    event: str = "eventID"
    track: str = "trackID"
    pdg: str = "pdgId"
    time: str | None = "t"


def segment_columns(tracks: Sequence[tuple[int, int, int]], seed: int = 1) -> dict[str, np.ndarray]:
    """Straight tracks in steps of 1 mm, one an event, in the columns of :class:`nubench.importing`'s readers.

    Args:
        tracks: event, particle code and number of steps of each.
        seed: of vertices and directions.
    """
    rng = np.random.default_rng(seed)
    parts = []
    for event, pdg, steps in tracks:
        direction = rng.normal(size=3)
        direction /= np.linalg.norm(direction)
        vertex = rng.uniform([-20, -20, 620], [20, 20, 660])
        points = vertex + np.arange(steps + 1)[:, None] * STEP_CM * direction
        loss = MIP_MEV_CM * STEP_CM * (4.0 if pdg == 2212 else 1.0)
        parts.append(
            {
                "event": np.full(steps, event),
                "track": np.zeros(steps, int),
                "pdg": np.full(steps, pdg),
                "energy": np.full(steps, loss),
                "length": np.full(steps, STEP_CM),
                "start": points[:-1],
                "end": points[1:],
                "time": np.full(steps, 3.0),
            }
        )
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def write_segments(
    path: Path,
    columns: Mapping[str, np.ndarray],
    dialect: Dialect = Dialect(),
    leave_out: Sequence[str] = (),
    axes: str = "xyz",
) -> Path:
    """Write a segment file as edep-sim's converter does: one compound row a segment."""
    named: dict[str, np.ndarray] = {
        dialect.event: columns["event"].astype("u4"),
        dialect.track: columns["track"].astype("u4"),
        dialect.pdg: columns["pdg"].astype("i4"),
        "dE": columns["energy"].astype("f4"),
        "dx": columns["length"].astype("f4"),
    }
    for index, axis in enumerate(axes):
        named[f"{axis}_start"] = columns["start"][:, index].astype("f4")
        named[f"{axis}_end"] = columns["end"][:, index].astype("f4")
    if dialect.time:
        named[dialect.time] = columns["time"].astype("f8")
    named = {name: column for name, column in named.items() if name not in leave_out}
    rows = np.empty(len(columns["event"]), [(name, column.dtype) for name, column in named.items()])
    for name, column in named.items():
        rows[name] = column
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file[dialect.table] = rows
    return path


def write_trajectories(path: Path, rows: Sequence[Mapping[str, Any]], with_energy: bool = True) -> None:
    """Add a table of trajectories to a segment file."""
    kind = [("eventID", "u4"), ("trackID", "u4"), ("parentID", "i4"), ("pdgId", "i4")]
    kind += [("pxyz_start", "f4", (3,)), ("xyz_start", "f4", (3,)), *([("E_start", "f4")] if with_energy else [])]
    table = np.zeros(len(rows), kind)
    for index, row in enumerate(rows):
        for name in table.dtype.names or ():
            table[name][index] = row[name]
    with h5py.File(path, "a") as file:
        file["trajectories"] = table


def muons_and_protons(events: int, steps: int = 60, first: int = 0) -> list[tuple[int, int, int]]:
    """Tracks of alternating species with slightly different lengths."""
    return [(first + index, (13, 2212)[index % 2], steps + index % 7) for index in range(events)]


def write_voxel_event(
    root: Path, split: str, particle: str, run: int, event: int, point: str = "nominal", **changes: Any
) -> Path:
    """Write one event of larnd-sim as the authors of the LArTPC data set keep it: pixels of 0.38 cm along y and z."""
    rng = np.random.default_rng([sum(map(ord, f"{split}{particle}")), run, event])
    steps = 30 if particle == "muon" else 12
    cells = np.stack([np.zeros(steps), np.arange(steps), np.arange(steps) // 2], axis=1) + rng.integers(0, 40, 3)
    position = (cells + 0.5) * 0.38
    position[:, 0] += rng.uniform(0, 0.1)
    offset = 0 if point == "nominal" else 10 * int(point[-1])
    adc = np.round(rng.normal(95, 5, steps)).astype(int) + offset
    arrays = {"adc": adc, "coordinates": position, "charge": adc * 900.0, "vertex": rng.uniform(-50, 50, 3)}
    arrays.update(changes)
    arrays = {name: value for name, value in arrays.items() if value is not None}
    folder = root / split / particle
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{particle}_edeps_out_{run}_larndsim_{point}_eventID_{event}.npz"
    np.savez(path, **arrays)
    return path


def write_larndsim_folder(root: Path, sizes: Mapping[str, int], throws: Sequence[int] = (1, 2)) -> Path:
    """Write a small data set of larnd-sim events: every split at nominal, test and adapt at throws too."""
    for split, count in sizes.items():
        points = ["nominal", *(f"electronics_throw{throw}" for throw in throws if split in ("test", "adapt"))]
        for particle in ("muon", "proton"):
            for index in range(count):
                for point in points:
                    write_voxel_event(root, split, particle, index // 10, index % 10, point)
    return root


def cube_event(seed: int, hits: int = 20, kinematics: int | None = None) -> dict[str, np.ndarray]:
    """One event of the public scintillator set, positions from the centre of the box, at the centres of cubes."""
    rng = np.random.default_rng(seed)
    first = rng.integers(-80, 60, 3)
    track = first + np.arange(hits)[:, None] * np.array([1, 0, 0])
    beside = track + np.array([0, 1, 0])
    cubes = np.concatenate([track, beside])
    tagged = np.arange(2 * hits) < hits
    light = np.where(tagged, rng.uniform(40, 60, 2 * hits), rng.uniform(1, 5, 2 * hits))
    true = np.random.default_rng(10_000 + (seed if kinematics is None else kinematics))
    direction = true.normal(size=3)
    return {
        "reco_hits": np.column_stack([cubes * 10.0 + 5.0, light]),
        "Tag_Trk": tagged,
        "TrueIniPos": true.uniform(-500, 500, 3),
        "TrueIniDir": direction / np.linalg.norm(direction),
        "TrueIniP": np.array(true.uniform(300, 1000)),
    }


def write_cube_folder(root: Path, events: int, shared: int = 1, torch_class: str | None = None) -> Path:
    """Write ``events`` events of two classes; ``shared`` consecutive ones have the same true kinematics.

    Args:
        root: folder.
        events: of each class.
        shared: events a set of kinematics.
        torch_class: class whose files are made by ``torch.save``.
    """
    for label, name in enumerate(("muon", "proton")):
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(events):
            content = cube_event(1000 * label + index, 30 if label else 12, 1000 * label + index // shared)
            if name == torch_class:
                import torch

                torch.save(content, root / name / f"event_{index}.pt")
            else:
                np.savez(root / name / f"event_{index}.npz", **content)
    return root


def settings(format_: str, path: Path, name: str = "borrowed", **more: Any) -> ImportSettings:
    """Settings with the defaults of the command line."""
    return ImportSettings(format=format_, path=path, name=name, fractions=DEFAULT_FRACTIONS, **more)
