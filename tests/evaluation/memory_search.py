"""Searching the memory of another process for arrays of labels, whatever type of number they are kept as."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

#: What labels may be kept as; signed and unsigned whole numbers below 128 have the same bytes.
KINDS: Final = ("uint8", "int16", "int32", "int64", "float16", "float32", "float64")
_CHUNK: Final = 1 << 24


def images(labels: npt.NDArray[np.integer]) -> dict[str, bytes]:
    """The bytes of an array of labels as each kind of number."""
    return {kind: labels.astype(kind).tobytes() for kind in KINDS}


def found_in_memory(process: int, patterns: Mapping[str, bytes]) -> set[str]:
    """The names of the patterns that stand anywhere in what the process can read, at any address."""
    longest = max(map(len, patterns.values()))
    return {name for raw in _memory(process, longest) for name, pattern in patterns.items() if raw.find(pattern) >= 0}


def _memory(process: int, overlap: int) -> Iterator[bytes]:
    """All readable memory, in pieces that share some bytes with the next."""
    system = Path("/proc") / str(process)
    with (system / "mem").open("rb", 0) as content:
        for line in (system / "maps").read_text().splitlines():
            where, rights, *_ = line.split()
            # These belong to the system.
            if not rights.startswith("r") or "[v" in line:
                continue
            first, last = (int(number, 16) for number in where.split("-"))
            for start in range(first, last, _CHUNK):
                try:
                    content.seek(start)
                    raw = content.read(min(_CHUNK + overlap, last - start))
                except OSError:
                    # A file that is shorter than its place in memory.
                    break
                if raw.count(0) < len(raw):
                    yield raw
