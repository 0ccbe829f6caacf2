from __future__ import annotations

import hashlib
import shutil
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hdf5_damage import (
    Change,
    change_file,
    inflated,
    linked_to_another_file,
    of_unknown_numbers,
    overwrite_first_chunk,
    replaced,
    stored_in_another_file,
    virtual,
)

from nubench.containers import Events, LabelledEvents, Primaries
from nubench.errors import DataError, NubenchError, UsageError
from nubench.events import hdf5
from nubench.events.label_files import read_labels
from nubench.events.store import (
    EventAttributes,
    check_voxels,
    count_events,
    holds_labels,
    read_attributes,
    read_events,
    read_voxels,
    stream_events,
    write_events,
)
from nubench.storage import large_arrays

ATTRIBUTES = EventAttributes("lartpc", ("a", "b", "c"), 0.38, "throws", "throw1", {"gain": 4.0}, {"seed": 3})
Make = Callable[..., LabelledEvents]


@pytest.fixture
def file(tmp_path: Path, synthetic_events: Make) -> Path:
    path = tmp_path / "events.h5"
    write_events(path, [_tracked(synthetic_events(20, 1))], ATTRIBUTES)
    return path


def _tracked(events: LabelledEvents) -> LabelledEvents:
    """The same events with a from_track of their own."""
    return replace(events, from_track=np.random.default_rng(5).random(len(events.events.coords)) < 0.7)


def _columns(events: LabelledEvents) -> dict[str, np.ndarray | None]:
    truth = {name: getattr(events.truth, name) for name in Primaries.__dataclass_fields__}
    voxels = {name: getattr(events.events, name) for name in ("offsets", "coords", "features")}
    return {**voxels, "labels": events.labels, "from_track": events.from_track, **truth}


def assert_same(found: LabelledEvents, expected: LabelledEvents) -> None:
    """Every column has the same type and the same bits."""
    for name, column in _columns(expected).items():
        back = _columns(found)[name]
        if column is None:
            assert back is None, name
        else:
            assert back is not None, name
            assert (back.dtype, back.shape) == (column.dtype, column.shape), name
            assert back.tobytes() == column.tobytes(), name


def joined(pieces: list[LabelledEvents]) -> LabelledEvents:
    """Pieces in order as one."""
    tracks = [piece.from_track for piece in pieces if piece.from_track is not None]
    return LabelledEvents(
        Events.concatenate([piece.events for piece in pieces]),
        np.concatenate([piece.labels for piece in pieces]),
        Primaries.concatenate([piece.truth for piece in pieces]),
        np.concatenate(tracks) if tracks else None,
    )


@pytest.mark.parametrize("tracked", [False, True])
def test_events_come_back_as_they_were_whatever_the_chunks(
    tmp_path: Path, synthetic_events: Make, tracked: bool
) -> None:
    events = synthetic_events(30, 2)
    events = _tracked(events) if tracked else events
    pieces = [events.select(np.arange(a, b)) for a, b in ((0, 7), (7, 7), (7, 30))]

    count, content = write_events(tmp_path / "events.h5", iter(pieces), ATTRIBUTES)

    assert (count, content) == write_events(tmp_path / "again.h5", [events], ATTRIBUTES)
    assert count == 30
    assert_same(read_events(tmp_path / "events.h5"), events)
    assert_same(read_events(tmp_path / "again.h5"), events)
    assert read_attributes(tmp_path / "events.h5") == ATTRIBUTES


@pytest.mark.parametrize("events_a_chunk", [1, 7, 30, 1000])
@pytest.mark.parametrize("tracked", [False, True])
def test_streaming_gives_what_reading_whole_gives(
    tmp_path: Path, synthetic_events: Make, tracked: bool, events_a_chunk: int
) -> None:
    events = synthetic_events(30, 2)
    write_events(tmp_path / "events.h5", [_tracked(events) if tracked else events], ATTRIBUTES)

    pieces = list(stream_events(tmp_path / "events.h5", events_a_chunk))

    assert [len(piece) for piece in pieces[:-1]] == [events_a_chunk] * (len(pieces) - 1)
    assert_same(joined(pieces), read_events(tmp_path / "events.h5"))


@pytest.mark.parametrize("tracked", [False, True])
def test_labels_in_a_file_of_their_own_come_back_and_the_content_is_the_same(
    tmp_path: Path, synthetic_events: Make, tracked: bool
) -> None:
    events = synthetic_events(30, 2)
    events = _tracked(events) if tracked else events
    path, apart = tmp_path / "events.h5", tmp_path / "labels.h5"
    written = write_events(path, [events], ATTRIBUTES, apart)

    assert written == write_events(tmp_path / "together.h5", [events], ATTRIBUTES)
    assert not holds_labels(path)
    assert holds_labels(tmp_path / "together.h5")
    with h5py.File(path) as content:
        assert set(content) == {"offsets", "coords", "features"}
        assert content.attrs["schema_version"] == 2
    for file in (path, tmp_path / "together.h5"):
        assert read_voxels(file).coords.tobytes() == events.events.coords.tobytes()
    found = read_labels(apart)
    assert found.content == written[1]
    assert_same(LabelledEvents(read_voxels(path), found.labels, found.truth, found.from_track), events)
    assert_same(joined(list(stream_events(path, 7, apart))), events)
    with pytest.raises(DataError, match=r"events\.h5 holds no labels"):
        read_events(path)
    with pytest.raises(DataError, match="is not a nubench file of labels of version 1"):
        read_labels(path)


def test_streaming_holds_no_more_than_a_chunk(tmp_path: Path, synthetic_events: Make) -> None:
    write_events(tmp_path / "events.h5", [synthetic_events(500, 2)], ATTRIBUTES)

    def peak(read: Callable[[], object]) -> int:
        read()  # what the first call alone allocates is not counted
        tracemalloc.start()
        read()
        largest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return largest

    streamed = peak(lambda: [len(chunk) for chunk in stream_events(tmp_path / "events.h5", 10)])
    assert streamed < peak(lambda: read_events(tmp_path / "events.h5")) / 5


def test_events_are_counted_and_checked_without_being_kept(tmp_path: Path, synthetic_events: Make) -> None:
    events, path = synthetic_events(50, 2), tmp_path / "events.h5"
    write_events(path, [events], ATTRIBUTES, tmp_path / "labels.h5")
    assert count_events(path) == (50, len(events.events.coords))
    check_voxels(path, 7)
    with h5py.File(path, "a") as content:
        content["features"][int(events.events.offsets[20])] = np.nan
    with pytest.raises(DataError, match=r"events\.h5: 1 features are not finite numbers"):
        check_voxels(path, 7)
    (tmp_path / "none.h5").write_bytes(b"")
    for read in (count_events, lambda path: check_voxels(path, 7)):
        with pytest.raises(DataError, match="is not a readable HDF5 file"):
            read(tmp_path / "none.h5")


def test_large_tables_are_the_same_and_cannot_be_written_to(
    file: Path, synthetic_events: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_memory = read_events(file)
    monkeypatch.setattr(large_arrays, "LARGE", 0)
    # Several pieces of a few rows.
    monkeypatch.setattr(hdf5, "_CHUNK_ROWS", 64)
    monkeypatch.setattr(hdf5, "PIECE", 64)
    found = read_events(file)
    assert_same(found, in_memory)
    assert found.from_track is not None
    for table in (found.events.coords, found.events.features, found.from_track):
        with pytest.raises(ValueError, match="read-only"):
            table[0] = 1
    assert sorted(path.name for path in file.parent.iterdir()) == ["events.h5"]
    assert_same(joined(list(stream_events(file, 7))), in_memory)


def test_a_chunk_of_no_events_is_refused(file: Path) -> None:
    with pytest.raises(UsageError, match="events_a_chunk must be at least 1; got 0"):
        next(stream_events(file, 0))


def test_the_content_is_the_voxels_features_and_labels_alone(tmp_path: Path) -> None:
    """Committed results name these digests: what they are made of must not change."""
    lengths, labels = np.array([2, 0, 1], np.int64), np.array([0, 2, 1], np.int64)
    coords, features = np.arange(9, dtype=np.int32).reshape(3, 3), np.array([[90], [91.5], [93]], np.float32)
    truth = Primaries(
        np.arange(3), np.full(3, 13), np.ones(3, np.float32), *(np.ones((3, 3), np.float32) for _ in range(2))
    )
    events = LabelledEvents(Events(np.array([0, 2, 2, 3]), coords, features), labels, truth)
    parts = [hashlib.sha256(column.tobytes()).digest() for column in (lengths, coords, features, labels)]
    expected = hashlib.sha256(b"".join(parts)).hexdigest()

    def content(events: LabelledEvents) -> str:
        return write_events(tmp_path / "events.h5", [events], ATTRIBUTES)[1]

    assert content(events) == expected
    assert content(replace(events, from_track=np.array([True, False, True]))) == expected
    assert content(replace(events, labels=(labels + 1) % 3)) != expected
    moved = Events(np.array([0, 1, 2, 3]), coords, features)
    assert content(replace(events, events=moved)) != expected


def test_the_layout_is_the_documented_contract(tmp_path: Path, synthetic_events: Make) -> None:
    expected = {"offsets": ("i8", 1), "coords": ("i4", 2), "features": ("f4", 2), "labels": ("i8", 1)}
    events = synthetic_events(20, 1)
    for written, tables in ((events, expected), (_tracked(events), {**expected, "from_track": ("u1", 1)})):
        write_events(tmp_path / "events.h5", [written], ATTRIBUTES)
        with h5py.File(tmp_path / "events.h5") as content:
            assert set(content) == {*tables, "truth"}
            assert {name: (content[name].dtype.str[1:], content[name].ndim) for name in tables} == tables
            assert set(content["truth"]) == {"pdg", "kinetic_energy", "vertex", "direction", "event_id"}
            assert set(content.attrs) == {
                "schema_version",
                "detector",
                "classes",
                "voxel_size_cm",
                "shift",
                "point",
                "parameters",
                "provenance",
            }
            assert content.attrs["schema_version"] == 1


def test_no_events_make_a_readable_file(tmp_path: Path) -> None:
    assert write_events(tmp_path / "none.h5", [], ATTRIBUTES)[0] == 0
    assert len(read_events(tmp_path / "none.h5")) == 0
    assert list(stream_events(tmp_path / "none.h5", 5)) == []


@pytest.mark.parametrize("first_has_it", [False, True])
def test_from_track_of_some_chunks_alone_is_refused(tmp_path: Path, synthetic_events: Make, first_has_it: bool) -> None:
    with_it, without = _tracked(synthetic_events(5, 1)), synthetic_events(5, 2)
    chunks = [with_it, without] if first_has_it else [without, with_it]
    with pytest.raises(UsageError, match="from_track must be in every chunk"):
        write_events(tmp_path / "events.h5", chunks, ATTRIBUTES)
    assert list(tmp_path.iterdir()) == []


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
    free = iter([50_000_000, 1_000_000])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=next(free)))
    with pytest.raises(NubenchError, match=r"events\.h5.*: the disk is full"):
        write_events(tmp_path / "events.h5", [synthetic_events(5, 1), synthetic_events(5, 2)], ATTRIBUTES)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda f: f.attrs.__delitem__("schema_version"), "schema_version is missing"),
        (lambda f: f.attrs.__setitem__("schema_version", 3), "schema version 3.*upgrade nubench"),
        (lambda f: f.attrs.__setitem__("schema_version", "one"), "schema_version must be an integer; found 'one'"),
        (lambda f: f.attrs.__setitem__("schema_version", [1, 1]), "schema_version must be an integer"),
        (lambda f: f.attrs.__delitem__("classes"), "classes"),
        (lambda f: f.attrs.__setitem__("classes", 7), "unreadable"),
        (lambda f: f.attrs.__setitem__("parameters", "{"), "unreadable"),
        (lambda f: f.attrs.__setitem__("parameters", "[1]"), "parameters must be a JSON object"),
        (lambda f: f.attrs.__setitem__("provenance", "[" * 50_000), "nested too deeply"),
        (lambda f: f.attrs.__setitem__("voxel_size_cm", 0.0), "voxel_size_cm must be a positive number; found 0"),
        (lambda f: f.__delitem__("coords"), "'coords' is missing"),
        (lambda f: f.__delitem__("truth/pdg"), "'truth/pdg' is missing"),
        (replaced("features", np.zeros((5, 1))), "expected float32"),
        (replaced("coords", np.zeros((5, 2), np.int32)), "3 column"),
        (replaced("coords", np.zeros((5, 3), np.int32)), "'coords' has 5 rows; expected"),
        (replaced("truth/pdg", np.zeros(19, np.int64)), "'truth/pdg' has 19 rows; expected 20"),
        (replaced("offsets", np.array([0, 3])), "'coords' has .* rows; expected 3"),
        (replaced("offsets", np.zeros(0, np.int64)), "offsets must start at 0"),
        (replaced("offsets", np.array([1, 3])), "offsets must start at 0"),
        (replaced("offsets", np.array([0, 2**62, 3])), "offsets must .* never decrease"),
        (replaced("offsets", np.array([0, -(2**63), 2**63 - 1])), "offsets must .* never decrease"),
        (replaced("labels", np.full(20, 7)), "labels must be 0 to 2; found 7"),
        (replaced("labels", np.full(20, -1)), "labels must be 0 to 2; found -1"),
        (lambda f: f["features"].__setitem__((3, 0), np.nan), "1 features are not finite"),
        (lambda f: f["from_track"].__setitem__(3, 2), "from_track must be 0 or 1; found 2"),
        (replaced("from_track", np.zeros(5, np.uint8)), "'from_track' has 5 rows"),
        (of_unknown_numbers("features"), "'features' is unreadable"),
        (inflated("coords"), "claims 1000000000000 rows; only 0 bytes"),
        (inflated("offsets"), "claims 1000000000000 rows; only 0 bytes"),
        (linked_to_another_file("coords"), "'coords' is not stored in the file"),
        (stored_in_another_file("features"), "'features' is not stored in the file"),
        (virtual("labels"), "'labels' is not stored in the file"),
    ],
)
def test_a_foreign_or_impossible_file_is_named_with_the_reason(file: Path, change: Change, reason: str) -> None:
    change_file(file, change)
    with pytest.raises(DataError, match=reason) as whole:
        read_events(file)
    with pytest.raises(DataError, match=reason):
        list(stream_events(file, 6))
    assert str(file) in str(whole.value)


@pytest.mark.parametrize("table", ["coords", "features", "labels", "truth/vertex", "from_track"])
def test_damaged_bytes_are_found(file: Path, table: str) -> None:
    overwrite_first_chunk(file, table)
    with pytest.raises(DataError, match=r"events\.h5 is damaged"):
        read_events(file)


def test_corrupt_files_are_refused(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    for content in (b"", b"not hdf5 at all", *(whole[: len(whole) * part // 10] for part in range(1, 10))):
        (tmp_path / "corrupt.h5").write_bytes(content)
        with pytest.raises(DataError, match=r"corrupt\.h5"):
            read_events(tmp_path / "corrupt.h5")
    for absent in (tmp_path / "absent.h5", tmp_path):
        with pytest.raises(DataError, match="does not exist or is not a file"):
            read_events(absent)
