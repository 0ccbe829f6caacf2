"""Keep a process from reading the files of some folders: Landlock, which Linux has had since 5.13.

A process gives up rights that it cannot get back, nor can what it starts. Here it gives up to read files anywhere but
in folders named beforehand, and these are all but the forbidden ones. The three system calls are described at
https://docs.kernel.org/userspace-api/landlock.html.
"""

from __future__ import annotations

import ctypes
import os
import platform
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
_READ_FILE: Final = 1 << 2
_VERSION_ASKED: Final = 1
_NO_NEW_PRIVILEGES: Final = 38


class _Ruleset(ctypes.Structure):
    _fields_ = (("handled_access_fs", ctypes.c_uint64),)


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def can_confine() -> bool:
    """Tell whether this system can keep a process from reading files."""
    return (
        sys.platform == "linux"
        and platform.machine() != "alpha"
        and _libc().syscall(_CREATE_RULESET, None, 0, _VERSION_ASKED) >= 1
    )


def confine(forbidden: Iterable[Path], allowed: Iterable[Path] = ()) -> bool:
    """Give up, for good, to read files in some folders.

    It holds for the calling thread and for all threads and processes that it starts, not for threads that run already.
    A process that is confined cannot look into the memory of one that is not, either. What is new in a folder above a
    forbidden one cannot be read, nor can a file be moved between folders.

    Args:
        forbidden: the folders; they need not exist.
        allowed: files and folders, also such inside of forbidden ones, that stay readable.

    Returns:
        False where the system cannot do it; nothing has changed then.
    """
    if not can_confine():
        return False
    libc = _libc()
    ruleset = _Ruleset(_READ_FILE)
    number = libc.syscall(_CREATE_RULESET, ctypes.byref(ruleset), ctypes.sizeof(ruleset), 0)
    if number < 0:
        return False
    try:
        for path in (*_beside([path.resolve() for path in forbidden]), *(path.resolve() for path in allowed)):
            with _opened(path) as folder:
                if folder is not None:
                    rule = _PathBeneath(_READ_FILE, folder)
                    libc.syscall(_ADD_RULE, number, _RULE_PATH_BENEATH, ctypes.byref(rule), 0)
        if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
            return False
        return bool(libc.syscall(_RESTRICT_SELF, number, 0) == 0)
    finally:
        os.close(number)


def _beside(forbidden: Sequence[Path]) -> Iterator[Path]:
    """All that stands beside the folders, and beside every folder above them."""
    above = {folder for path in forbidden for folder in path.parents}
    closed = above.union(forbidden)
    for folder in above:
        # What cannot be listed could not be read either.
        with suppress(OSError):
            yield from (entry for entry in folder.iterdir() if entry not in closed)


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
