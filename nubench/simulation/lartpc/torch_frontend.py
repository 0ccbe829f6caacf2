"""The front end of many pixels at once, without a loop over ticks.

:func:`nubench.simulation.lartpc.frontend.read_pixel` walks through the ticks of one pixel. Here a trial, from a reset
to the next trigger, is found for all pixels together (:mod:`~nubench.simulation.lartpc.torch_trials`); then those that
triggered go to their next. Most pixels have two or three. Noise is drawn for the same keys, purposes and counters as
there, so that both see the same noise.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from nubench.simulation.lartpc.frontend import (
    BUSY_TICKS,
    INTEGRATION_TICKS,
    MAX_HITS_PER_PIXEL,
    PURPOSE_RESET,
    PURPOSE_SAMPLE,
    PURPOSE_WAIT,
    RESET_TICKS,
)
from nubench.simulation.lartpc.torch_random import normals, random_words, uniforms
from nubench.simulation.lartpc.torch_settings import Settings
from nubench.simulation.lartpc.torch_trials import NEVER, Channels, Trial, Waveforms, first_triggers
from nubench.simulation.lartpc.torch_windows import Windows, withheld_charge
from nubench.simulation.lartpc.transport import LEAD_TICKS, READ_TICKS

_PURPOSES = (int(PURPOSE_RESET), int(PURPOSE_SAMPLE), int(PURPOSE_WAIT))


class PixelHits(NamedTuple):
    """Hits: (H,) int64 pixel, from 0 to P - 1; (H,) int64 tick of the sample; (H,) float64 electrons."""

    pixel: Tensor
    tick: Tensor
    charge: Tensor


class _Noise(NamedTuple):
    """Noise of one trial of M pixels: (M,) normal number of the reset, (2, M) of the sample, (M,) log of a uniform."""

    reset: Tensor
    sample: Tensor
    patience: Tensor


class _Samples(NamedTuple):
    """Samples taken in one trial: pixel, tick, electrons, whether it is recorded, and hits of the pixel before it."""

    pixel: Tensor
    tick: Tensor
    charge: Tensor
    accepted: Tensor
    number: Tensor


def may_trigger(highest: Tensor, channels: Channels) -> Tensor:
    """Tell which pixels can record a hit if no more than ``highest`` electrons ever are on them, (P,) bool."""
    words = random_words(channels.key, channels.channel, int(PURPOSE_RESET), 0)
    return normals(words)[0] * channels.settings.reset_noise + highest >= channels.settings.lowest


def read_pixels(windows: Windows, channels: Channels, slowest: float) -> PixelHits:
    """Run the front end of P pixels through the read window.

    Args:
        windows: the induced charge.
        channels: the pixels, their noise and their settings.
        slowest: a lower bound of ``decay`` in the settings, known without asking the device.

    Returns:
        The hits that read more than no charge does, at most ten a pixel, in no particular order.
    """
    settings = channels.settings
    waveforms = _waveforms(windows, settings, slowest)
    alive = torch.arange(len(windows.first), device=windows.first.device)
    trial = _first_trial(alive)
    hits = torch.zeros_like(alive)
    runs = torch.arange(len(windows.rests.pixel), device=alive.device)
    purposes = torch.tensor(_PURPOSES, device=alive.device)[:, None]
    samples = []
    for number in itertools.count():
        start, keep = trial.start[alive], settings.keep[alive]
        noise = _draw_noise(channels, alive, purposes, number)
        induced, lost = waveforms.state(alive, start - 1, keep)
        base = noise.reset * settings.reset_noise[alive] - induced
        trial.update(alive, (start, trial.ready[alive], base, lost, noise.patience))
        trigger = first_triggers(waveforms, channels, trial, alive, runs)[alive]

        fired = (trigger < READ_TICKS).nonzero()[:, 0]
        trial.start.index_fill_(0, alive, NEVER)
        alive, trigger = alive[fired], trigger[fired]
        charge = _integrated(waveforms, trial, alive, start[fired], trigger, keep[fired])
        charge = charge + noise.sample[0, fired] * settings.uncorrelated_noise[alive]
        limit = settings.threshold[alive] + noise.sample[1, fired] * settings.discriminator_noise[alive]
        accepted = charge >= limit
        tick = trigger + INTEGRATION_TICKS + 1
        samples.append(_Samples(alive, tick, charge, accepted, hits[alive]))

        hits.index_add_(0, alive, accepted.long())
        start = tick + RESET_TICKS
        # The count-down stands before the comparison, so the last of its ticks may trigger.
        ready = torch.where(accepted, start + BUSY_TICKS - 1, start)
        further = ((hits[alive] < MAX_HITS_PER_PIXEL) & (start < READ_TICKS)).nonzero()[:, 0]
        alive = alive[further]
        if len(alive) == 0:
            break
        trial.start.index_copy_(0, alive, start[further])
        trial.ready.index_copy_(0, alive, ready[further])
        runs = runs[windows.rests.end[runs] > trial.start[windows.rests.pixel[runs]]]
    return _recorded(samples, settings)


def _waveforms(windows: Windows, settings: Settings, slowest: float) -> Waveforms:
    withheld = withheld_charge(windows, settings, slowest)
    passed = (windows.arrived - withheld).index_fill_(0, windows.outside, -math.inf)
    return Waveforms(windows, withheld, passed)


def _first_trial(pixels: Tensor) -> Trial:
    begin = torch.full_like(pixels, -LEAD_TICKS)
    nothing = torch.zeros_like(pixels, dtype=torch.float64)
    return Trial(begin, begin.clone(), nothing, nothing.clone(), nothing.clone())


def _draw_noise(channels: Channels, pixels: Tensor, purposes: Tensor, trial: int) -> _Noise:
    words = random_words(channels.key[pixels], channels.channel[pixels], purposes, trial)
    return _Noise(normals(words[:, 0])[0], normals(words[:, 1]), uniforms(words[:, 2])[0].log())


def _integrated(
    waveforms: Waveforms, trial: Trial, pixel: Tensor, start: Tensor, trigger: Tensor, keep: Tensor
) -> Tensor:
    """Compute the charge on (M,) pixels when it is sampled, electrons."""
    end = trigger + INTEGRATION_TICKS
    induced, withheld = waveforms.state(pixel, end, keep)
    return trial.base[pixel] + induced - withheld + trial.lost[pixel] * keep.pow(end - start + 1)


def _recorded(samples: list[_Samples], settings: Settings) -> PixelHits:
    """Keep what was accepted and reads more than no charge; the first of a pixel that fails drops the later ones."""
    pixel, tick, charge, accepted, number = (torch.cat(column) for column in zip(*samples, strict=True))
    kept = accepted.nonzero()[:, 0]
    pixel, tick, charge, number = pixel[kept], tick[kept], charge[kept], number[kept]
    of_pixel = settings.of(pixel)
    fails = of_pixel.adc(charge) <= of_pixel.adc(torch.zeros_like(charge))
    first_failure = torch.full_like(settings.gain, MAX_HITS_PER_PIXEL, dtype=torch.int64)
    first_failure.scatter_reduce_(0, pixel, torch.where(fails, number, MAX_HITS_PER_PIXEL), "amin")
    kept = (number < first_failure[pixel]).nonzero()[:, 0]
    return PixelHits(pixel[kept], tick[kept], charge[kept])
