"""What befalls files: flipped bits, lost ends, blocks of zeros, other files in their place."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

Kind = Literal["flip", "cut", "zeros", "append", "swap"]
KINDS: tuple[Kind, ...] = get_args(Kind)


def damaged(kind: Kind, content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    """Return what became of a file; never the same bytes, unless there is no other file to take.

    Args:
        kind: what happens to it.
        content: of the file.
        others: contents of files of the same kind, for ``"swap"``.
        draw: where, and how much.
    """
    place = draw.randrange(len(content))
    if kind == "cut":
        return content[:place]
    if kind == "append":
        return content + draw.randbytes(1 + draw.randrange(64))
    if kind == "zeros":
        end = min(len(content), place + 512)
        zeroed = content[:place] + bytes(end - place) + content[end:]
        # Files hold zeros of their own.
        return zeroed if zeroed != content else damaged("flip", content, others, draw)
    if kind == "swap":
        return draw.choice([other for other in others if other != content] or [content])
    flipped = bytearray(content)
    flipped[place] ^= 1 << draw.randrange(8)
    return bytes(flipped)


def damage(path: Path, kind: Kind, draw: random.Random, others: Sequence[Path] = ()) -> None:
    """Damage a file in place."""
    path.write_bytes(damaged(kind, path.read_bytes(), [other.read_bytes() for other in others], draw))
