"""Files of embeddings come back as they were written, and anything else is refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nubench.errors import DataError
from nubench.evaluation.embeddings import Embedded, read_embeddings, write_embeddings
from nubench.storage.checked_tensors import read_arrays, write_arrays


def embedded(events: int, size: int = 4, first_id: int = 0, seed: int = 0) -> Embedded:
    rng = np.random.default_rng(seed)
    ids = first_id + rng.permutation(events).astype(np.int64)
    return Embedded(ids, rng.normal(size=(events, size)).astype(np.float32))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    parts = {"train": embedded(9), "val": embedded(3, first_id=100), "test/throw1": embedded(5, first_id=200)}
    write_embeddings(tmp_path / "new" / "run.safetensors", parts)
    found = read_embeddings(tmp_path / "new" / "run.safetensors")
    assert set(found) == set(parts)
    for name, part in parts.items():
        np.testing.assert_array_equal(found[name].rows, part.rows)
        np.testing.assert_array_equal(found[name].event_id, part.event_id)
        assert len(found[name]) == len(part)


@given(st.integers(1, 40), st.integers(0, 1000))
def test_rows_follow_their_events_in_any_order(events: int, seed: int) -> None:
    part = embedded(events, first_id=50, seed=seed)
    wanted = np.random.default_rng(seed + 1).permutation(part.event_id)
    rows = part.of(wanted)
    for event, row in zip(part.event_id, part.rows, strict=True):
        np.testing.assert_array_equal(rows[wanted == event][0], row)


def test_embeddings_of_other_events_are_refused() -> None:
    part = embedded(5)
    with pytest.raises(DataError, match="other events than the data: 5 and 4, 0 of the latter without embedding"):
        part.of(part.event_id[:4])
    with pytest.raises(DataError, match="5 and 5, 1 of the latter without embedding"):
        part.of(np.where(part.event_id == 3, 99, part.event_id))


@pytest.mark.parametrize(
    ("ids", "rows", "words"),
    [
        (np.arange(3), np.zeros((3, 2)), r"must be \(E, D\) float32; got \(3, 2\) float64"),
        (np.arange(3), np.zeros(3, np.float32), r"must be \(E, D\) float32"),
        (np.arange(4), np.zeros((3, 2), np.float32), r"event_id must be \(3,\) int64; got \(4,\)"),
        (np.arange(3, dtype=np.int32), np.zeros((3, 2), np.float32), r"got .* int32"),
        (np.array([1, 1, 2]), np.zeros((3, 2), np.float32), "unique"),
        (np.arange(3), np.full((3, 2), np.nan, np.float32), "finite"),
    ],
)
def test_what_is_no_embedding_is_refused(ids: np.ndarray, rows: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Embedded(ids, rows)


def test_parts_have_known_names_and_one_size(tmp_path: Path) -> None:
    file = tmp_path / "run.safetensors"
    for name in ("adapt", "test", "test/../x", "event_id/train", "train/a/b"):
        with pytest.raises(ValueError, match="unknown part"):
            write_embeddings(file, {name: embedded(2)})
    with pytest.raises(ValueError, match=r"one size of embeddings; got .*4.*5"):
        write_embeddings(file, {"train": embedded(2, 4), "val": embedded(2, 5)})
    assert not file.exists()
    write_embeddings(file, {"train/throw1": embedded(2), "val/throw1": embedded(2), "test/throw1": embedded(2)})


def test_damaged_and_foreign_files_are_named(tmp_path: Path) -> None:
    file = tmp_path / "run.safetensors"
    with pytest.raises(DataError, match=r"run\.safetensors: no such file"):
        read_embeddings(file)
    file.write_bytes(b"no tensors")
    with pytest.raises(DataError, match=r"run\.safetensors: not a readable safetensors file"):
        read_embeddings(file)
    write_embeddings(file, {"train": embedded(5)})
    tensors = read_arrays(file)
    lacking = {name: array for name, array in tensors.items() if name != "event_id/train"}
    write_arrays(file, lacking)
    with pytest.raises(DataError, match="not a file of embeddings, it holds train"):
        read_embeddings(file)
    write_arrays(file, {**tensors, "train": tensors["train"].astype(np.float64)})
    with pytest.raises(DataError, match=r"part 'train': embeddings must be \(E, D\) float32"):
        read_embeddings(file)
    write_arrays(file, {**tensors, "event_id/train": np.zeros(5, np.int64)})
    with pytest.raises(DataError, match="part 'train': event_id must be unique"):
        read_embeddings(file)
    write_arrays(file, {**tensors, "event_id/x": tensors["train"], "x": tensors["train"]})
    with pytest.raises(DataError, match="unknown part 'x'"):
        read_embeddings(file)


def test_the_embeddings_of_another_run_are_found_out(tmp_path: Path) -> None:
    one, other = tmp_path / "one.safetensors", tmp_path / "other.safetensors"
    write_embeddings(one, {"train": embedded(5)})
    one.rename(other)
    with pytest.raises(DataError, match=r"other\.safetensors holds the embeddings of the run 'one'"):
        read_embeddings(other)
    write_arrays(other, {name: array for name, array in read_arrays(other).items() if name != "run"})
    with pytest.raises(DataError, match="of a run that it does not name"):
        read_embeddings(other)
