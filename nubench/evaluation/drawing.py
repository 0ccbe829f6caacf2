"""Random numbers of the evaluation: from a name, and the same on every machine and with every version of numpy."""

from __future__ import annotations

import hashlib

import numpy as np

from nubench.containers import Int64


class Stream:
    """An endless stream of random numbers that its name decides.

    Only the raw output of a bit generator is promised to stay as it is (NEP 19), so it is scaled here.

    Example:
        >>> Stream("doctest").below(6, (1, 4))
        array([[1, 5, 4, 0]])
    """

    def __init__(self, name: str) -> None:
        key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")
        self._bits = np.random.Philox(key=key)

    def below(self, limit: int, shape: tuple[int, ...]) -> Int64:
        """Draw whole numbers in [0, ``limit``), ``limit`` at most 2^31; their bias is below ``limit`` / 2^32."""
        raw = self._bits.random_raw(int(np.prod(shape))).reshape(shape)
        return ((raw >> np.uint64(32)) * np.uint64(limit) >> np.uint64(32)).astype(np.int64)

    def order(self, size: int) -> Int64:
        """Draw an order of ``size`` things, (size,)."""
        return np.argsort(self._bits.random_raw(size), kind="stable").astype(np.int64)
