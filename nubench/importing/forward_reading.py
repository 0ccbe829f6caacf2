"""Packed files from outside, unpacked as they are read: forwards alone, and never more than was granted."""

from __future__ import annotations

import bz2
import functools
import gzip
import lzma
import zipfile
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

#: Bytes that are unpacked at once.
_PIECE: Final = 65_536
#: What unpacking xz may take; its own highest level takes 65 MiB, and a header may ask for 4 GiB.
_XZ_MEMORY: Final = 200_000_000


class ForwardReader:
    """The unpacked bytes of a file that is packed by gzip, bzip2 or xz, or not at all, as its first bytes tell.

    Made for :class:`tarfile.TarFile`, which reads headers of any length whole into memory, and follows negative lengths
    back to where it was.

    Args:
        file: opened at its beginning.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._pieces = _pieces(file)
        self._rest, self._place, self._granted = b"", 0, 0

    def grant(self, size: int) -> None:
        """Allow so many bytes to be read from now on; what is skipped does not count."""
        self._granted = size

    def tell(self) -> int:
        """Bytes before the next one."""
        return self._place

    def read(self, size: int) -> bytes:
        """Read bytes, fewer only at the end.

        Raises:
            ValueError: when it is more than what is left of the grant, or a negative number.
            OSError, EOFError, lzma.LZMAError, zlib.error: when the file is damaged.
        """
        if not 0 <= size <= self._granted:
            raise ValueError(f"it asks for {size:,} bytes at once")
        self._granted -= size
        return b"".join(self._forward(size))

    def seek(self, place: int) -> int:
        """Skip to a place that was not passed yet.

        Raises:
            ValueError: when it was.
        """
        if place < self._place:
            raise ValueError(f"it leads back from byte {self._place:,} to byte {place:,}")
        for _ in self._forward(place - self._place):
            pass
        return self._place

    def _forward(self, size: int) -> Iterator[bytes]:
        while size > 0 and (self._rest or self._next()):
            piece, self._rest = self._rest[:size], self._rest[size:]
            size -= len(piece)
            self._place += len(piece)
            yield piece

    def _next(self) -> bytes:
        self._rest = next(self._pieces, b"")
        return self._rest


def unpacks_in_bounds(member: zipfile.ZipInfo) -> bool:
    """Whether a zip archive's member is stored or deflated; Python unpacks others without a limit on what comes out."""
    return member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    start = file.read(6)
    file.seek(0)
    if start.startswith(b"BZh"):
        return _unpacked(file, bz2.BZ2Decompressor)
    if start == b"\xfd7zXZ\0":
        return _unpacked(file, functools.partial(lzma.LZMADecompressor, lzma.FORMAT_XZ, _XZ_MEMORY))
    opened = gzip.GzipFile(fileobj=file) if start.startswith(b"\x1f\x8b") else file
    return iter(functools.partial(opened.read, _PIECE), b"")


def _unpacked(file: BinaryIO, make: Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor]) -> Iterator[bytes]:
    """Unpack one stream after another; xz may have zeros between them."""
    rest = file.read(_PIECE)
    while rest:
        stream = make()
        while not stream.eof:
            if piece := stream.decompress(rest, _PIECE):
                yield piece
            rest = b""
            if stream.needs_input and not stream.eof:
                rest = file.read(_PIECE)
                if not rest:
                    raise EOFError("it ends before its end is marked")
        rest = stream.unused_data.lstrip(b"\0")
        while not rest and (more := file.read(_PIECE)):
            rest = more.lstrip(b"\0")
