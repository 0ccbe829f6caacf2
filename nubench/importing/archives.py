"""Archives from outside, unpacked so that nothing leaves the folder it is unpacked to."""

from __future__ import annotations

import stat
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final

from nubench.errors import DataError
from nubench.importing.forward_reading import ForwardReader, unpacks_in_bounds
from nubench.storage.files import explained_failures, make_folder, require_space

#: Endings of archives.
ENDINGS: Final = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")

#: Bytes that are held of a member.
_PIECE: Final = 1_000_000
#: Bytes of all headers of one member of a tar archive, which are read whole.
_LONGEST_HEADER: Final = 1_000_000
#: How far an archive of any size may unpack, and how many times its own size a larger one: deflate reaches 1,032.
_BYTES_OF_ANY: Final = 1_000_000_000
_MOST_GROWTH: Final = 1_000
#: How many members any archive may have, and what one takes at least of a larger one: even its name takes as much.
_MEMBERS_OF_ANY: Final = 10_000
_LEAST_OF_A_MEMBER: Final = 40


def is_archive(path: Path) -> bool:
    """Tell by its name whether a file is an archive that can be unpacked here."""
    return path.name.lower().endswith(ENDINGS)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar archive.

    Every member is checked before the first one is written: files and folders alone, inside ``folder``. Rights,
    owners and times of the archive are not taken over.

    Raises:
        DataError: when the archive is damaged, unpacks to far more than archives of data do, or a member is a link, a
            device, or lies outside; the message names it.
        NubenchError: when the disk is too full, or a member cannot be written beside the others.
    """
    make_folder(folder)
    total = _Total(archive, folder)
    if archive.name.lower().endswith(".zip"):
        with _reading(archive):
            packed = zipfile.ZipFile(archive)
        with packed:
            _unpack_zip(archive, packed, folder, total)
    else:
        for member, _ in _members_of_tar(archive):
            total.add(member.name, 0 if member.isdir() else member.size)
            if not member.isdir():
                _check(archive, member.name, is_file=member.isreg())
        for member, pieces in _members_of_tar(archive):
            if not member.isdir():
                _write(archive, folder / member.name, pieces)


class _Total:
    """What the members of an archive amount to, refused as soon as it is too much.

    Args:
        archive: the file.
        folder: what it is unpacked to.
    """

    def __init__(self, archive: Path, folder: Path) -> None:
        size = archive.stat().st_size if archive.is_file() else 0
        self._archive, self._folder = archive, folder
        self._most_bytes = max(_BYTES_OF_ANY, size * _MOST_GROWTH)
        self._most_members = max(_MEMBERS_OF_ANY, size // _LEAST_OF_A_MEMBER)
        self._members = self._bytes = 0

    def add(self, name: str, size: int) -> None:
        """Count one member.

        Raises:
            DataError: when there are too many, they are too large, or this one has a negative size.
            NubenchError: when the disk has no room for them.
        """
        self._members += 1
        self._bytes += size
        if size < 0:
            raise DataError(f"{self._archive} is refused: its member {name!r} claims {size:,} bytes")
        if self._members > self._most_members:
            raise DataError(
                f"{self._archive} is refused: more than {self._most_members:,} members in a file of its size"
            )
        if self._bytes > self._most_bytes:
            raise DataError(
                f"{self._archive} is refused: its members up to {name!r} take {self._bytes:,} bytes unpacked; "
                f"{self._most_bytes:,} are accepted of a file of its size"
            )
        require_space(self._folder / "members", self._bytes)


def _unpack_zip(archive: Path, packed: zipfile.ZipFile, folder: Path, total: _Total) -> None:
    with _reading(archive):
        members = packed.infolist()
        files = [member for member in members if not member.is_dir()]
    for member in members:
        total.add(member.filename, member.file_size)
    for member in files:
        kind = stat.S_IFMT(member.external_attr >> 16)
        _check(archive, member.filename, is_file=kind in (0, stat.S_IFREG))
        if not unpacks_in_bounds(member):
            raise DataError(f"{archive} is refused: its member {member.filename!r} is neither stored nor deflated")
    for member in files:
        with _reading(archive):
            content = packed.open(member)
        with content:
            _write(archive, folder / member.filename, iter(partial(content.read, _PIECE), b""))


def _members_of_tar(archive: Path) -> Iterator[tuple[tarfile.TarInfo, Iterator[bytes]]]:
    """Each member with its content; nothing is kept of those before."""
    with ExitStack() as stack:
        with _reading(archive):
            reader = ForwardReader(stack.enter_context(archive.open("rb")))
            reader.grant(_LONGEST_HEADER)
            packed = stack.enter_context(tarfile.TarFile(fileobj=reader))  # type: ignore[arg-type]
        while True:
            with _reading(archive):
                reader.grant(_LONGEST_HEADER)
                member = packed.next()
                packed.members.clear()  # type: ignore[attr-defined]  # it would keep a kilobyte of each
            if member is None:
                return
            yield member, _content(packed, member, reader)


def _content(packed: tarfile.TarFile, member: tarfile.TarInfo, reader: ForwardReader) -> Iterator[bytes]:
    content = packed.extractfile(member)
    if content is None:
        return
    with content:
        while True:
            # Some is read ahead.
            reader.grant(2 * _PIECE)
            piece = content.read(_PIECE)
            if not piece:
                return
            yield piece


@contextmanager
def _reading(archive: Path) -> Iterator[None]:
    """Blame the archive for whatever is raised while it is read: each way of packing has errors of its own."""
    try:
        yield
    except Exception as error:
        raise DataError(f"{archive} is no readable archive: {error}") from error


def _check(archive: Path, name: str, *, is_file: bool) -> None:
    path = PurePosixPath(name)
    # A backslash or a drive letter is a path of its own on some systems.
    escapes = path.is_absolute() or ".." in path.parts or "\\" in name or name[1:2] == ":"
    if escapes or not path.parts:
        raise DataError(f"{archive} is refused: its member {name!r} would be written outside of the folder")
    if not is_file:
        raise DataError(f"{archive} is refused: its member {name!r} is a link or a device, not a file")


def _write(archive: Path, path: Path, pieces: Iterator[bytes]) -> None:
    make_folder(path.parent)
    with explained_failures(path), path.open("wb") as file:
        while True:
            with _reading(archive):
                piece = next(pieces, b"")
            if not piece:
                return
            file.write(piece)
