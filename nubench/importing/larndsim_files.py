"""Events that larnd-sim made and that were kept one a file: NumPy archives in folders of splits and classes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np

from nubench.containers import Float64, Int32
from nubench.datasets.cards import Split
from nubench.errors import DataError
from nubench.importing.particles import class_name
from nubench.importing.safe_loading import array_of, load_arrays
from nubench.shifts import NOMINAL

VOXEL_CM: Final = 0.38

_FORM: Final = "PARTICLE_edeps_out_I_larndsim_nominal_eventID_N.npz, or electronics_throwK instead of nominal"
_NAME: Final = re.compile(
    r"(?P<particle>.+)_edeps_out_(?P<run>\d+)_larndsim_(?:nominal|electronics_throw(?P<throw>\d+))_eventID_(?P<event>\d+)"
)
_SPLIT_NAMES: Final[Mapping[str, Split]] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "adapt": "adapt",
    "test": "test",
}


@dataclass(frozen=True, order=True)
class VoxelFile:
    """A file of one event, from its path alone.

    Attributes:
        split, class_name: the folders it lies in.
        particle, run, event: which true event it is; the same at every point.
        point: ``nominal`` or ``throwK``.
        path: the file.
    """

    split: Split
    class_name: str
    particle: str
    run: int
    event: int
    point: str
    path: Path

    @property
    def truth_key(self) -> str:
        """What names the true event."""
        return f"{self.split}/{self.class_name}/{self.particle}/{self.run}/{self.event}"


@dataclass(frozen=True)
class VoxelEvent:
    """One event as read.

    Attributes:
        coords: (N, 3) voxel indices, none twice.
        adc: (N,) counts.
        vertex: (3,) as the file states it.
        repeated: number of hits left out because an earlier one lies in the same voxel.
        step_cm: median distance between neighbouring rows of pixels with hits, which tells the unit; None where an
            event has too few.
    """

    coords: Int32
    adc: Float64
    vertex: Float64
    repeated: int
    step_cm: float | None


def find_voxel_files(root: Path) -> list[VoxelFile]:
    """Find the files ``.../{split}/{class}/{name}.npz`` below a folder, in the order of what they hold.

    Raises:
        DataError: when there are none, a file is called or placed otherwise, or two hold the same event.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; this format is a folder of {{split}}/{{class}}/*.npz")
    files = sorted(_voxel_file(root, path) for path in root.rglob("[!.]*.npz"))
    if not files:
        raise DataError(f"{root} holds no .npz file; expected are {{split}}/{{class}}/{_FORM}")
    for first, second in pairwise(files):
        if (first.truth_key, first.point) == (second.truth_key, second.point):
            raise DataError(f"{first.path} and {second.path} are the same event at the same point")
    return files


def _voxel_file(root: Path, path: Path) -> VoxelFile:
    matched = _NAME.fullmatch(path.stem)
    if matched is None:
        raise DataError(f"{path} is not called {_FORM}")
    parts = path.relative_to(root).parts
    split = _SPLIT_NAMES.get(parts[-3].lower()) if len(parts) >= 3 else None
    if split is None:
        raise DataError(f"{path} does not lie in {{split}}/{{class}}/ with a split called {', '.join(_SPLIT_NAMES)}")
    throw = matched["throw"]
    return VoxelFile(
        split=split,
        class_name=class_name(parts[-2], str(path.parent)),
        particle=matched["particle"],
        run=int(matched["run"]),
        event=int(matched["event"]),
        point=NOMINAL if throw is None else f"throw{int(throw)}",
        path=path,
    )


def read_voxel_event(path: Path) -> VoxelEvent:
    """Read the hits of an event and put them on the voxel grid; of several in one voxel the first stays.

    Raises:
        DataError: when the file is damaged, lacks an array, or holds a value that cannot be; the message names file,
            row and value.
    """
    arrays = load_arrays(path)
    adc = array_of(path, arrays, "adc", 0).astype(np.float64)
    position = array_of(path, arrays, "coordinates", 3).astype(np.float64)
    vertex = array_of(path, arrays, "vertex", None).astype(np.float64).reshape(-1)
    if len(adc) != len(position):
        raise DataError(f"{path}: {len(adc)} values of 'adc' and {len(position)} 'coordinates' do not match")
    for row in np.flatnonzero(~(adc >= 0) | ~np.isfinite(adc))[:1]:
        raise DataError(f"{path}: row {row}: adc must be a finite number, not negative; got {adc[row]}")
    for row in np.flatnonzero(~np.all(np.abs(position) <= 1e5, axis=1))[:1]:
        raise DataError(
            f"{path}: row {row}: coordinates must be finite, within 1e5 cm of the origin; got {position[row].tolist()}"
        )
    if vertex.shape != (3,) or not np.all(np.isfinite(vertex)):
        raise DataError(f"{path}: 'vertex' must be three finite numbers; got {vertex.tolist()}")
    coords = np.floor(position / VOXEL_CM).astype(np.int32)
    _, first = np.unique(coords, axis=0, return_index=True)
    kept = np.sort(first)
    return VoxelEvent(coords[kept], adc[kept], vertex, len(coords) - len(kept), _row_step(position))


def _row_step(position: Float64) -> float | None:
    # Across the drift, hits lie at the centres of pixels.
    steps = [np.diff(np.unique(position[:, axis].round(3))) for axis in (1, 2)]
    together = np.concatenate(steps)
    return float(np.median(together)) if len(together) >= 10 else None
