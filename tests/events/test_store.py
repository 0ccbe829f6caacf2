from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from nubench.containers import Deposits, LabelledEvents
from nubench.errors import DataError, NubenchError
from nubench.events.store import (
    EventAttributes,
    TruthChunk,
    read_attributes,
    read_events,
    read_truth,
    truth_provenance,
    write_events,
    write_truth,
)

ATTRIBUTES = EventAttributes("lartpc", ("a", "b", "c"), 0.38, "throws", "throw1", {"gain": 4.0}, {"seed": 3})
Make = Callable[..., LabelledEvents]


@pytest.fixture
def file(tmp_path: Path, synthetic_events: Make) -> Path:
    path = tmp_path / "events.h5"
    write_events(path, [synthetic_events(20, 1)], ATTRIBUTES)
    return path


def test_events_come_back_as_they_were_whatever_the_chunks(tmp_path: Path, synthetic_events: Make) -> None:
    events = synthetic_events(30, 2)
    pieces = [events.select(np.arange(a, b)) for a, b in ((0, 7), (7, 7), (7, 30))]

    count, content = write_events(tmp_path / "events.h5", iter(pieces), ATTRIBUTES)
    back = read_events(tmp_path / "events.h5")

    assert (count, content) == write_events(tmp_path / "again.h5", [events], ATTRIBUTES)
    changed = LabelledEvents(events.events, (events.labels + 1) % 3, events.truth)
    assert write_events(tmp_path / "changed.h5", [changed], ATTRIBUTES)[1] != content
    assert count == 30
    for name in ("offsets", "coords", "features"):
        assert np.array_equal(getattr(back.events, name), getattr(events.events, name))
        assert getattr(back.events, name).dtype == getattr(events.events, name).dtype
    assert np.array_equal(back.labels, events.labels)
    for name in ("event_id", "pdg", "kinetic_energy", "vertex", "direction"):
        assert np.array_equal(getattr(back.truth, name), getattr(events.truth, name))
    assert read_attributes(tmp_path / "events.h5") == ATTRIBUTES


def test_the_layout_is_the_documented_contract(file: Path) -> None:
    with h5py.File(file) as content:
        found = {
            name: (content[name].dtype.str[1:], content[name].ndim)
            for name in ("offsets", "coords", "features", "labels")
        }
        assert found == {"offsets": ("i8", 1), "coords": ("i4", 2), "features": ("f4", 2), "labels": ("i8", 1)}
        assert set(content["truth"]) == {"pdg", "kinetic_energy", "vertex", "direction", "event_id"}
        expected = {
            "schema_version",
            "detector",
            "classes",
            "voxel_size_cm",
            "shift",
            "point",
            "parameters",
            "provenance",
        }
        assert set(content.attrs) == expected
        assert content.attrs["schema_version"] == 1


def test_no_events_make_a_readable_file(tmp_path: Path) -> None:
    assert write_events(tmp_path / "none.h5", [], ATTRIBUTES)[0] == 0
    assert len(read_events(tmp_path / "none.h5")) == 0


def test_a_write_that_dies_leaves_nothing(tmp_path: Path, synthetic_events: Make) -> None:
    def dying() -> Iterator[LabelledEvents]:
        yield synthetic_events(5, 1)
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_events(tmp_path / "events.h5", dying(), ATTRIBUTES)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_is_named_and_leaves_nothing(
    tmp_path: Path, synthetic_events: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    free = iter([50_000_000, 50_000_000, 1_000_000])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=next(free)))
    with pytest.raises(NubenchError, match=r"events\.h5.*: the disk is full"):
        write_events(tmp_path / "events.h5", [synthetic_events(5, 1), synthetic_events(5, 2)], ATTRIBUTES)
    assert list(tmp_path.iterdir()) == []


def _change(path: Path, change: Callable[[h5py.File], None]) -> None:
    with h5py.File(path, "r+") as content:
        change(content)


def _replace(name: str, values: np.ndarray) -> Callable[[h5py.File], None]:
    def change(content: h5py.File) -> None:
        del content[name]
        content[name] = values

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda f: f.attrs.__delitem__("schema_version"), "schema_version is missing"),
        (lambda f: f.attrs.__setitem__("schema_version", 2), "schema version 2"),
        (lambda f: f.attrs.__delitem__("classes"), "classes"),
        (lambda f: f.attrs.__setitem__("parameters", "{"), "unreadable"),
        (lambda f: f.__delitem__("coords"), "'coords' is missing"),
        (lambda f: f.__delitem__("truth/pdg"), "'truth/pdg' is missing"),
        (_replace("features", np.zeros((5, 1))), "expected float32"),
        (_replace("coords", np.zeros((5, 2), np.int32)), "3 column"),
        (_replace("offsets", np.array([0, 3])), "offsets must run"),
        (_replace("labels", np.full(20, 7)), "labels must be 0 to 2; found 7"),
        (lambda f: f["features"].__setitem__((3, 0), np.nan), "1 features are not finite"),
    ],
)
def test_a_foreign_or_impossible_file_is_named_with_the_reason(
    file: Path, change: Callable[[h5py.File], None], reason: str
) -> None:
    _change(file, change)
    with pytest.raises(DataError, match=reason) as caught:
        read_events(file)
    assert str(file) in str(caught.value)


def test_corrupt_files_are_refused(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    for content in (b"", b"not hdf5 at all", whole[: len(whole) // 2]):
        (tmp_path / "corrupt.h5").write_bytes(content)
        with pytest.raises(DataError, match=r"corrupt\.h5"):
            read_events(tmp_path / "corrupt.h5")
    with pytest.raises(DataError, match="does not exist"):
        read_events(tmp_path / "absent.h5")


def test_deposits_stream_back_in_chunks(tmp_path: Path, synthetic_events: Make) -> None:
    rng = np.random.default_rng(0)
    offsets = np.array([0, 3, 3, 10, 12], np.int64)
    deposits = Deposits(
        offsets,
        *(rng.normal(size=(12, 3)).astype(np.float32) for _ in range(2)),
        *(rng.uniform(size=12).astype(np.float32) for _ in range(2)),
    )
    chunk = TruthChunk(synthetic_events(4, 3).truth, np.array([0, 1, 2, 0]), deposits)
    write_truth(tmp_path / "truth.h5", [chunk], ("a", "b", "c"), {"generator": "test"})

    pieces = list(read_truth(tmp_path / "truth.h5", events_a_chunk=3))

    assert [len(piece.deposits) for piece in pieces] == [3, 1]
    assert pieces[1].labels.tolist() == [0]
    back = Deposits.concatenate([piece.deposits for piece in pieces])
    for name in ("offsets", "start", "end", "energy", "time"):
        assert np.array_equal(getattr(back, name), getattr(deposits, name))
    assert truth_provenance(tmp_path / "truth.h5") == {"generator": "test"}
    with pytest.raises(DataError, match="attribute missing"):
        read_events(tmp_path / "truth.h5")
