"""The public scintillator events (doi:10.5281/zenodo.10998285): one dictionary a file, one folder a class."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from nubench.containers import Bool, Float64, Int32
from nubench.errors import DataError, UsageError
from nubench.importing.safe_loading import NUMPY_ENDING, TORCH_ENDINGS, array_of, load_arrays

CUBE_MM: Final = 10.0
CUBES_A_SIDE: Final = 200
LOWEST_INDEX: Final = -100
_SIDE_MM: Final = CUBE_MM * CUBES_A_SIDE
# Positions are kept in single precision.
_TOLERANCE_MM: Final = 0.01

#: Where positions may count from, and the lowest position of the box then, mm.
ORIGINS: Final = {"centre": -_SIDE_MM / 2, "corner": 0.0}


@dataclass(frozen=True)
class CubeEvent:
    """One event as its file states it.

    Attributes:
        position: (N, 3) of the hits, mm.
        photoelectrons: (N,).
        from_track: (N,) whether a hit is the track's own, not crosstalk.
        vertex: (3,) mm.
        direction: (3,) unit vector.
        momentum: in the unit of the file.
    """

    position: Float64
    photoelectrons: Float64
    from_track: Bool
    vertex: Float64
    direction: Float64
    momentum: float

    @property
    def kinematics(self) -> Float64:
        """(7,) the true kinematics: vertex, direction, momentum."""
        return np.concatenate([self.vertex, self.direction, [self.momentum]])


def find_cube_files(root: Path) -> list[Path]:
    """The files of single events in the folders of a folder, by path.

    Raises:
        DataError: when there are none, or some lie in the folder itself.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; this format is a folder of {{class}}/ with one file an event")
    endings = (NUMPY_ENDING, *TORCH_ENDINGS)
    found = sorted(path for path in root.rglob("*") if path.suffix in endings and not path.name.startswith("."))
    if not found:
        raise DataError(f"{root} holds no file that ends in {', '.join(endings)}")
    for path in found:
        if path.parent == root:
            raise DataError(f"{path} lies in no folder of a class")
    return found


def read_cube_event(path: Path) -> CubeEvent:
    """Read one event.

    Raises:
        DataError: when the file is damaged, would run code, lacks an array, or holds a value that cannot be; the
            message names file, row and value.
    """
    arrays = load_arrays(path)
    hits = array_of(path, arrays, "reco_hits", 4).astype(np.float64)
    tags = array_of(path, arrays, "Tag_Trk", None).reshape(-1)
    if len(tags) != len(hits):
        raise DataError(f"{path}: {len(tags)} values of 'Tag_Trk' and {len(hits)} 'reco_hits' do not match")
    for row in np.flatnonzero(~np.isin(tags, (0, 1)))[:1]:
        raise DataError(f"{path}: row {row}: Tag_Trk must be true or false; got {tags[row]}")
    for row in np.flatnonzero(~np.all(np.isfinite(hits), axis=1) | ~(hits[:, 3] >= 0))[:1]:
        raise DataError(
            f"{path}: row {row}: reco_hits must be finite, with photoelectrons not negative; got {hits[row].tolist()}"
        )
    vertex, direction, momentum = (
        _numbers(path, array_of(path, arrays, name, None).astype(np.float64).reshape(-1), name, sizes)
        for name, sizes in (("TrueIniPos", (3,)), ("TrueIniDir", (3,)), ("TrueIniP", (1, 3)))
    )
    norm, size = float(np.linalg.norm(direction)), float(np.linalg.norm(momentum))
    if norm == 0:
        raise DataError(f"{path}: 'TrueIniDir' must be a direction; got {direction.tolist()}")
    if size <= 0:
        raise DataError(f"{path}: 'TrueIniP' must be above 0; got {momentum.tolist()}")
    return CubeEvent(hits[:, :3], hits[:, 3], tags.astype(np.bool_), vertex, direction / norm, size)


def _numbers(path: Path, values: Float64, name: str, sizes: tuple[int, ...]) -> Float64:
    if len(values) not in sizes or not np.all(np.isfinite(values)):
        raise DataError(
            f"{path}: {name!r} must be {' or '.join(map(str, sizes))} finite numbers; got {values.tolist()}"
        )
    return values


class BoxCheck:
    """Finds out, over all events, where positions count from, and whether they lie on the grid of cubes in mm."""

    def __init__(self) -> None:
        self._lowest, self._highest = np.inf, -np.inf
        self._phase: float | None = None

    def add(self, path: Path, event: CubeEvent) -> None:
        """Take an event into account.

        Raises:
            DataError: when its hits do not lie on one grid of 10 mm with those before, or outside any box of 2 m.
        """
        if not len(event.position):
            return
        if self._phase is None:
            self._phase = float(event.position[0, 0] % CUBE_MM)
        distance = (event.position - self._phase + CUBE_MM / 2) % CUBE_MM - CUBE_MM / 2
        off = np.flatnonzero(np.any(np.abs(distance) > _TOLERANCE_MM, axis=1))
        for row in off[:1]:
            small = np.all(np.abs(event.position) <= _SIDE_MM / CUBE_MM)
            raise DataError(
                f"{path}: row {row}: positions must be in mm and {CUBE_MM:g} mm apart; got "
                f"{event.position[row].tolist()}{', which is probably in cm' if small else ''}"
            )
        self._lowest = min(self._lowest, float(event.position.min()))
        self._highest = max(self._highest, float(event.position.max()))
        if self._highest - self._lowest > _SIDE_MM + _TOLERANCE_MM:
            raise DataError(
                f"{path}: positions from {self._lowest:g} to {self._highest:g} mm do not fit in a box of "
                f"{_SIDE_MM:g} mm"
            )

    def origin(self, stated: str | None) -> str:
        """Tell where positions count from: the ``centre`` of the box or its lower ``corner``.

        Args:
            stated: what the user says, or None.

        Raises:
            UsageError: when ``stated`` is not one of :data:`ORIGINS`.
            DataError: when the positions do not fit, or fit both and nothing was stated.
        """
        if stated is not None and stated not in ORIGINS:
            raise UsageError(f"--origin must be {' or '.join(ORIGINS)}; got {stated!r}")
        fitting = [
            name
            for name, low in ORIGINS.items()
            if low - _TOLERANCE_MM <= self._lowest and self._highest <= low + _SIDE_MM + _TOLERANCE_MM
        ]
        found = f"hits lie from {self._lowest:g} to {self._highest:g} mm"
        if stated is not None and stated in fitting:
            return stated
        if stated is not None or not fitting:
            expected = " or ".join(f"{low:g} to {low + _SIDE_MM:g} mm ({name})" for name, low in ORIGINS.items())
            raise DataError(f"{found}; the box is {expected}")
        if len(fitting) > 1:
            raise DataError(f"{found}, in a box that may count from its centre or its corner: say which with --origin")
        return fitting[0]


def cube_indices(path: Path, position: Float64, origin: str) -> Int32:
    """Turn positions (N, 3) in mm into cube indices, -100 to 99 on each axis.

    Raises:
        DataError: when one lies on the upper edge of the box, beyond the last cube.
    """
    coords = np.floor((position - ORIGINS[origin]) / CUBE_MM + _TOLERANCE_MM / CUBE_MM).astype(np.int32)
    for row in np.flatnonzero(np.any((coords < 0) | (coords >= CUBES_A_SIDE), axis=1))[:1]:
        raise DataError(f"{path}: row {row}: {position[row].tolist()} mm is outside the {CUBES_A_SIDE} cubes")
    return coords + np.int32(LOWEST_INDEX)


def momentum_in_mev(momenta: Iterable[float]) -> tuple[float, str]:
    """Find the unit of momenta: the factor to MeV/c, and its name.

    Particles of a few MeV/c leave nothing in cubes of 1 cm, so momenta all below 10 must be in GeV/c.
    """
    return (1000.0, "GeV/c") if max(momenta) < 10.0 else (1.0, "MeV/c")
