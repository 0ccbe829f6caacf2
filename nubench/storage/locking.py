"""One process at a time, and a word to whoever has to wait for the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def locked(file: Path, say: Callable[[str], None], waiting: str) -> Iterator[None]:
    """Hold a lock that other processes respect; a process that ends, however it does, lets go of it.

    Args:
        file: of the lock; its folder is there.
        say: called with ``waiting``, once, when another process holds the lock.
        waiting: what is then waited for.
    """
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(waiting)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
