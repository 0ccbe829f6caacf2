"""A check that the parameters of every detector share."""

from __future__ import annotations

import math

import numpy as np

from nubench.errors import UsageError


def check_number(name: str, value: object) -> None:
    """Check that a parameter is a finite number.

    Raises:
        UsageError: when it is not; the message names it and the value.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise UsageError(f"{name} must be a number; got {value!r}")
    if not math.isfinite(value):
        raise UsageError(f"{name} must be finite; got {value!r}")
