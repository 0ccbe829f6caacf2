"""From deposits to drifted steps of charge, for many events at once: :mod:`~nubench.simulation.lartpc.transport`.

Positions and times are computed in double precision by the same operations in the same order, so that a step falls
into the same pixel, tick and bin as there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nubench.containers import Float64, Int64
from nubench.simulation.lartpc.drift import DRIFT_LENGTH_CM, MODULE_LENGTH_CM, PIXEL_PITCH_CM
from nubench.simulation.lartpc.frontend import TICK_US
from nubench.simulation.lartpc.induction import DIFFUSION_LEVELS, PHASES, WINDOW_TICKS
from nubench.simulation.lartpc.parameters import LArTPCParameters
from nubench.simulation.lartpc.quenching import IONISATION_ENERGY_MEV, POINT_LENGTH_CM, recombination_of
from nubench.simulation.lartpc.torch_deposits import DeviceDeposits
from nubench.simulation.lartpc.torch_ragged import ragged_ranges
from nubench.simulation.lartpc.transport import LATEST_TIME_US, LEAD_TICKS, READ_TICKS, STEP_CM


class Segments(NamedTuple):
    """Deposits of E events on a device, event after event, with the electrons they set free.

    Attributes:
        offsets: (E + 1,) int64 row boundaries of the events, on the host.
        event: (N,) int64.
        start, along: (N, 3) float64, cm; a segment runs from ``start`` to ``start + along``.
        time: (N,) float64, us.
        electrons: (N,) float64 that escape recombination.
        steps: (N,) int64, the steps it is cut into; 0 for one without charge or too late to be read.
        lifetime: (N,) float64, us, the electron lifetime in its event.
    """

    offsets: Int64
    event: Tensor
    start: Tensor
    along: Tensor
    time: Tensor
    electrons: Tensor
    steps: Tensor
    lifetime: Tensor

    def of(self, events: slice) -> Segments:
        """Return the segments of consecutive events, which are numbered from 0 again."""
        first, last = int(self.offsets[events.start]), int(self.offsets[events.stop])
        event, *others = (column[first:last] for column in self[1:])
        return Segments(self.offsets[events.start : events.stop + 1] - first, event - events.start, *others)

    def totals(self) -> tuple[Float64, Float64]:
        """Ask the device for the steps and the electrons of each event, (E,) each."""
        totals = torch.zeros((2, len(self.offsets) - 1), dtype=torch.float64, device=self.event.device)
        totals.index_add_(1, self.event, torch.stack((self.steps.double(), self.electrons)))
        steps, electrons = totals.cpu().numpy()
        return steps, electrons


class Steps(NamedTuple):
    """Short steps of charge at their pixel planes.

    Attributes:
        event, plane, row, column, level, phase: (S,) int64; the last two choose a table of the induced charge.
        arrival: (S,) int64, tick.
        offset: (S, 2) float64, distance to the centre of the pixel along y and z, cm.
        charge: (S,) float64, electrons.
    """

    event: Tensor
    plane: Tensor
    row: Tensor
    column: Tensor
    level: Tensor
    phase: Tensor
    arrival: Tensor
    offset: Tensor
    charge: Tensor


def free_charge(deposits: DeviceDeposits, parameters: Sequence[LArTPCParameters]) -> Segments:
    """Quench deposits and count their steps.

    Args:
        deposits: of E events.
        parameters: of each of the E events.
    """
    device = deposits.device
    settings = np.array([(*recombination_of(point), point.electron_lifetime) for point in parameters], np.float64)
    lengths = torch.from_numpy(np.diff(deposits.offsets)).to(device)
    event = torch.repeat_interleave(lengths, output_size=len(deposits.energy))
    columns = torch.from_numpy(settings.reshape(-1, 5)).to(device)[event].unbind(1)

    start, energy = deposits.start.double(), deposits.energy.double()
    along = deposits.end.double() - start
    x, y, z = along.unbind(1)
    length = (x * x + y * y + z * z).sqrt()
    electrons = _surviving_fraction(energy, length, *columns[:4]) * energy / IONISATION_ENERGY_MEV
    seen = (electrons > 0.0) & (deposits.time.abs() <= LATEST_TIME_US)
    steps = (length / STEP_CM).ceil().clamp(min=1.0).long() * seen
    return Segments(deposits.offsets, event, start, along, deposits.time.double(), electrons, steps, columns[4])


def _surviving_fraction(
    energy: Tensor, length: Tensor, box: Tensor, first: Tensor, second: Tensor, field_times_density: Tensor
) -> Tensor:
    """Compute what :func:`nubench.simulation.lartpc.quenching.surviving_fraction` does, for (N,) segments."""
    energy_per_length = torch.where(length >= POINT_LENGTH_CM, energy / length, 0.0)
    density = energy_per_length / field_times_density
    birks = first / (1.0 + second * density)
    ionisation = second * density
    ionisation = torch.where(ionisation == 0.0, 1.0, ionisation)
    return torch.where(box != 0.0, ((first + ionisation).log() / ionisation).clamp(min=0.0), birks)


def drift_steps(segments: Segments, velocity: float) -> Steps:
    """Cut segments into steps and drift these to their planes; those outside the read window are left out.

    Args:
        segments: from :func:`free_charge`.
        velocity: drift velocity, cm/us.
    """
    index, rows = ragged_ranges(torch.zeros_like(segments.steps), segments.steps)
    count = segments.steps[rows]
    along = (index.double() + 0.5) / count
    x, y, z = (segments.start[rows, axis] + along * segments.along[rows, axis] for axis in range(3))

    module = ((x + DRIFT_LENGTH_CM) / MODULE_LENGTH_CM).floor()
    local = x - module * MODULE_LENGTH_CM
    drift_time = (DRIFT_LENGTH_CM - local.abs()).clamp(min=0.0) / velocity
    full_time = DRIFT_LENGTH_CM / velocity
    level = ((drift_time / full_time).sqrt() * (DIFFUSION_LEVELS - 1) + 0.5).long().clamp(max=DIFFUSION_LEVELS - 1)
    arrival = (segments.time[rows] + drift_time) / TICK_US
    tick = arrival.floor()
    row, column = (y / PIXEL_PITCH_CM).floor(), (z / PIXEL_PITCH_CM).floor()
    steps = Steps(
        segments.event[rows],
        2 * module.long() + (local >= 0.0),
        row.long(),
        column.long(),
        level,
        ((arrival - tick) * PHASES).long().clamp(max=PHASES - 1),
        tick.long(),
        torch.stack((y - (row + 0.5) * PIXEL_PITCH_CM, z - (column + 0.5) * PIXEL_PITCH_CM), dim=1),
        segments.electrons[rows] / count * (-drift_time / segments.lifetime[rows]).exp(),
    )
    seen = (tick >= -LEAD_TICKS) & (tick < READ_TICKS + WINDOW_TICKS)
    kept = seen.nonzero()[:, 0]
    return Steps(*(values.index_select(0, kept) for values in steps))
