"""What is impossible or implausible in a segment file: each row by itself, and the units of the whole."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from nubench.containers import Bool
from nubench.errors import DataError
from nubench.importing.particles import known_codes
from nubench.importing.segment_tables import SegmentRows

#: The longest halls are some 60 m: positions beyond this are no detector's, or not in cm.
WORLD_CM: Final = 10_000.0

#: More than any one step of a particle of an accelerator experiment leaves.
MAX_ENERGY_MEV: Final = 1e6

# No charged particle loses less on average than a minimum ionising one: 2.1 MeV/cm in liquid argon, 2.0 MeV/cm in
# polystyrene, of which about 1.6 MeV/cm is left on the track when knock-on electrons are rows of their own. In mm
# instead of cm both are a tenth of that.
_LOWEST_LOSS_MEV_CM: Final = 1.0
# Protons at the end of their range reach some 600 MeV cm2/g over micrometres, not over the millimetres that count here.
_HIGHEST_LOSS_MEV_CM: Final = 300.0
_LONG_SEGMENT_CM: Final = 0.1
_CHARGED: Final = (11, 13, 211, 321, 2212)
# Both sums need some length before fluctuations of single steps are small.
_ENOUGH_CM: Final = 1.0
# Between the path that was walked and the line that was kept there is some difference, not a factor of this size.
_LENGTH_RATIO: Final = 4.0


def check_rows(path: Path, rows: SegmentRows) -> None:
    """Check each row by itself.

    Raises:
        DataError: for the first row with a value that is not a number, a negative energy or length, a position out of
            this world, or an unknown particle; the message names file, row, column and value.
    """
    for name, values, unit in (("dE", rows.energy, "MeV"), ("dx", rows.length, "cm"), ("t", rows.time, "us")):
        _refuse(path, rows, ~np.isfinite(values), f"{name} must be a finite number, in {unit}", values)
    _refuse(path, rows, rows.energy < 0, "dE must not be negative", rows.energy)
    _refuse(path, rows, rows.energy > MAX_ENERGY_MEV, f"dE must be at most {MAX_ENERGY_MEV:g} MeV", rows.energy)
    _refuse(path, rows, rows.length < 0, "dx must not be negative", rows.length)
    for name, points in (("start", rows.start), ("end", rows.end)):
        # Written so that NaN fails too.
        outside = ~np.all(np.abs(points) <= WORLD_CM, axis=1)
        _refuse(path, rows, outside, f"{name} must lie within {WORLD_CM:g} cm of the origin on every axis", points)
    _refuse(path, rows, ~known_codes(rows.pdg), "the particle code is not known", rows.pdg)


def _refuse(path: Path, rows: SegmentRows, wrong: Bool, why: str, values: object) -> None:
    if not np.any(wrong):
        return
    row = int(np.flatnonzero(wrong)[0])
    value = np.asarray(values)[row].tolist()
    more = f" ({np.count_nonzero(wrong)} rows of this kind)" if np.count_nonzero(wrong) > 1 else ""
    raise DataError(f"{path}: row {rows.first + row} (event {rows.event[row]}): {why}; got {value}{more}")


class UnitCheck:
    """Sums over a file that give away wrong units; asked after every block, so that a long file fails early."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stated_cm = self._measured_cm = 0.0
        self._charged_mev = self._charged_cm = 0.0
        self._long_mev = self._long_cm = 0.0

    def add(self, rows: SegmentRows) -> None:
        """Take more rows into account.

        Raises:
            DataError: when the lengths do not fit the positions, or the energy does not fit the lengths; the message
                says which unit was probably meant.
        """
        distance = np.linalg.norm(rows.end - rows.start, axis=1)
        charged = np.isin(np.abs(rows.pdg), _CHARGED) & (distance > 0)
        is_long = charged & (distance > _LONG_SEGMENT_CM)
        self._stated_cm += float(rows.length.sum())
        self._measured_cm += float(distance.sum())
        self._charged_mev += float(rows.energy[charged].sum())
        self._charged_cm += float(distance[charged].sum())
        self._long_mev += float(rows.energy[is_long].sum())
        self._long_cm += float(distance[is_long].sum())
        self._check_lengths()
        self._check_loss()

    def _check_lengths(self) -> None:
        if self._measured_cm < _ENOUGH_CM or self._stated_cm == 0.0:
            return
        ratio = self._stated_cm / self._measured_cm
        if 1 / _LENGTH_RATIO < ratio < _LENGTH_RATIO:
            return
        guess = ""
        if 7 < ratio < 14:
            guess = ": dx is in mm, or the positions are in cm where dx is not"
        elif 0.07 < ratio < 0.14:
            guess = ": the positions are in mm where dx is in cm"
        raise DataError(
            f"{self._path}: dx is {ratio:.3g} times the distance from start to end, summed over the file; both must be "
            f"in cm{guess}"
        )

    def _check_loss(self) -> None:
        if self._charged_cm >= _ENOUGH_CM and self._charged_mev / self._charged_cm < _LOWEST_LOSS_MEV_CM:
            raise DataError(
                f"{self._path}: charged particles lose {self._charged_mev / self._charged_cm:.3g} MeV/cm on average, "
                "less than a minimum ionising particle in any liquid or solid (2 MeV/cm): the lengths are probably in "
                "mm; they must be in cm, and dE in MeV"
            )
        if self._long_cm >= _ENOUGH_CM and self._long_mev / self._long_cm > _HIGHEST_LOSS_MEV_CM:
            raise DataError(
                f"{self._path}: charged particles lose {self._long_mev / self._long_cm:.3g} MeV/cm on average over "
                f"segments longer than {_LONG_SEGMENT_CM} cm, more than any particle can: dE is probably in keV, or "
                "the lengths in m; dE must be in MeV, lengths in cm"
            )
