"""What killed writers left beside the place of their files."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from nubench.storage.files import PARTIAL_SUFFIX

#: A writer changes its file all along, so one that rested for so long has none any more, on whatever machine. Clocks
#: of machines that share a folder differ by less.
SECONDS_AT_REST: Final = 86_400.0

#: Safetensors writes to a name of its own first.
_OF_SAFETENSORS: Final = ".tmp"


def remove_leftovers(folder: Path) -> list[Path]:
    """Remove the unfinished files that nobody has written to for a day.

    Younger ones may be another process's, and stay. So does what cannot be removed, in a cache that others own.

    Args:
        folder: looked through with all that is below it; it need not exist. Links are not followed.

    Returns:
        The files that were removed.
    """
    newest = time.time() - SECONDS_AT_REST
    removed = []
    for parent, _, names in os.walk(folder):
        for name in names:
            if name.endswith(PARTIAL_SUFFIX) or name.startswith(_OF_SAFETENSORS):
                path = Path(parent, name)
                with suppress(OSError):
                    if path.lstat().st_mtime < newest:
                        path.unlink()
                        removed.append(path)
    return sorted(removed)
