"""Finding MinkowskiEngine, which no package index has as a wheel, and importing it without its side effects."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import warnings
from functools import cache
from typing import Any

from nubench.errors import UsageError

HOW_TO_GET_IT = "`make minkowski` in a clone of the repository builds and installs it (Linux only, some minutes)"


@cache
def import_minkowski_engine() -> Any:
    """Import MinkowskiEngine once.

    Its own import lets its modules' folder stand on ``sys.path`` for good, where they can hide others of the same
    name, sets ``OMP_NUM_THREADS`` for child processes on large machines, and warns that it has no CUDA: all undone.

    Raises:
        UsageError: when it is not installed, or was built for another torch or Python.
    """
    if importlib.util.find_spec("MinkowskiEngine") is None:
        raise UsageError(f"engine 'minkowski' needs MinkowskiEngine 0.5.4, which is not installed; {HOW_TO_GET_IT}")
    path, threads = list(sys.path), os.environ.get("OMP_NUM_THREADS")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module("MinkowskiEngine")
    except (ImportError, OSError) as error:
        raise UsageError(
            f"MinkowskiEngine is installed but cannot be imported: {error}. It works only with the torch and the "
            f"Python that it was built for; {HOW_TO_GET_IT}"
        ) from error
    finally:
        sys.path[:] = path
        if threads is None:
            os.environ.pop("OMP_NUM_THREADS", None)
