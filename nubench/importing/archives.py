"""Archives from outside, unpacked so that nothing leaves the folder it is unpacked to."""

from __future__ import annotations

import stat
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Final

from nubench.errors import DataError
from nubench.storage.files import explained_failures, make_folder, require_space

#: Endings of archives.
ENDINGS: Final = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")

#: Bytes that are held of a member.
_PIECE: Final = 1_000_000


def is_archive(path: Path) -> bool:
    """Tell by its name whether a file is an archive that can be unpacked here."""
    return path.name.lower().endswith(ENDINGS)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar archive.

    Every member is checked before the first one is written: files and folders alone, inside ``folder``. Rights,
    owners and times of the archive are not taken over.

    Raises:
        DataError: when the archive is damaged, or a member is a link, a device, or lies outside; the message names it.
        NubenchError: when the disk is too full, or a member cannot be written beside the others.
    """
    if archive.name.lower().endswith(".zip"):
        with _reading(archive):
            packed = zipfile.ZipFile(archive)
        with packed:
            _unpack_zip(archive, packed, folder)
    else:
        with _reading(archive):
            packed_tar = tarfile.open(archive)  # noqa: SIM115 (closed below; here nothing but reading may fail)
        with packed_tar:
            _unpack_tar(archive, packed_tar, folder)


def _unpack_zip(archive: Path, packed: zipfile.ZipFile, folder: Path) -> None:
    with _reading(archive):
        members = [member for member in packed.infolist() if not member.is_dir()]
    for member in members:
        kind = stat.S_IFMT(member.external_attr >> 16)
        _check(archive, member.filename, is_file=kind in (0, stat.S_IFREG))
    _require_room(folder, sum(member.file_size for member in members))
    for member in members:
        with _reading(archive):
            content = packed.open(member)
        _write(archive, folder / member.filename, content)


def _unpack_tar(archive: Path, packed: tarfile.TarFile, folder: Path) -> None:
    with _reading(archive):
        members = [member for member in packed.getmembers() if not member.isdir()]
    for member in members:
        _check(archive, member.name, is_file=member.isreg())
    _require_room(folder, sum(member.size for member in members))
    for member in members:
        with _reading(archive):
            content = packed.extractfile(member)
        if content is not None:
            _write(archive, folder / member.name, content)


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


def _require_room(folder: Path, size: int) -> None:
    make_folder(folder)
    require_space(folder / "members", size)


def _write(archive: Path, path: Path, content: IO[bytes]) -> None:
    make_folder(path.parent)
    with content, explained_failures(path), path.open("wb") as file:
        while True:
            with _reading(archive):
                piece = content.read(_PIECE)
            if not piece:
                return
            file.write(piece)
