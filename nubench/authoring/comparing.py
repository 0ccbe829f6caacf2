"""Comparing what two models, or one model asked in two ways, make of the same events."""

from __future__ import annotations

from typing import Final

import numpy as np

from nubench.authoring.trial import Outputs
from nubench.containers import Float32

#: Differences between two ways to the same number that are rounding, relative to one plus its size.
ROUNDING: Final = 1e-4


def largest_difference(first: Outputs, second: Outputs) -> float:
    """The largest difference in any read-out; infinite where one has a read-out that the other lacks."""
    a, b = first.named(), second.named()
    if set(a) != set(b):
        return float("inf")
    return max(difference_of(a[name], b[name]) for name in a)


def difference_of(first: Float32, second: Float32) -> float:
    """The largest difference, relative to one plus the size of the number; infinite where shapes differ."""
    if first.shape != second.shape:
        return float("inf")
    if np.array_equal(first, second):
        return 0.0
    difference = np.abs(first.astype(np.float64) - second) / (1 + np.abs(second.astype(np.float64)))
    return float(np.nan_to_num(difference, nan=np.inf).max())


def in_words(difference: float) -> str:
    """How close two ways to the same numbers are."""
    return "the same to the last bit" if difference == 0 else f"the same but for rounding ({difference:.1g})"
