"""Levels of optical crosstalk by masking: hits of the track stay, of the others a random share does."""

from __future__ import annotations

import numpy as np
from numba import njit

from nubench.containers import Bool, Events, Int32, Int64, LabelledEvents
from nubench.simulation.random_streams import event_key
from nubench.simulation.scintillator.cubes import cube_number
from nubench.simulation.scintillator.photosensors import keeps_crosstalk


@njit(cache=True, nogil=True)
def _kept_hits(offsets: Int64, coords: Int32, from_track: Bool, event_id: Int64, share: float, seed: np.uint64) -> Bool:
    kept = np.ones(len(coords), np.bool_)
    for event in range(len(offsets) - 1):
        key = event_key(seed, np.uint64(event_id[event]))
        for hit in range(offsets[event], offsets[event + 1]):
            if not from_track[hit]:
                channel = np.uint64(cube_number(coords[hit, 0], coords[hit, 1], coords[hit, 2]))
                # The simulation's own rule: one event is masked alike, simulated or imported.
                kept[hit] = keeps_crosstalk(key, channel, share)
    return kept


def mask_crosstalk(events: LabelledEvents, share: float, seed: int) -> LabelledEvents:
    """Keep every hit of the track and a random share of the others; their charge is not given back.

    Each hit has one uniform number, drawn for (seed, event, cube): the hits that a smaller share keeps, a larger one
    keeps too.

    Args:
        events: with ``from_track``; voxels are cubes of the detector.
        share: from 0, which leaves the track alone, to 1, which changes nothing.
        seed: of the numbers.

    Raises:
        ValueError: when the events do not say which hits are the track's.
    """
    if events.from_track is None:
        raise ValueError("events without from_track cannot be masked")
    voxels = events.events
    kept = _kept_hits(
        voxels.offsets, voxels.coords, events.from_track, events.truth.event_id, float(share), np.uint64(seed)
    )
    event = np.repeat(np.arange(len(voxels)), voxels.voxels_per_event)
    lengths = np.bincount(event[kept], minlength=len(voxels))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    masked = Events(offsets, voxels.coords[kept], voxels.features[kept])
    return LabelledEvents(masked, events.labels, events.truth, events.from_track[kept])
