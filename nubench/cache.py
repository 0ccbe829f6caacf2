"""Where data, trainings and finished results are kept between calls."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from nubench.storage.files import make_folder
from nubench.storage.leftovers import remove_leftovers

CACHE_VARIABLE: Final = "NUBENCH_CACHE"

#: Data sets are not among them: whoever holds the lock of one removes what is unfinished in it, of whatever age.
_FOLDERS_OF_RUNS: Final = ("embeddings", "failures", "predictions", "results", "trainings")


def cache_folder(named: Path | str | None = None) -> Path:
    """The folder of the cache; made when missing, and rid of what writers left that were killed a day ago or earlier.

    Args:
        named: the folder; None for the one in the environment variable ``NUBENCH_CACHE``, or else the platform's
            folder for caches.

    Raises:
        NubenchError: when it cannot be made.
    """
    found = named or os.environ.get(CACHE_VARIABLE)
    if found:
        folder = Path(found).expanduser().resolve()
    else:
        import platformdirs

        folder = Path(platformdirs.user_cache_dir("nubench"))
    make_folder(folder)
    for name in _FOLDERS_OF_RUNS:
        remove_leftovers(folder / name)
    return folder
