"""Arrays that need not fit into memory: the large ones lie on disk and are mapped.

A mapped array is used like any other. The system reads the pages that are touched, keeps them while memory is free, and
drops or writes them when it is not.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nubench.storage.files import explained_failures, require_space

#: Arrays of more bytes than this lie on disk.
LARGE: Final = 2**28
#: What is done to a large array is done to about so many bytes at a time.
PIECE: Final = 2**24


def is_large(size: int) -> bool:
    """Whether an array of ``size`` bytes is to lie on disk."""
    return size > LARGE


def empty_array(shape: tuple[int, ...], dtype: npt.DTypeLike, folder: Path) -> npt.NDArray[Any]:
    """Make an array to be filled: in memory, or a large one in a file without a name, which is gone with the array.

    Args:
        shape, dtype: of the array.
        folder: on whose disk a large one is put; the system's temporary folder where it cannot be written to.

    Raises:
        NubenchError: when that disk is too full.
    """
    dtype = np.dtype(dtype)
    size = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    if not is_large(size):
        return np.empty(shape, dtype)
    if not os.access(folder, os.W_OK):
        folder = Path(tempfile.gettempdir())
    whole = folder / "a large array"
    require_space(whole, size)
    with explained_failures(whole), tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):
            # Room that is promised cannot be missing when a page is written back, which would kill the process.
            os.posix_fallocate(file.fileno(), 0, size)
        # The base class: numpy's own gives views of itself for every slice, and slices are taken often.
        return np.asarray(np.memmap(file, dtype, "r+", shape=shape))


def mapped_array(path: Path, dtype: npt.DTypeLike, offset: int, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Map an array that lies in a file, ``offset`` bytes from its beginning; it cannot be written to."""
    return np.asarray(np.memmap(path, dtype, "r", offset, shape))


def pieces(array: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    """Cut an array along its rows into parts of about :data:`PIECE` bytes.

    Example:
        >>> [len(part) for part in pieces(np.zeros((5, 2**21)))]
        [1, 1, 1, 1, 1]
    """
    rows = max(1, PIECE // max(1, array[:1].nbytes))
    for first in range(0, len(array), rows):
        yield array[first : first + rows]


def count_not_finite(array: npt.NDArray[Any]) -> int:
    """How many numbers of an array are NaN or infinite; no second array as long as it is made."""
    return sum(int(np.count_nonzero(~np.isfinite(part))) for part in pieces(array))
