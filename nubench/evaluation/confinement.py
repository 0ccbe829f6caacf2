"""Keep a process from the files of some folders: Landlock, which Linux has had since 5.13.

A process gives up rights that it cannot get back, nor can what it starts. Here it gives up to read and to change files
anywhere but in folders named beforehand, and these are all but the forbidden ones. The three system calls are described
at https://docs.kernel.org/userspace-api/landlock.html.
"""

from __future__ import annotations

import ctypes
import os
import platform
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

# The numbers are the same on every architecture, as of all system calls added since Linux 5.1; alpha apart.
_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_RULE_PATH_BENEATH: Final = 1
_VERSION_ASKED: Final = 1
_NO_NEW_PRIVILEGES: Final = 38

_READ_FILE: Final = 1 << 2
_WRITE_FILE: Final = 1 << 1
#: To remove folders and files, and to make files, folders and links of all kinds: bits 4 to 12.
_CHANGE_FOLDER: Final = (1 << 13) - (1 << 4)
#: To cut a file short without opening it; known from version 3 on, in Linux 6.2.
_TRUNCATE: Final = 1 << 14
_TRUNCATE_SINCE: Final = 3


class _Ruleset(ctypes.Structure):
    _fields_ = (("handled_access_fs", ctypes.c_uint64),)


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def can_confine() -> bool:
    """Tell whether this system can keep a process from files."""
    return _version() >= 1


def confine(
    forbidden: Iterable[Path],
    allowed: Iterable[Path] = (),
    unchanged: Iterable[Path] = (),
    readable: Iterable[Path] = (),
) -> bool:
    """Give up, for good, to read and change what is in some folders, and to change what is in others.

    It holds for the calling thread and for all threads and processes that it starts, not for threads that run already.
    A process that is confined cannot look into the memory of one that is not, either. In a folder above a forbidden one
    or one that stays as it is, files that are there can be used, and new ones cannot be made. Nor can a file be moved
    between folders. Before Linux 6.2 a file can still be cut short.

    Args:
        forbidden: folders that are closed; they need not exist.
        allowed: files and folders, also such inside of the others, that stay open for reading and writing.
        unchanged: folders that can be read, and in which nothing can be written, made or removed.
        readable: files and folders, also such inside of the forbidden ones, that stay open for reading alone.

    Returns:
        False where the system cannot do it; nothing has changed then.
    """
    version = _version()
    if version < 1:
        return False
    libc = _libc()
    change = _WRITE_FILE | _CHANGE_FOLDER | (_TRUNCATE if version >= _TRUNCATE_SINCE else 0)
    ruleset = _Ruleset(_READ_FILE | change)
    number = libc.syscall(_CREATE_RULESET, ctypes.byref(ruleset), ctypes.sizeof(ruleset), 0)
    if number < 0:
        return False
    try:
        closed, fixed, opened = ([path.resolve() for path in paths] for paths in (forbidden, unchanged, allowed))
        rights = dict.fromkeys(opened, _READ_FILE | change)
        for path in (*_beside(closed), *(path.resolve() for path in readable)):
            rights[path] = rights.get(path, 0) | _READ_FILE
        for path in _beside([*closed, *fixed]):
            rights[path] = rights.get(path, 0) | change
        for path, granted in rights.items():
            _grant(libc, number, path, granted)
        if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
            return False
        return bool(libc.syscall(_RESTRICT_SELF, number, 0) == 0)
    finally:
        os.close(number)


def _version() -> int:
    """Version of Landlock in this system, 0 or less where there is none."""
    if sys.platform != "linux" or platform.machine() == "alpha":
        return 0
    return int(_libc().syscall(_CREATE_RULESET, None, 0, _VERSION_ASKED))


def _grant(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    with _opened(path) as descriptor:
        if descriptor is None:
            return
        # Rights that only a folder can give are refused for a file, and the others with them.
        known = rights if stat.S_ISDIR(os.fstat(descriptor).st_mode) else rights & ~_CHANGE_FOLDER
        rule = _PathBeneath(known, descriptor)
        libc.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(rule), 0)


def _beside(closed: Sequence[Path]) -> Iterator[Path]:
    """All that stands beside the folders, and beside every folder above them; everything, where there are none."""
    # What is inside of another one is closed with it.
    outermost = [path for path in closed if not any(other in path.parents for other in closed)]
    above = {folder for path in outermost for folder in path.parents}
    if not outermost:
        yield Path("/")
    left_out = above.union(outermost)
    for folder in above:
        # What cannot be listed could not be read either.
        with suppress(OSError):
            yield from (entry for entry in folder.iterdir() if entry not in left_out)


@contextmanager
def _opened(path: Path) -> Iterator[int | None]:
    try:
        # A symbolic link may lead to a forbidden folder. What it leads to counts, by the path that it really has.
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return libc
