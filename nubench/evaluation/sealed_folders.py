"""The folders that a sealed child must not open, those that it may read and not change, and its own."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from nubench.errors import NubenchError
from nubench.evaluation.embeddings import EMBEDDINGS_FOLDER
from nubench.storage.files import make_folder

#: What decides a score beside the plugin: the package, the reference methods, the data-set cards.
_CODE: Final = ("nubench", "nubench_plugins", "nubench_datasets")
#: Parts of the package with kernels of Numba, which keeps what it compiled beside the code.
KERNELS: Final = ("sparse", "simulation", "simulation/lartpc", "simulation/scintillator")


#: Of the cache: what is handed over to each training that is under way, with its lock.
_HANDOUTS: Final = "handouts"
#: Of the cache: data with labels, and the work of others.
_FORBIDDEN: Final = (
    *("data", "imported", "trainings", _HANDOUTS),
    *("results", "predictions", "failures", EMBEDDINGS_FOLDER),
)


def forbidden_folders(cache: Path) -> list[Path]:
    """The folders of a cache that a sealed child must neither read nor change, but for what is its own in them."""
    return [cache / name for name in _FORBIDDEN]


def make_handout_folder(cache: Path, training: str) -> Path:
    """Make the folder of a cache where a training is handed its events.

    Raises:
        NubenchError: when it cannot be made.
    """
    folder = cache / _HANDOUTS / training
    make_folder(folder)
    return folder


def code_folders() -> tuple[Path, ...]:
    """The folders of the code that a sealed child must not change."""
    specs = [find_spec(name) for name in _CODE]
    return tuple(Path(path) for spec in specs if spec for path in spec.submodule_search_locations or ())


def make_kernel_caches(device: str) -> tuple[Path, ...]:
    """Make the folders in which libraries keep compiled kernels.

    A child that is confined cannot make, or read, what is new in a folder above the cache or the code, and the home
    folder often is one.

    Args:
        device: where the child trains.

    Returns:
        The folders inside of the code; where the code is not ours to write, nothing is kept in them.
    """
    beside_code = tuple(Path(__file__).parents[1] / part / "__pycache__" for part in KERNELS)
    _make(beside_code)
    if device != "cpu":
        _make(Path.home() / name for name in (".triton", ".nv"))
    return beside_code


def _make(folders: Iterable[Path]) -> None:
    for folder in folders:
        with suppress(NubenchError):
            make_folder(folder)
