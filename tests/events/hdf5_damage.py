"""Finished HDF5 files made to lie: ways that event files and truth files must both refuse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

Change = Callable[[h5py.File], object]


def change_file(path: Path, change: Change) -> None:
    """Edit a finished file in place."""
    with h5py.File(path, "r+") as content:
        change(content)


def replaced(name: str, values: np.ndarray) -> Change:
    """Another table in the place of one."""

    def change(content: h5py.File) -> None:
        del content[name]
        content[name] = values

    return change


def inflated(name: str) -> Change:
    """A table that claims 10^12 rows and stores none: reading it would take terabytes of memory."""

    def change(content: h5py.File) -> None:
        kind, width = content[name].dtype, content[name].shape[1:]
        del content[name]
        content.create_dataset(name, shape=(10**12, *width), chunks=(65_536, *width), dtype=kind, compression="gzip")

    return change


def linked_to_another_file(name: str) -> Change:
    """A table that is a link into another file of the disk, which holds the right numbers."""

    def change(content: h5py.File) -> None:
        other = Path(content.filename).with_name("other.h5")
        with h5py.File(other, "w") as file:
            file["table"] = content[name][:]
        del content[name]
        content[name] = h5py.ExternalLink(other.name, "/table")

    return change


def stored_in_another_file(name: str) -> Change:
    """A table whose bytes lie in another file of the disk, whatever that is."""

    def change(content: h5py.File) -> None:
        values = content[name][:]
        other = Path(content.filename).with_name("other.bin")
        other.write_bytes(values.tobytes())
        del content[name]
        content.create_dataset(name, values.shape, values.dtype, external=[(str(other), 0, values.nbytes)])

    return change


def virtual(name: str) -> Change:
    """A table put together from another file of the disk."""

    def change(content: h5py.File) -> None:
        values = content[name][:]
        other = Path(content.filename).with_name("other.h5")
        with h5py.File(other, "w") as file:
            file["table"] = values
        layout = h5py.VirtualLayout(values.shape, values.dtype)
        layout[...] = h5py.VirtualSource(other, "table", values.shape)
        del content[name]
        content.create_virtual_dataset(name, layout)

    return change


def of_unknown_numbers(name: str) -> Change:
    """A table of floating-point numbers with an exponent that no type of numpy has."""

    def change(content: h5py.File) -> None:
        shape = content[name].shape
        del content[name]
        kind = h5py.h5t.IEEE_F32LE.copy()
        kind.set_ebias(100_000)
        h5py.h5d.create(content.id, name.encode(), kind, h5py.h5s.create_simple(shape))

    return change


def overwrite_first_chunk(path: Path, name: str) -> None:
    """Put other bytes in the middle of what is stored of a table, as a failing disk would."""
    with h5py.File(path) as content:
        chunk = content[name].id.get_chunk_info(0)
    with path.open("r+b") as file:
        file.seek(chunk.byte_offset + chunk.size // 2)
        file.write(b"\xff" * 8)
