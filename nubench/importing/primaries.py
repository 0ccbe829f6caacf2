"""The primary particle of each event of a segment file: from its trajectories, or else guessed from its segments."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nubench.containers import Float32, Float64, Int64, Primaries
from nubench.errors import DataError
from nubench.importing.particles import known_codes, mass_of
from nubench.importing.segment_tables import SegmentRows, read_primary_rows

_ROWS_A_BLOCK = 262_144


def read_primaries(path: Path, axes: str) -> Primaries | None:
    """Read the primaries from the table ``trajectories``: in each event the first trajectory without a parent.

    The kinetic energy is ``E_start - sqrt(E_start^2 - p^2)`` where the file states the total energy ``E_start``, and
    else ``sqrt(p^2 + m^2) - m``.

    Args:
        path: a segment file.
        axes: order of its axes.

    Returns:
        One primary for each event that has one, by ascending event; None when the file has no trajectories.

    Raises:
        DataError: when the table lacks a column or holds a primary that cannot be.
    """
    table = read_primary_rows(path, axes, _ROWS_A_BLOCK)
    if table is None:
        return None
    order = np.lexsort((table["track"], table["event"]))
    event, first = np.unique(table["event"][order], return_index=True)
    rows = order[first]
    pdg, momentum, vertex = (table[name][rows] for name in ("pdg", "momentum", "vertex"))
    size = np.linalg.norm(momentum, axis=1)
    wrong = ~(known_codes(pdg) & np.isfinite(size) & (size > 0) & np.all(np.isfinite(vertex), axis=1))
    for row in np.flatnonzero(wrong)[:1]:
        raise DataError(
            f"{path}: the primary of event {event[row]} cannot be: particle code {pdg[row]}, pxyz_start "
            f"{momentum[row].tolist()} MeV/c, xyz_start {vertex[row].tolist()} cm"
        )
    energy = _kinetic_energy(path, event, pdg, size, None if table["energy"] is None else table["energy"][rows])
    return Primaries(
        event_id=event,
        pdg=pdg,
        kinetic_energy=energy.astype(np.float32),
        vertex=vertex.astype(np.float32),
        direction=(momentum / size[:, None]).astype(np.float32),
    )


def _kinetic_energy(path: Path, event: Int64, pdg: Int64, momentum: Float64, total: Float64 | None) -> Float64:
    if total is not None:
        # Single precision lets the total energy of a photon fall below its momentum.
        for row in np.flatnonzero(~(total >= momentum * (1 - 1e-4)))[:1]:
            raise DataError(
                f"{path}: the primary of event {event[row]} has a total energy E_start of {total[row]} MeV and a "
                f"momentum of {momentum[row]:.6g} MeV/c, which is more"
            )
        energy: Float64 = total - np.sqrt(np.maximum(total**2 - momentum**2, 0.0))
        return energy
    masses = {int(code): mass_of(int(code)) for code in np.unique(pdg)}
    for row in np.flatnonzero([masses[int(code)] is None for code in pdg])[:1]:
        raise DataError(
            f"{path}: the primary of event {event[row]} is a {pdg[row]}, whose mass is not known here, and the "
            "trajectories state no E_start"
        )
    mass = np.array([masses[int(code)] for code in pdg], np.float64)
    return np.hypot(momentum, mass) - mass


def guess_primaries(rows: SegmentRows, offsets: Int64) -> Primaries:
    """Guess the primaries from the segments: the particle of the lowest track id in each event.

    Its vertex is where its first row starts, its direction that of its first row with a length. The energy of the
    particle is not known: what stands for it is the energy that all segments of the event leave, which is less.

    Args:
        rows: of E whole events.
        offsets: (E + 1,) row boundaries of the events.
    """
    count = len(offsets) - 1
    event = np.repeat(np.arange(count), np.diff(offsets))
    order = np.lexsort((rows.track, event))  # stable: rows of one track stay in their order
    first = order[offsets[:-1]]
    return Primaries(
        event_id=rows.event[offsets[:-1]],
        pdg=rows.pdg[first],
        kinetic_energy=np.add.reduceat(rows.energy, offsets[:-1]).astype(np.float32),
        vertex=rows.start[first].astype(np.float32),
        direction=_directions(rows, event, first),
    )


def _directions(rows: SegmentRows, event: Int64, first: Int64) -> Float32:
    step = rows.end - rows.start
    length = np.linalg.norm(step, axis=1)
    usable = np.flatnonzero((rows.track == rows.track[first][event]) & (length > 0))
    found, at = np.unique(event[usable], return_index=True)
    direction = np.tile(np.array([0.0, 0.0, 1.0]), (len(first), 1))
    direction[found] = step[usable[at]] / length[usable[at], None]
    return direction.astype(np.float32)
