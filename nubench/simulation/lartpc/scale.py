"""The scale of the digitiser, and what no hit can tell about it."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from nubench.simulation.lartpc.frontend import ADC_COUNTS
from nubench.simulation.lartpc.parameters import LArTPCParameters


class Scale(NamedTuple):
    """ADC count = slope * charge + offset, rounded and clipped: counts per electron, and counts."""

    slope: float
    offset: float


def scale_of(parameters: LArTPCParameters) -> Scale:
    """Compute slope and offset.

    slope = 256 gain / (v_ref - v_cm) and offset = 256 (v_pedestal - v_cm) / (v_ref - v_cm), plus ``adc_offset``.

    Example:
        >>> slope, offset = scale_of(LArTPCParameters())
        >>> round(1 / slope), round(offset, 2)
        (988, 73.87)
    """
    counts_per_mv = ADC_COUNTS / (parameters.v_ref - parameters.v_cm)
    return Scale(
        slope=counts_per_mv * parameters.gain * 1e-3,
        offset=counts_per_mv * (parameters.v_pedestal - parameters.v_cm) + parameters.adc_offset,
    )


def with_scale(parameters: LArTPCParameters, scale: Scale) -> LArTPCParameters:
    """Give a working point another scale by its gain and its pedestal; all else stays, ``v_cm`` and ``v_ref`` too."""
    mv_per_count = (parameters.v_ref - parameters.v_cm) / ADC_COUNTS
    return replace(
        parameters,
        gain=scale.slope * mv_per_count * 1e3,
        v_pedestal=parameters.v_cm + (scale.offset - parameters.adc_offset) * mv_per_count,
    )


def effective(parameters: LArTPCParameters, nominal: LArTPCParameters) -> LArTPCParameters:
    """Move ``v_cm`` and ``v_ref`` to their nominal values, and gain and pedestal so that the scale stays.

    Gain, pedestal and the two ends of the range make two numbers, slope and offset; hits depend on nothing else of
    them. So both working points give the same hits, and no fit can tell them apart.
    """
    return with_scale(replace(parameters, v_cm=nominal.v_cm, v_ref=nominal.v_ref), scale_of(parameters))
