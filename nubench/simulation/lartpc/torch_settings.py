"""The front end's settings as tensors, so that every event of a call may have its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nubench.simulation.lartpc.frontend import ADC_COUNTS, NEGLIGIBLE_SIGMAS, TICK_US, FrontEnd, front_end_of
from nubench.simulation.lartpc.parameters import LArTPCParameters

# Stands for no buffer at all; above 0, so that what the buffer passes on follows from what it withholds.
_LEAST_KEEP: Final = 2.0**-100


class Settings(NamedTuple):
    """Front-end settings of N events, pixels or hits, (N,) float64 each.

    Attributes:
        gain, v_cm, v_ref, v_pedestal: uV/e and mV, as in :class:`~nubench.simulation.lartpc.frontend.FrontEnd`.
        reset_noise, uncorrelated_noise, discriminator_noise, threshold: electrons.
        sigma: width of the noise of one comparison, electrons.
        lowest: collected charge below which a comparison is not made, electrons.
        decay: natural logarithm of what the buffer loses in a tick, 0 or above; infinite without a buffer.
        keep: share of its content that the buffer keeps in a tick.
        output: what the buffer passes on, as a share of what it withholds: (1 - keep) / keep.
    """

    gain: Tensor
    v_cm: Tensor
    v_ref: Tensor
    v_pedestal: Tensor
    reset_noise: Tensor
    uncorrelated_noise: Tensor
    discriminator_noise: Tensor
    threshold: Tensor
    sigma: Tensor
    lowest: Tensor
    decay: Tensor
    keep: Tensor
    output: Tensor

    def of(self, index: Tensor | slice) -> Settings:
        """Pick some settings, by (M,) int64 index or by slice."""
        return Settings(*(column[index] for column in self))

    def adc(self, charge: Tensor) -> Tensor:
        """Digitise (N,) electrons to whole float64 counts: see ``adc_of_charge``."""
        millivolt = self.gain * 1e-3 * charge + self.v_pedestal - self.v_cm
        counts = ADC_COUNTS * millivolt.clamp(min=0.0) / (self.v_ref - self.v_cm)
        return counts.clamp(max=ADC_COUNTS - 1.0).round()


def settings_of(points: Sequence[LArTPCParameters], device: torch.device) -> Settings:
    """Bring the settings of E events to a device."""
    values = np.array([front_end_of(point) for point in points], np.float64).reshape(-1, len(FrontEnd._fields))
    front_end = FrontEnd(*values.T)
    sigma = np.hypot(front_end.uncorrelated_noise, front_end.discriminator_noise)
    with np.errstate(divide="ignore"):
        decay = TICK_US / np.asarray(front_end.buffer_risetime)
    keep = np.maximum(np.exp(-decay), _LEAST_KEEP)
    columns = np.stack(
        [
            front_end.gain,
            front_end.v_cm,
            front_end.v_ref,
            front_end.v_pedestal,
            front_end.reset_noise,
            front_end.uncorrelated_noise,
            front_end.discriminator_noise,
            front_end.discriminator_threshold,
            sigma,
            front_end.discriminator_threshold - NEGLIGIBLE_SIGMAS * sigma,
            decay,
            keep,
            (1.0 - keep) / keep,
        ]
    )
    return Settings(*torch.from_numpy(columns).to(device).unbind(0))
