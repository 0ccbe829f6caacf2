"""From freed charge to hits, as many events at once as the memory holds."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nubench.containers import Float64, Int64
from nubench.simulation.lartpc.frontend import TICK_US
from nubench.simulation.lartpc.parameters import LArTPCParameters
from nubench.simulation.lartpc.torch_frontend import may_trigger, read_pixels
from nubench.simulation.lartpc.torch_hits import RawHits, no_hits
from nubench.simulation.lartpc.torch_induction import (
    ELECTRONS_A_UNIT,
    DeviceTable,
    charge_units,
    highest_sums,
    induce,
    pair_rows,
    pairs_of,
)
from nubench.simulation.lartpc.torch_pixels import MAX_EVENTS, find_pixels
from nubench.simulation.lartpc.torch_random import event_keys
from nubench.simulation.lartpc.torch_settings import Settings, settings_of
from nubench.simulation.lartpc.torch_transport import Segments, drift_steps
from nubench.simulation.lartpc.torch_trials import Channels
from nubench.simulation.lartpc.torch_windows import lay_out, window_lengths
from nubench.simulation.lartpc.transport import ROUNDING


class Reading(NamedTuple):
    """One draw of E events: their keys (E,) int64, their settings, and a lower bound of the settings' ``decay``."""

    key: Tensor
    settings: Settings
    slowest: float

    def of(self, index: Tensor | slice) -> Reading:
        """Pick some events, by (M,) int64 index or by slice."""
        return Reading(self.key[index], self.settings.of(index), self.slowest)


def reading_of(event_id: Int64, points: Sequence[LArTPCParameters], seed: int, device: torch.device) -> Reading:
    """Bring keys and settings of E events to a device."""
    keys = event_keys(seed, torch.from_numpy(np.array(event_id, np.int64)).to(device))
    slowest = min(
        (TICK_US / point.buffer_risetime for point in points if point.buffer_risetime > 0.0), default=math.inf
    )
    return Reading(keys, settings_of(points, device), slowest)


def read_charge(
    segments: Segments, steps: Float64, table: DeviceTable, readings: Sequence[Reading], pairs_at_once: int
) -> Iterator[list[RawHits]]:
    """Drift and induce charge once, and read it as often as asked for.

    Args:
        segments: freed charge of E events.
        steps: (E,) steps of each event, on the host.
        table: of the induced charge.
        readings: of the E events.
        pairs_at_once: how many pairs of a step and a pixel around it to work on at once; an event is not split.

    Yields:
        For some consecutive events at a time, the hits of each reading.
    """
    around = (2 * table.reach + 1) ** 2
    for events in _batches(steps * around, pairs_at_once):
        hits = _read_batch(segments.of(events), table, [reading.of(events) for reading in readings])
        yield [of_reading._replace(event=of_reading.event + events.start) for of_reading in hits]


def _batches(pairs: Float64, at_once: int) -> Iterator[slice]:
    """Cut events into batches of at most ``at_once`` pairs; one that has more by itself is a batch of its own."""
    first, total = 0, 0.0
    for event, of_event in enumerate(pairs):
        if event > first and (total + of_event > at_once or event - first == MAX_EVENTS):
            yield slice(first, event)
            first, total = event, 0.0
        total += of_event
    if first < len(pairs):
        yield slice(first, len(pairs))


def _read_batch(segments: Segments, table: DeviceTable, readings: Sequence[Reading]) -> list[RawHits]:
    nothing = [no_hits(segments.steps.device) for _ in readings]
    steps = drift_steps(segments, table.velocity)
    if len(steps.event) == 0:
        return nothing
    pixels, around = find_pixels(steps, table.rings, table.reach, table.ticks)
    charge, rows = charge_units(steps), pair_rows(steps, around, table)
    highest = highest_sums(charge, rows, around, table, len(pixels.event)) * ROUNDING + 1.0

    channels = [_channels(pixels.event, pixels.channel, reading) for reading in readings]
    live = functools.reduce(torch.logical_or, (may_trigger(highest, of_reading) for of_reading in channels))
    seen = live.nonzero()[:, 0]
    if len(seen) == 0:
        return nothing
    pixels, highest = pixels.of(seen), highest[seen]
    channels = [of_reading.of(seen) for of_reading in channels]
    decay = functools.reduce(torch.minimum, (of_reading.settings.decay for of_reading in channels))
    length = window_lengths(pixels.first, pixels.end, highest, decay)
    begin = length.cumsum(0) - length
    pairs = pairs_of(live, rows, around)
    units = induce(steps, charge, pairs, pixels, begin, int(length.sum()), table)
    windows = lay_out(units, ELECTRONS_A_UNIT, pixels.first, begin, length)

    hits = []
    for reading, of_reading in zip(readings, channels, strict=True):
        pixel, tick, sampled = read_pixels(windows, of_reading, reading.slowest)
        hits.append(RawHits(pixels.event[pixel], pixels.channel[pixel], tick, sampled))
    return hits


def _channels(event: Tensor, channel: Tensor, reading: Reading) -> Channels:
    return Channels(reading.key[event], channel, reading.settings.of(event))
