"""Fewer energy deposits for the same picture: short delta rays and micro-steps are merged.

With a production cut of 0.003 cm Geant4 follows every knock-on electron above some 50 keV on its own, in steps of
micrometres, far below what any readout resolves. Three merges keep the energy exactly:

1. A track shorter than :data:`SHORT_TRACK_LENGTH` that starts on an earlier track gives its energy to the shorter of
   the two steps of that track which meet there. Recombination is then computed from the energy loss of a track with
   its short delta rays, the quantity to which the constants of Birks' law were fitted, and depends no longer on the
   production cut.
2. A point deposit at the start of a track, such as the binding energy of the atom that a photoelectron left, is given
   to the first step of that track.
3. Consecutive steps of one track are joined to one straight segment while their path is not longer than
   :data:`SEGMENT_LENGTH`. Longer steps of Geant4 stay as they are.

Within liquid argon, about 2 to 3% of the energy moves to another cell of a grid of 0.38 cm, mostly to a neighbour. What
remains in showers are mostly the separate dots of Compton and photoelectrons, which cannot be merged.

The result for an event does not depend on the other events of the call: positions are compared exactly and paths are
added as integers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nubench.containers import Float64, Int64

SHORT_TRACK_LENGTH = 0.05  # cm
SEGMENT_LENGTH = 0.1  # cm

UInt64 = npt.NDArray[np.uint64]
Bool = npt.NDArray[np.bool_]

_LENGTH_UNIT = 1e-7  # cm; paths are counted in nanometres
_TABLE_BITS = 20
_HASH_FACTORS = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], dtype=np.uint64
)


@dataclass(frozen=True, slots=True)
class Steps:
    """Energy deposits along straight steps, events in order, within an event in the order of tracking.

    Attributes:
        event: (N,) index of the event, not decreasing.
        track: (N,) Geant4's id of the track in its event; a parent's is smaller than its secondaries'.
        start, end: (3, N) cm; equal for a point deposit.
        energy: (N,) MeV.
        time: (N,) at the start, in any unit.
    """

    event: Int64
    track: Int64
    start: Float64
    end: Float64
    energy: Float64
    time: Float64

    def __len__(self) -> int:
        return len(self.energy)

    def select(self, rows: npt.NDArray[np.integer] | Bool) -> Steps:
        """Return the steps in ``rows``, indices or a mask."""
        return Steps(
            self.event[rows],
            self.track[rows],
            self.start[:, rows],
            self.end[:, rows],
            self.energy[rows],
            self.time[rows],
        )


def compact(lines: Steps, points: Steps) -> Steps:
    """Merge short delta rays, points at the start of tracks and micro-steps; see the head of the module.

    Args:
        lines: N steps.
        points: P point deposits of the same events.

    Returns:
        At most N + P steps: events in order, within an event lines before points. The energy of each event is kept to
        the precision of float64 sums.
    """
    if len(lines) == 0:
        return points
    start_key, end_key = _position_key(lines.event, lines.start), _position_key(lines.event, lines.end)
    is_first = np.ones(len(lines), dtype=np.bool_)
    is_first[1:] = (lines.track[1:] != lines.track[:-1]) | (start_key[1:] != end_key[:-1])
    path = np.rint(np.sqrt(np.sum((lines.end - lines.start) ** 2, axis=0)) / _LENGTH_UNIT).astype(np.int64)

    first = np.flatnonzero(is_first)
    host = _find_hosts(lines.track, start_key, end_key, path, is_first)
    receiver = _follow_hosts(host, is_first)
    atom = _first_match(start_key[first], _position_key(points.event, points.start))
    at_start = atom >= 0

    energy: Float64 = np.bincount(receiver, weights=lines.energy, minlength=len(lines)).astype(np.float64)
    energy += np.bincount(receiver[first[atom[at_start]]], weights=points.energy[at_start], minlength=len(lines))
    kept = np.flatnonzero(receiver == np.arange(len(lines)))
    kept_lines = Steps(
        lines.event[kept], lines.track[kept], lines.start[:, kept], lines.end[:, kept], energy[kept], lines.time[kept]
    )
    return _interleave(_join_consecutive(kept_lines, path[kept], is_first[kept]), points.select(~at_start))


def _position_key(event: Int64, position: Float64) -> UInt64:
    """Hash event and exact position (3, N) to (N,) 64 bits, in which different ones practically never agree."""
    bits = position.view(np.uint64)
    key: UInt64 = event.astype(np.uint64) * _HASH_FACTORS[3]
    for axis in range(3):
        key = (key ^ bits[axis]) * _HASH_FACTORS[axis]
        key ^= key >> np.uint64(29)
    return key


def _first_match(keys: UInt64, wanted: UInt64) -> Int64:
    """Return for each of ``wanted`` the lowest index in ``keys`` that equals it, or -1."""
    # Most keys match nothing. A table of the leading bits that occur spares sorting and searching those.
    occurs = np.zeros(1 << _TABLE_BITS, dtype=np.bool_)
    lead = np.uint64(64 - _TABLE_BITS)
    occurs[wanted >> lead] = True
    candidates = np.flatnonzero(occurs[keys >> lead])
    match = np.full(len(wanted), -1, dtype=np.int64)
    if len(candidates) == 0:
        return match
    occurs[:] = False
    occurs[keys[candidates] >> lead] = True
    asked = np.flatnonzero(occurs[wanted >> lead])

    order = candidates[np.argsort(keys[candidates], kind="stable")]
    found = order[np.minimum(np.searchsorted(keys[order], wanted[asked]), len(order) - 1)]
    agree = keys[found] == wanted[asked]
    match[asked[agree]] = found[agree]
    return match


def _find_hosts(track: Int64, start_key: UInt64, end_key: UInt64, path: Int64, is_first: Bool) -> Int64:
    """Find the step that takes over each short track.

    Args:
        track, start_key, end_key, path, is_first: (N,) of the steps.

    Returns:
        (T,) for each track, of the two steps that meet where it starts the shorter one, if it is a short track that
        starts on an earlier one, so that no chain of hosts closes on itself; else -1.
    """
    first = np.flatnonzero(is_first)
    host = np.full(len(first), -1, dtype=np.int64)
    short = np.flatnonzero(np.add.reduceat(path, first) <= SHORT_TRACK_LENGTH / _LENGTH_UNIT)
    before = _first_match(end_key, start_key[first[short]])
    earlier = (before >= 0) & (track[before] < track[first[short]])
    before, short = before[earlier], short[earlier]
    after = np.minimum(before + 1, len(path) - 1)
    host[short] = np.where(~is_first[after] & (path[after] < path[before]), after, before)
    return host


def _follow_hosts(host: Int64, is_first: Bool) -> Int64:
    """Return for each of the N steps the one that gets its energy: itself, or the last host of its track."""
    track_of = np.cumsum(is_first) - 1
    moving = np.flatnonzero(host >= 0)
    while len(moving):
        # The host itself may lie on a short track.
        further = host[track_of[host[moving]]]
        moving, further = moving[further >= 0], further[further >= 0]
        host[moving] = further
    of_step = host[track_of]
    return np.where(of_step >= 0, of_step, np.arange(len(of_step)))


def _join_consecutive(steps: Steps, path: Int64, is_first: Bool) -> Steps:
    """Join consecutive steps of a track, greedily from its start, while the path fits :data:`SEGMENT_LENGTH`."""
    rows = len(steps)
    limit = round(SEGMENT_LENGTH / _LENGTH_UNIT)
    is_head = is_first.copy()
    is_head[1:] |= path[1:] + path[:-1] > limit
    # Only runs of two and more steps, each of which fits beside the next, need a closer look.
    run_rows = np.flatnonzero(~(is_head & np.append(is_head[1:], True)))
    is_head[run_rows] = _segment_heads(path[run_rows], is_head[run_rows], limit)
    heads = np.flatnonzero(is_head)
    tails = np.append(heads[1:], rows) - 1
    return Steps(
        steps.event[heads],
        steps.track[heads],
        steps.start[:, heads],
        steps.end[:, tails],
        np.add.reduceat(steps.energy, heads),
        steps.time[heads],
    )


def _segment_heads(path: Int64, is_first: Bool, limit: int) -> Bool:
    """Cut runs of steps greedily into segments of a path of at most ``limit``.

    Args:
        path: (N,) of each step, each at most ``limit``.
        is_first: (N,) whether a step begins a run.
        limit: longest path of a segment.

    Returns:
        (N,) whether a step begins a segment.
    """
    rows = len(path)
    if rows == 0:
        return is_first
    path_end = np.cumsum(path)
    first = np.flatnonzero(is_first)
    run_lengths = np.diff(np.append(first, rows))
    run_end = np.repeat(first + run_lengths, run_lengths)
    following = np.minimum(np.searchsorted(path_end, path_end - path + limit, side="right"), run_end)

    # The step after a segment heads the next one. Leaps that double in every round find all heads in a few passes.
    is_head = np.append(is_first, False)
    leap = np.append(following, rows)
    for _ in range(int(run_lengths.max()).bit_length()):
        is_head[leap[is_head]] = True
        leap = leap[leap]
    return is_head[:rows]


def _interleave(lines: Steps, points: Steps) -> Steps:
    """Put lines and points of the same events together, lines first within each event."""
    event = np.concatenate([lines.event, points.event])
    order = np.argsort(event, kind="stable")
    return Steps(
        event[order],
        np.concatenate([lines.track, points.track])[order],
        np.concatenate([lines.start, points.start], axis=1)[:, order],
        np.concatenate([lines.end, points.end], axis=1)[:, order],
        np.concatenate([lines.energy, points.energy])[order],
        np.concatenate([lines.time, points.time])[order],
    )
