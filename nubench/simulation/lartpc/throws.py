"""Throws of the front end: random working points around the nominal one, Table I of the benchmark's paper."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import numpy as np
import numpy.typing as npt
from numba import njit

from nubench.containers import Bool, Float64, Int64
from nubench.errors import UsageError, unknown_name
from nubench.simulation.lartpc.parameters import LArTPCParameters
from nubench.simulation.random_streams import SEED_LIMIT, event_key, normal_pair

TABLE_I: Final[dict[str, float]] = {
    "gain": 0.02,
    "buffer_risetime": 0.10,
    "v_cm": 0.02,
    "v_ref": 0.02,
    "v_pedestal": 0.20,
    "reset_noise": 0.10,
    "uncorrelated_noise": 0.10,
    "discriminator_noise": 0.10,
    "discriminator_threshold": 0.02,
}
"""The nine thrown parameters, each with the width (1 sigma) of its normal relative to its nominal value."""

MAX_STRENGTH: Final = 10.0

_NAMES: Final = tuple(TABLE_I)
_WIDTHS: Final = np.array(list(TABLE_I.values()))
_NOMINAL: Final = np.array([getattr(LArTPCParameters(), name) for name in TABLE_I])
_PURPOSE_THROW: Final = np.uint64(0x7468726F)


def draw_throw(seed: int, index: int) -> dict[str, float]:
    """Draw one throw of Table I: nine independent normals centred on the nominal values.

    Args:
        seed: from 0 to 2^64 - 1.
        index: number of the throw, 0 or above.

    Returns:
        The nine parameters by name, for :meth:`LArTPCParameters.from_mapping`.

    Raises:
        UsageError: when an argument is out of range.
    """
    if not 0 <= index < 2**63:
        raise UsageError(f"index must be 0 or above; got {index!r}")
    return {name: float(values[0]) for name, values in draw_throws(seed, np.array([index])).items()}


def draw_throws(seed: int, index: Int64, strength: float = 1.0, names: Collection[str] = _NAMES) -> dict[str, Float64]:
    """Draw many throws of Table I, each a function of the seed and its own index alone.

    A throw that no detector can have, with a value that is not above 0 or with ``v_ref <= v_cm``, is drawn again whole,
    so that the rest keep the shape of the normals. At strength 1 none is: the largest deviation that can be drawn is
    8.6 sigma, and it would take 10. The pedestal may be anything: below ``v_cm`` (2.5 sigma down, at strength 1) the
    digitiser clips small charges, and far below it reads nothing at all.

    Args:
        seed: from 0 to 2^64 - 1.
        index: (N,) int64, number of each throw or id of the event that it is for.
        strength: the widths of Table I are multiplied by it, 0 to 10.
        names: the parameters to throw; a throw of fewer parameters gives these the same deviations.

    Returns:
        (N,) values of each parameter in ``names``.

    Raises:
        UsageError: when an argument is out of range.

    Example:
        >>> draw_throws(4, np.array([1, 2]), names=["gain"])["gain"].round(3).tolist()
        [3.857, 4.114]
    """
    if not 0 <= seed < SEED_LIMIT:
        raise UsageError(f"seed must be from 0 to 2^64 - 1; got {seed!r}")
    if not 0.0 <= strength <= MAX_STRENGTH:
        raise UsageError(f"strength must be from 0 to {MAX_STRENGTH:g}; got {strength!r}")
    for name in names:
        if name not in TABLE_I:
            raise unknown_name("parameter of Table I", name, TABLE_I)
    widths = strength * np.where([name in names for name in _NAMES], _WIDTHS, 0.0)
    values = np.empty((len(index), len(_NAMES)))
    waiting = np.arange(len(index))
    attempt = 0
    while len(waiting):
        deviations = _draw_deviations(np.uint64(seed), index[waiting].astype(np.uint64), np.uint64(attempt))
        values[waiting] = _NOMINAL * (1.0 + widths * deviations)
        waiting = waiting[~_possible(values[waiting])]
        attempt += 1
    return {name: values[:, number] for number, name in enumerate(_NAMES) if name in names}


def draw_parameters(
    seed: int, index: Int64, strength: float = 1.0, names: Collection[str] = _NAMES
) -> list[LArTPCParameters]:
    """Draw a working point for each index: nominal but for the throw of :func:`draw_throws`, with its arguments."""
    throws = draw_throws(seed, index, strength, names)
    columns = [values.tolist() for values in throws.values()]
    if not columns:
        return [LArTPCParameters()] * len(index)
    return [LArTPCParameters(**dict(zip(throws, row, strict=True))) for row in zip(*columns, strict=True)]


@njit(cache=True, nogil=True)
def _draw_deviations(seed: np.uint64, index: npt.NDArray[np.uint64], attempt: np.uint64) -> Float64:
    deviations = np.empty((len(index), len(_WIDTHS)))
    for row in range(len(index)):
        key = event_key(seed, index[row])
        for number in range(len(_WIDTHS)):
            deviations[row, number], _ = normal_pair(key, np.uint64(number), _PURPOSE_THROW, attempt)
    return deviations


def _possible(values: Float64) -> Bool:
    by_name = dict(zip(_NAMES, values.T, strict=True))
    positive = [column > 0.0 for name, column in by_name.items() if name != "v_pedestal"]
    return np.asarray(np.all(positive, axis=0) & (by_name["v_ref"] > by_name["v_cm"]))
