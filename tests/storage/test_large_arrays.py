"""Arrays that lie on disk: the same numbers as in memory, and nothing left behind."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from nubench.errors import DataError, NubenchError
from nubench.storage import large_arrays
from nubench.storage.checked_tensors import read_arrays, write_arrays
from nubench.storage.large_arrays import PIECE, count_not_finite, empty_array, pieces


def lies_on_disk(array: np.ndarray) -> bool:
    """Whether an array is a map of a file."""
    base: object = array
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap):
            return True
        base = base.base
    return False


@pytest.fixture
def _everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_arrays, "LARGE", 0)


def test_a_small_array_is_in_memory_and_a_large_one_in_a_file_without_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_arrays, "LARGE", 4000)
    assert not lies_on_disk(empty_array((10, 100), np.float32, tmp_path))
    large = empty_array((11, 100), np.float32, tmp_path)
    assert lies_on_disk(large)
    assert not list(tmp_path.iterdir())
    rows = np.random.default_rng(1).normal(size=(11, 100)).astype(np.float32)
    order = np.array([3, 1, 0, 2, 10, 9, 8, 7, 6, 5, 4])
    large[order] = rows
    assert large[order].tobytes() == rows.tobytes()


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 0))  # type: ignore[attr-defined]
    with pytest.raises(NubenchError, match=r"the disk is full \(0 MB free, 1090 MB needed"):
        empty_array((2**28,), np.float32, tmp_path)


@pytest.mark.usefixtures("_everything_is_large")
def test_mapped_arrays_are_those_that_were_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    arrays = {
        "numbers": rng.normal(size=(100, 3)).astype(np.float32),
        "ids": np.arange(77),
        "coords": rng.integers(-9, 9, (50, 3)).astype(np.int32),
        "flags": rng.random(5) < 0.5,
        "none": np.zeros((0, 4), np.float32),
    }
    write_arrays(tmp_path / "arrays", arrays)
    found = read_arrays(tmp_path / "arrays", mapped=True)
    assert sorted(found) == sorted(arrays)
    for name, array in arrays.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()
    # Types that are not mapped, and what is empty, are read.
    assert {name for name, array in found.items() if lies_on_disk(array)} == {"numbers", "ids", "coords"}
    assert not lies_on_disk(read_arrays(tmp_path / "arrays")["numbers"])
    with pytest.raises(ValueError, match="read-only"):
        found["ids"][0] = 3


@pytest.mark.usefixtures("_everything_is_large")
def test_a_damaged_file_is_refused_when_it_is_mapped(tmp_path: Path) -> None:
    path = tmp_path / "arrays"
    write_arrays(path, {"numbers": np.arange(1000)})
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match="is damaged: its checksum differs"):
        read_arrays(path, mapped=True)
    path.write_bytes(bytes(content[:-8]))
    with pytest.raises(DataError, match="not a readable safetensors file"):
        read_arrays(path, mapped=True)


def test_numbers_that_are_none_are_counted_in_every_piece() -> None:
    array = np.zeros((2 * PIECE // 4 + 5, 1), np.float32)
    array[[0, len(array) // 2, -1]] = [[np.nan], [np.inf], [-np.inf]]
    assert len(list(pieces(array))) == 3
    assert sum(map(len, pieces(array))) == len(array)
    assert count_not_finite(array) == 3
    assert count_not_finite(np.zeros((0, 3), np.float32)) == 0
