"""Arrays of single events from files of others: NumPy archives and torch files, of which no code is ever run."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nubench.errors import DataError

Arrays = Mapping[str, npt.NDArray[Any]]

#: Endings of files that hold one event.
NUMPY_ENDING: Final = ".npz"
TORCH_ENDINGS: Final = (".pt", ".pth", ".p", ".pkl", ".pickle")

_PLAIN: Final = "biufU"


def load_arrays(path: Path) -> Arrays:
    """Read the arrays of a file: ``.npz``, or what ``torch.save`` made of a dictionary.

    Raises:
        DataError: when the file is missing, damaged, no dictionary of plain arrays, or would run code when it is read;
            the message names it.
    """
    if path.suffix == NUMPY_ENDING:
        return _load_numpy(path)
    return _load_torch(path)


def array_of(path: Path, arrays: Arrays, name: str, columns: int | None) -> npt.NDArray[Any]:
    """Take an array out of those of a file.

    Args:
        path: the file, for messages.
        arrays: of the file.
        name: its name.
        columns: of a table (N, columns); 0 for a vector (N,), None for any shape.

    Raises:
        DataError: when it is missing or has another shape.
    """
    if name not in arrays:
        raise DataError(f"{path} lacks the array {name!r}; it has {', '.join(sorted(arrays)) or 'none'}")
    array = arrays[name]
    if columns is not None and (array.ndim != (2 if columns else 1) or (columns and array.shape[1] != columns)):
        expected = f"(N, {columns})" if columns else "(N,)"
        raise DataError(f"{path}: the array {name!r} must be {expected}; got {array.shape}")
    return array


def _load_numpy(path: Path) -> Arrays:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist") from error
    except (OSError, ValueError, EOFError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is no readable NumPy archive of plain arrays: {error}") from error


def _load_torch(path: Path) -> Arrays:
    import torch

    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_numpy_globals()):
            warnings.simplefilter("ignore", UserWarning)  # of pickle protocols; what it cannot read it refuses
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist") from error
    except Exception as error:  # torch raises what its unpickler or its zip reader meets
        # Its own message goes on with advice to read the file all the same.
        wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
        raise DataError(
            f"{path} is refused: it is no torch file of plain arrays, and anything else may run code when it is read"
            + (f"; it asks for {wanted[1]}" if wanted else "")
        ) from error
    if not isinstance(content, dict):
        raise DataError(f"{path} must hold a dictionary of arrays; it holds a {type(content).__name__}")
    return {str(name): _plain_array(path, str(name), value) for name, value in content.items()}


def _plain_array(path: Path, name: str, value: Any) -> npt.NDArray[Any]:
    import torch

    try:
        array = value.numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(f"{path}: {name!r} is no array: {error}") from error
    if array.dtype.kind not in _PLAIN:
        raise DataError(f"{path}: {name!r} must be an array of numbers; it is one of {array.dtype}")
    return array


def _numpy_globals() -> list[Any]:
    """What rebuilds a NumPy array of numbers, under the names that NumPy 1 and 2 write; nothing here runs code."""
    from numpy._core import multiarray

    rebuild: list[Any] = [np.ndarray, np.dtype]
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        rebuild.append((multiarray._reconstruct, f"{module}._reconstruct"))
        rebuild.append((multiarray.scalar, f"{module}.scalar"))
    kinds = (np.bool_, np.int32, np.int64, np.uint8, np.uint32, np.uint64, np.float16, np.float32, np.float64)
    return [*rebuild, *(type(np.dtype(kind)) for kind in kinds)]
