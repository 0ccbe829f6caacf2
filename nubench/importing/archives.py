"""Archives from outside, unpacked so that nothing leaves the folder it is unpacked to."""

from __future__ import annotations

import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Final

from nubench.errors import DataError
from nubench.storage.files import make_folder, require_space

#: Endings of archives.
ENDINGS: Final = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def is_archive(path: Path) -> bool:
    """Tell by its name whether a file is an archive that can be unpacked here."""
    return path.name.lower().endswith(ENDINGS)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar archive.

    Every member is checked before the first one is written: files and folders alone, inside ``folder``. Rights,
    owners and times of the archive are not taken over.

    Raises:
        DataError: when the archive is damaged, or a member is a link, a device, or lies outside; the message names it.
        NubenchError: when the disk is too full.
    """
    try:
        if archive.name.lower().endswith(".zip"):
            with zipfile.ZipFile(archive) as packed:
                _unpack_zip(archive, packed, folder)
        else:
            with tarfile.open(archive) as packed_tar:
                _unpack_tar(archive, packed_tar, folder)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, RuntimeError, NotImplementedError) as error:
        raise DataError(f"{archive} is no readable archive: {error}") from error


def _unpack_zip(archive: Path, packed: zipfile.ZipFile, folder: Path) -> None:
    members = [member for member in packed.infolist() if not member.is_dir()]
    for member in members:
        kind = stat.S_IFMT(member.external_attr >> 16)
        _check(archive, member.filename, is_file=kind in (0, stat.S_IFREG))
    _require_room(folder, sum(member.file_size for member in members))
    for member in members:
        with packed.open(member) as content:
            _write(folder / member.filename, content)


def _unpack_tar(archive: Path, packed: tarfile.TarFile, folder: Path) -> None:
    members = [member for member in packed.getmembers() if not member.isdir()]
    for member in members:
        _check(archive, member.name, is_file=member.isreg())
    _require_room(folder, sum(member.size for member in members))
    for name, content in _tar_contents(packed, members):
        with content:
            _write(folder / name, content)


def _tar_contents(packed: tarfile.TarFile, members: list[tarfile.TarInfo]) -> Iterator[tuple[str, IO[bytes]]]:
    for member in members:
        content = packed.extractfile(member)
        if content is not None:
            yield member.name, content


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


def _write(path: Path, content: IO[bytes]) -> None:
    make_folder(path.parent)
    with path.open("wb") as file:
        shutil.copyfileobj(content, file)
