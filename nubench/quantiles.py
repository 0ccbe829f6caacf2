"""Quantiles of discrete values, such as ADC counts, that follow every affine change of the values exactly."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nubench.containers import Float64
from nubench.errors import UsageError


def mid_distribution(
    values: npt.NDArray[np.floating], counts: npt.NDArray[np.number]
) -> tuple[npt.NDArray[np.floating], Float64]:
    """Compute the mid-distribution function of discrete values (Ma, Genton and Parzen 2011).

    F(x) = P(X < x) + P(X = x) / 2.

    Args:
        values: (K,) distinct and ascending.
        counts: (K,) how often each was seen, or any weights of 0 or above.

    Returns:
        The values that were seen, and F at each, strictly between 0 and 1 and ascending.

    Raises:
        UsageError: when nothing was seen.
    """
    seen = counts > 0
    if not seen.any():
        raise UsageError("quantiles need at least one value; got none")
    share = counts[seen] / counts.sum()
    return values[seen], np.cumsum(share) - share / 2


def mid_quantiles(values: npt.NDArray[np.floating], counts: npt.NDArray[np.number], levels: Float64) -> Float64:
    """Interpolate the mid-distribution function with straight lines.

    Ordinary quantiles of whole numbers jump from one number to the next; these move smoothly as the values' shares do.
    If ``values`` go to ``a * values + b`` with a above 0, so do they, to the last bits.

    Args:
        values, counts: as :func:`mid_distribution`.
        levels: (L,) in [0, 1]; those beyond the F of the first or last value seen give that value.

    Returns:
        (L,) quantiles, ascending where ``levels`` are.

    Raises:
        UsageError: when nothing was seen.

    Example:
        >>> mid_quantiles(np.array([80.0, 81.0, 90.0]), np.array([1, 1, 2]), np.array([0.0, 0.25, 0.5, 1.0]))
        array([80. , 80.5, 84. , 90. ])
    """
    seen, below = mid_distribution(values, counts)
    return np.asarray(np.interp(levels, below, seen), np.float64)
