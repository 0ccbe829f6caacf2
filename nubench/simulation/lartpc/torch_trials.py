"""One trial of many pixels: from a reset to the earliest tick that triggers.

The buffer is a linear low pass with the share k kept from tick to tick; of the charge Q induced since the window's
begin it withholds w. Reset before tick s, it knows nothing of earlier charge, and the collected charge is

    C[t] = reset + (Q[t] - w[t]) - (Q[s-1] - k^(t-s+1) w[s-1]).

Q and w are computed once for all trials; a trial adds a number and an exponential. So every tick is looked at by
itself, and the trigger is the earliest that fires: a minimum of whole numbers, the same in any order.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import torch
from torch import Tensor

from nubench.simulation.lartpc.frontend import (
    BRACKET_RANGE,
    NEGLIGIBLE_BUFFER_ELECTRONS,
    NEGLIGIBLE_SIGMAS,
    PURPOSE_TRIGGER,
)
from nubench.simulation.lartpc.torch_ragged import ragged_ranges
from nubench.simulation.lartpc.torch_random import coarse_uniforms, random_words
from nubench.simulation.lartpc.torch_settings import Settings
from nubench.simulation.lartpc.torch_windows import Windows
from nubench.simulation.lartpc.transport import LEAD_TICKS

NEVER: Final = 1 << 40
"""Later than any tick."""


class Channels(NamedTuple):
    """P pixels to be read: (P,) int64 key of the pixel's event, (P,) int64 channel number, settings of the P pixels."""

    key: Tensor
    channel: Tensor
    settings: Settings

    def of(self, index: Tensor) -> Channels:
        """Pick some pixels, by (M,) int64 index."""
        return Channels(self.key[index], self.channel[index], self.settings.of(index))


class Waveforms(NamedTuple):
    """What the trials of one reading share.

    Attributes:
        windows: N ticks of induced charge.
        withheld: (N,) float32, what the buffer withholds after each tick if it is never reset, electrons.
        passed: (N,) float64, what it has passed on by then, electrons; -infinity outside the read window.
    """

    windows: Windows
    withheld: Tensor
    passed: Tensor

    def state(self, pixel: Tensor, tick: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        """Find what has been induced on (M,) pixels by the end of a tick, and what is withheld then, electrons."""
        windows = self.windows
        row = tick - windows.first[pixel]
        last = windows.length[pixel] - 1
        rows = windows.begin[pixel] + row.clamp(min=0).minimum(last)
        withheld = self.withheld[rows] * keep.pow((row - last).clamp(min=0))
        started = row >= 0
        return torch.where(started, windows.arrived[rows], 0.0), torch.where(started, withheld, 0.0)


class Trial(NamedTuple):
    """One trial of P pixels.

    Attributes:
        start: (P,) int64, the first tick; NEVER for a pixel that is no longer read.
        ready: (P,) int64, the first tick that may trigger; not before ``start``.
        base: (P,) float64, the charge left by the reset less what had been induced before, electrons.
        lost: (P,) float64, what would be withheld at the reset if there had been no other, electrons.
        patience: (P,) float64, logarithm of the uniform number that tells how long a rest lasts.
    """

    start: Tensor
    ready: Tensor
    base: Tensor
    lost: Tensor
    patience: Tensor

    def update(self, pixels: Tensor, values: tuple[Tensor, ...]) -> None:
        """Put the values of (M,) pixels into the columns, in place."""
        for column, value in zip(self, values, strict=True):
            column.index_copy_(0, pixels, value)


def first_triggers(waveforms: Waveforms, channels: Channels, trial: Trial, alive: Tensor, runs: Tensor) -> Tensor:
    """Find the tick in which each pixel triggers, (P,) int64; NEVER for one that does not.

    Args:
        waveforms: N ticks of P pixels.
        channels: the pixels.
        trial: of the pixels.
        alive: (A,) int64, the pixels that are read, in order.
        runs: (R,) int64, the runs without current to look at.
    """
    trigger, rest_begin = _rest_triggers(waveforms, channels.settings, trial, runs)
    pixel, tick, sigmas = _open_ticks(waveforms, channels.settings, trial, alive, rest_begin)
    certain = torch.where(sigmas <= -BRACKET_RANGE, tick, NEVER)
    trigger.scatter_reduce_(0, pixel, certain, "amin")

    drawn = ((sigmas > -BRACKET_RANGE) & (tick < trigger.index_select(0, pixel))).nonzero()[:, 0]
    pixel, tick, sigmas = (column.index_select(0, drawn) for column in (pixel, tick, sigmas))
    uniform = _tick_uniforms(channels, pixel, tick + LEAD_TICKS)
    exceeds = uniform < 0.5 * (sigmas / math.sqrt(2.0)).erfc()
    return trigger.scatter_reduce_(0, pixel, torch.where(exceeds, tick, NEVER), "amin")


def _in_sigmas(below: Tensor, sigma: Tensor) -> Tensor:
    """Divide the distance to the threshold by the noise; without noise it is infinite, and reached at 0."""
    noiseless = torch.where(below <= 0.0, -math.inf, math.inf)
    return torch.where(sigma > 0.0, below / sigma, noiseless)


def _rest_triggers(waveforms: Waveforms, settings: Settings, trial: Trial, runs: Tensor) -> tuple[Tensor, Tensor]:
    """Wait through the ticks without current.

    Returns:
        (P,) the first trigger of each pixel, and (all runs + 1,) the tick from which on a run is waited through;
        NEVER for one that is walked, and for the last entry, which stands for no run.
    """
    windows = waveforms.windows
    rests = windows.rests
    pixel, begin, end = rests.pixel[runs], rests.begin[runs], rests.end[runs]
    start, keep = trial.start[pixel], settings.keep[pixel]

    # Until the buffer is empty, the pixel is walked.
    before = rests.before[runs]
    filled = before >= 0
    before = before.clamp(min=0)
    withheld = waveforms.withheld[before] - trial.lost[pixel] * keep.pow((begin - start).clamp(min=0))
    withheld = torch.where(filled & (start < begin), withheld, 0.0)
    held = (settings.output[pixel] * withheld).abs()
    ringing = (held / NEGLIGIBLE_BUFFER_ELECTRONS).log() / settings.decay[pixel]
    ringing = torch.where(ringing >= 0.0, ringing.floor() + 1.0, 0.0)
    waits_from = torch.maximum(begin, start) + ringing.clamp(max=float(NEVER)).long()
    waits = end - waits_from >= rests.shortest[runs]

    charge = trial.base[pixel] + torch.where(filled, windows.arrived[before], 0.0)
    charge = charge - withheld * keep.pow(ringing)
    sigmas = _in_sigmas(settings.threshold[pixel] - charge, settings.sigma[pixel])
    waited = trial.patience[pixel] / (-0.5 * (sigmas / math.sqrt(2.0)).erfc()).log1p()
    waited = torch.where(sigmas < NEGLIGIBLE_SIGMAS, waited, math.inf)
    tick = torch.maximum(waits_from, trial.ready[pixel]) + waited.clamp(max=float(NEVER)).long()

    trigger = torch.full_like(trial.start, NEVER)
    trigger.scatter_reduce_(0, pixel, torch.where(waits & (tick < end), tick, NEVER), "amin")
    rest_begin = torch.full((len(rests.pixel) + 1,), NEVER, device=runs.device)
    return trigger, rest_begin.index_copy_(0, runs, torch.where(waits, waits_from, NEVER))


def _open_ticks(
    waveforms: Waveforms, settings: Settings, trial: Trial, alive: Tensor, rest_begin: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Find the ticks that may trigger, in order: pixel, tick, distance to the threshold in widths of the noise."""
    windows = waveforms.windows
    # A bound first, which needs no power: half of the ticks end here.
    least = settings.lowest - trial.base - trial.lost.clamp(min=0.0)
    if len(alive) == len(windows.first):
        rows = (waveforms.passed >= least.index_select(0, windows.pixel)).nonzero()[:, 0]
    else:
        skipped = (trial.start[alive] - windows.first[alive]).clamp(min=0).minimum(windows.length[alive])
        rows, of_alive = ragged_ranges(windows.begin[alive] + skipped, windows.length[alive] - skipped)
        near = waveforms.passed.index_select(0, rows) >= least[alive].index_select(0, of_alive)
        rows = rows.index_select(0, near.nonzero()[:, 0])
    pixel = windows.pixel.index_select(0, rows)
    tick = windows.tick(rows, pixel)
    able = (tick >= trial.ready.index_select(0, pixel)) & (
        tick < rest_begin.index_select(0, windows.rest.index_select(0, rows))
    )
    able = able.nonzero()[:, 0]
    rows, pixel, tick = (column.index_select(0, able) for column in (rows, pixel, tick))

    threshold, sigma, lowest, keep, start, base, lost = (
        column.index_select(0, pixel)
        for column in (
            settings.threshold,
            settings.sigma,
            settings.lowest,
            settings.keep,
            trial.start,
            trial.base,
            trial.lost,
        )
    )
    charge = base + waveforms.passed.index_select(0, rows) + lost * keep.pow(tick - start + 1)
    return pixel, tick, torch.where(charge >= lowest, _in_sigmas(threshold - charge, sigma), math.inf)


def _tick_uniforms(channels: Channels, pixel: Tensor, count: Tensor) -> Tensor:
    """Draw the number that decides whether a tick triggers; one block of random bits serves four ticks.

    Args:
        channels: the pixels.
        pixel, count: (M,) int64, pixel and tick since the begin of the read window, in order.
    """
    block = count >> 2
    fresh = torch.ones_like(block, dtype=torch.bool)
    fresh[1:] = (block[1:] != block[:-1]) | (pixel[1:] != pixel[:-1])
    drawn = fresh.nonzero()[:, 0]
    words = random_words(channels.key[pixel[drawn]], channels.channel[pixel[drawn]], int(PURPOSE_TRIGGER), block[drawn])
    return coarse_uniforms(words.flatten().index_select(0, (count & 3) * len(drawn) + fresh.cumsum(0) - 1))
