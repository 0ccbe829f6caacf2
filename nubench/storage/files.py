"""Files that are whole or not there: written beside, forced to disk, renamed into place."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from nubench.errors import NubenchError

#: Ending of an unfinished file. No reader of this package opens such a name, and ``.gitignore``-style
#: patterns can catch all of them at once. Those that a killed process leaves are safe to delete, see
#: :mod:`nubench.storage.leftovers`.
PARTIAL_SUFFIX: Final = ".partial"

#: Bytes that stay free beyond what is about to be written: buffers and indices come on top.
SPACE_MARGIN: Final = 16_000_000

_REASONS: Final = {
    errno.ENOSPC: "the disk is full; free some space and repeat the command",
    errno.EDQUOT: "your disk quota is used up; free some space and repeat the command",
    errno.EACCES: "permission denied; choose a folder that you may write to",
    errno.EPERM: "operation not permitted; choose a folder that you may write to",
    errno.EROFS: "the file system is read-only; choose a folder that you may write to",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EISDIR: "a folder of that name stands in the way",
    errno.ENAMETOOLONG: "the name is too long for the file system",
    errno.EEXIST: "a file of that name stands in the way",
}


def write_atomically(path: Path, content: bytes | Callable[[Path], object]) -> None:
    """Write a file such that readers see the old one or the new one, never a piece.

    The content goes to a hidden file in the same folder (a rename is atomic only within one file system),
    is forced to disk and renamed over ``path``. Missing folders are made, and the file gets the mode that the
    umask gives to any new one. Whatever fails, also an interrupt, removes the unfinished file and leaves an old
    ``path`` as it was.

    Args:
        path: the file to write.
        content: the bytes, or a function that is given the path of the unfinished file and writes it
            there (``h5py``, ``safetensors``). Its name does not end like ``path``: name the format to a
            function that guesses it from the ending.

    Raises:
        NubenchError: when the disk is full, permission is missing, or the path cannot be a file; the
            message names ``path``. Any other error of ``content`` passes through.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_atomically(Path(folder) / "new" / "a.txt", b"whole")
        ...     [(found.name, found.read_bytes()) for found in (Path(folder) / "new").iterdir()]
        [('a.txt', b'whole')]
    """
    path = Path(path)
    # The name is random so that processes writing the same file at once do not share an unfinished one, and
    # is cut so that the longest legal file name still has an unfinished one.
    partial = path.parent / f".{path.name[:100]}.{os.getpid()}-{secrets.token_hex(4)}{PARTIAL_SUFFIX}"
    with explained_failures(path):
        make_folder(path.parent)
        try:
            if isinstance(content, bytes):
                partial.write_bytes(content)
            else:
                partial.touch()
                mode = stat.S_IMODE(partial.stat().st_mode)
                content(partial)
                # Safetensors puts another file in its place, which the owner alone may read.
                if stat.S_IMODE(partial.stat().st_mode) != mode:
                    partial.chmod(mode)
            _force_to_disk(partial)
            partial.replace(path)
        except BaseException:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise
        # Without this the rename itself may be lost in a power cut. Some file systems cannot sync folders.
        with suppress(OSError):
            _force_to_disk(path.parent)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, if they are not there.

    Raises:
        NubenchError: when it cannot be made; the message names ``path`` and the reason.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NubenchError(f"cannot make the folder {path}: {_reason(error) or error.strerror}") from error


def require_space(path: Path, size: int) -> None:
    """Check that a file that is being written may grow.

    HDF5 cannot be trusted to survive a full disk: it fails again when it is closed, and takes the process with it. So
    its writers ask before every piece.

    Args:
        path: the file, unfinished or not.
        size: bytes by which it is about to grow, before compression.

    Raises:
        NubenchError: when less than that and a margin of 16 MB is free; the message names the file, by the name that it
            has when it is finished.
    """
    free, needed = shutil.disk_usage(path.parent).free, size + SPACE_MARGIN
    if free < needed:
        raise NubenchError(
            f"cannot write {_finished(path)}: the disk is full ({free / 1e6:.0f} MB free, {needed / 1e6:.0f} MB needed "
            "to go on); free some space and repeat the command"
        )


def _finished(path: Path) -> Path:
    """The path of a file whose unfinished one :func:`write_atomically` named."""
    return path.with_name(path.name[1:].rsplit(".", 2)[0]) if path.suffix == PARTIAL_SUFFIX else path


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits, reading it in pieces.

    Raises:
        NubenchError: when the file cannot be read for want of permission.
        FileNotFoundError: when there is none.
    """
    with explained_failures(Path(path)), Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def explained_failures(path: Path) -> Iterator[None]:
    """Turn a full disk, a missing permission and their like into a NubenchError that names ``path``."""
    try:
        yield
    except NubenchError:
        raise
    except Exception as error:
        reason = _reason(error)
        if reason is None:
            raise
        raise NubenchError(f"cannot access {path}: {reason}") from error


def _reason(error: Exception) -> str | None:
    if isinstance(error, OSError) and error.errno in _REASONS:
        return _REASONS[error.errno]
    # Libraries in other languages (HDF5, safetensors) report a full disk in the text of their own errors.
    if os.strerror(errno.ENOSPC) in str(error):
        return _REASONS[errno.ENOSPC]
    return None


def _force_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
