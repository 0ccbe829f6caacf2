"""Safetensors files that carry the checksum of their arrays, so that a damaged one is told from a whole one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from nubench.errors import DataError
from nubench.storage.files import explained_failures, write_atomically
from nubench.storage.large_arrays import is_large, mapped_array, pieces

#: Where the checksum stands in the header of a file, among what the format leaves to its users.
_CHECKSUM: Final = "sha256"

#: The types that are mapped, as the format calls them; arrays of others are read.
_MAPPED: Final = {"I64": np.int64, "I32": np.int32, "F64": np.float64, "F32": np.float32}

Arrays = Mapping[str, npt.NDArray[Any]]


def write_arrays(path: Path, arrays: Arrays) -> None:
    """Write arrays by their names, whole or not at all.

    Raises:
        NubenchError: when it cannot be written; see :func:`nubench.storage.files.write_atomically`.
    """
    whole = {name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)}
    stated = {_CHECKSUM: _checksum(whole)}
    write_atomically(path, lambda partial: save_file(whole, partial, metadata=stated))


def read_arrays(path: Path, *, mapped: bool = False) -> dict[str, npt.NDArray[Any]]:
    """Read what :func:`write_arrays` wrote.

    Args:
        path: of the file.
        mapped: whether large arrays stay in the file, see :mod:`nubench.storage.large_arrays`. Only for files that
            nobody changes while the arrays are used: what is checked is what the file holds now.

    Raises:
        DataError: when the file is missing, no safetensors file, or damaged; the message names it.
    """
    try:
        with explained_failures(path), safe_open(path, framework="np") as file:
            stated = (file.metadata() or {}).get(_CHECKSUM)
            found = _large_arrays(path) if mapped else {}
            arrays = {name: found[name] if name in found else file.get_tensor(name) for name in sorted(file.keys())}
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    # TypeError and KeyError: safetensors knows types that numpy does not.
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path}: not a readable safetensors file: {error}") from error
    if stated != _checksum(arrays):
        raise DataError(f"{path} is damaged: its checksum differs")
    return arrays


def _large_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Map the large arrays of a file whose header safetensors has accepted: 8 bytes of its length, then JSON."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    found = {}
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] in _MAPPED:
            first, last = entry["data_offsets"]
            if is_large(last - first):
                found[name] = mapped_array(path, _MAPPED[entry["dtype"]], 8 + length + first, tuple(entry["shape"]))
    return found


def _checksum(arrays: Arrays) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        for part in pieces(array) if array.ndim else (array,):
            digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()
