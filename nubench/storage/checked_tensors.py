"""Safetensors files that carry the checksum of their arrays, so that a damaged one is told from a whole one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from nubench.errors import DataError
from nubench.storage.files import explained_failures, write_atomically

#: Where the checksum stands in the header of a file, among what the format leaves to its users.
_CHECKSUM: Final = "sha256"

Arrays = Mapping[str, npt.NDArray[Any]]


def write_arrays(path: Path, arrays: Arrays) -> None:
    """Write arrays by their names, whole or not at all.

    Raises:
        NubenchError: when it cannot be written; see :func:`nubench.storage.files.write_atomically`.
    """
    whole = {name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)}
    stated = {_CHECKSUM: _checksum(whole)}
    write_atomically(path, lambda partial: save_file(whole, partial, metadata=stated))


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read what :func:`write_arrays` wrote.

    Raises:
        DataError: when the file is missing, no safetensors file, or damaged; the message names it.
    """
    try:
        with explained_failures(path), safe_open(path, framework="np") as file:
            stated = (file.metadata() or {}).get(_CHECKSUM)
            arrays = {name: file.get_tensor(name) for name in sorted(file.keys())}
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    # TypeError and KeyError: safetensors knows types that numpy does not.
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path}: not a readable safetensors file: {error}") from error
    if stated != _checksum(arrays):
        raise DataError(f"{path} is damaged: its checksum differs")
    return arrays


def _checksum(arrays: Arrays) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
