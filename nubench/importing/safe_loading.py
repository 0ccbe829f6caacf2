"""Arrays of single events from files of others: NumPy archives and torch files, of which no code is ever run."""

from __future__ import annotations

import math
import re
import stat
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt

from nubench.errors import DataError
from nubench.importing.forward_reading import unpacks_in_bounds

Arrays = Mapping[str, npt.NDArray[Any]]

#: Endings of files that hold one event.
NUMPY_ENDING: Final = ".npz"
TORCH_ENDINGS: Final = (".pt", ".pth", ".p", ".pkl", ".pickle")

#: One event of ten million hits takes less. What is larger, packed or unpacked, is not read.
MOST_BYTES: Final = 1_000_000_000

_PLAIN: Final = "biufU"
#: Numbers in lists of lists, which are counted before an array is made of them.
_MOST_LISTED: Final = 1_000_000


def load_arrays(path: Path) -> Arrays:
    """Read the arrays of a file: ``.npz``, or what ``torch.save`` made of a dictionary.

    Raises:
        DataError: when the file is missing, damaged, no dictionary of plain arrays, would run code when it is read, or
            claims more than 1 GB; the message names it.
    """
    _check_size(path)
    if path.suffix == NUMPY_ENDING:
        return _load_numpy(path)
    _check_records(path)
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
        with zipfile.ZipFile(path) as packed:
            _check_members(packed)
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # what the readers of zip meet, and NumPy, which reads a header as Python's source
        raise DataError(f"{path} is no readable NumPy archive of plain arrays: {error}") from error


def _check_size(path: Path) -> None:
    try:
        found = path.stat()
    except OSError as error:
        raise DataError(f"{path} does not exist or cannot be read: {error.strerror}") from error
    # A device or a pipe may never end.
    if not stat.S_ISREG(found.st_mode):
        raise DataError(f"{path} is not a file")
    if found.st_size > MOST_BYTES:
        raise DataError(f"{path}: {found.st_size:,} bytes are more than the {MOST_BYTES:,} of any file of one event")


def _check_members(packed: zipfile.ZipFile) -> None:
    """Refuse arrays that claim more numbers than are stored, before memory is asked for.

    Raises:
        ValueError: when one does, all together are too large, or one is packed in a way that NumPy does not write.
    """
    members = packed.infolist()
    _check_total(members)
    for member in members:
        if not unpacks_in_bounds(member):
            raise ValueError(f"{member.filename} is neither stored nor deflated")
        with packed.open(member) as content:
            claimed = _claimed_bytes(content)
        if claimed > member.file_size:
            raise ValueError(f"{member.filename} claims {claimed:,} bytes; {member.file_size:,} are stored")


def _check_total(members: Iterable[zipfile.ZipInfo]) -> None:
    if (size := sum(member.file_size for member in members)) > MOST_BYTES:
        raise ValueError(f"its arrays take {size:,} bytes unpacked; at most {MOST_BYTES:,} are read")


def _claimed_bytes(content: IO[bytes]) -> int:
    """How much an array in NumPy's own format says that it takes; 0 where it is none, which NumPy refuses."""
    if content.read(len(np.lib.format.MAGIC_PREFIX)) != np.lib.format.MAGIC_PREFIX:
        return 0
    major = content.read(2)[0]
    read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(content)
    return math.prod(shape) * dtype.itemsize


def _check_records(path: Path) -> None:
    """Refuse a torch file whose records are packed: torch writes none, and unpacks them whole before it looks at them.

    Raises:
        DataError: when one is, all together are too large, or it begins like a zip archive and is none.
    """
    with path.open("rb") as file:
        if file.read(4) != b"PK\3\4":
            return  # An older format, which packs nothing.
    try:
        with zipfile.ZipFile(path) as packed:
            members = packed.infolist()
            _check_total(members)
            for member in members:
                if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
                    raise ValueError(f"its record {member.filename} is compressed")
    except Exception as error:  # what the reader of zip meets
        raise DataError(f"{path} is refused: it is no torch file of plain arrays: {error}") from error


def _load_torch(path: Path) -> Arrays:
    import torch

    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_numpy_globals()):
            warnings.simplefilter("ignore", UserWarning)  # of pickle protocols; what it cannot read it refuses
            content = torch.load(path, map_location="cpu", weights_only=True)
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

    if _listed(value, _MOST_LISTED) > _MOST_LISTED:
        raise DataError(f"{path}: {name!r} must be an array; it is a list of more than {_MOST_LISTED:,} numbers")
    try:
        array = value.numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
    except (ValueError, TypeError, RuntimeError, MemoryError) as error:
        raise DataError(f"{path}: {name!r} is no array: {error}") from error
    if array.dtype.kind not in _PLAIN:
        raise DataError(f"{path}: {name!r} must be an array of numbers; it is one of {array.dtype}")
    # A tensor may repeat one stored number along any length, at no cost until it is copied.
    if array.nbytes > MOST_BYTES:
        raise DataError(f"{path}: {name!r} claims {array.nbytes:,} bytes; at most {MOST_BYTES:,} are read")
    return array


def _listed(value: Any, most: int) -> int:
    """Count what stands in lists of lists, up to ``most`` and one: a list may hold another one many times over."""
    count, waiting = 0, [value]
    while waiting and count <= most:
        inner = waiting.pop()
        if isinstance(inner, list | tuple):
            count += len(inner)
            waiting.extend(inner[: most + 1])
    return count


def _numpy_globals() -> list[Any]:
    """What rebuilds a NumPy array of numbers, under the names that NumPy 1 and 2 write; nothing here runs code."""
    from numpy._core import multiarray

    rebuild: list[Any] = [np.ndarray, np.dtype]
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        rebuild.append((multiarray._reconstruct, f"{module}._reconstruct"))
        rebuild.append((multiarray.scalar, f"{module}.scalar"))
    kinds = (np.bool_, np.int32, np.int64, np.uint8, np.uint32, np.uint64, np.float16, np.float32, np.float64)
    return [*rebuild, *(type(np.dtype(kind)) for kind in kinds)]
