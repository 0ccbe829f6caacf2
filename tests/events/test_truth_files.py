from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from itertools import pairwise
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

from nubench.containers import Deposits, LabelledEvents, Primaries
from nubench.errors import DataError, NubenchError, UsageError
from nubench.events.store import (
    EventAttributes,
    TruthChunk,
    read_events,
    read_truth,
    truth_provenance,
    write_events,
    write_truth,
)

Make = Callable[..., LabelledEvents]
CLASSES = ("a", "b", "c")


def tracks(lengths: list[int], seed: int) -> Deposits:
    """Events of chains of steps of some millimetres, with a gap after every third, and every fifth a point."""
    rng = np.random.default_rng(seed)
    rows = sum(lengths)
    step = rng.normal(0, 0.2, (rows, 3))
    step[::5] = 0
    gap = np.where(np.arange(rows)[:, None] % 3 == 0, rng.normal(0, 5, (rows, 3)), 0)
    end = (np.array([150, -70, 650]) + np.cumsum(step + gap, axis=0)).astype(np.float32)
    start = np.vstack([np.array([[150, -70, 650]], np.float32), end[:-1]])
    start = np.where(np.arange(rows)[:, None] % 3 == 0, (end - step).astype(np.float32), start)
    start[::5] = end[::5]
    return Deposits(
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        start,
        end,
        rng.exponential(1, rows).astype(np.float32),
        np.sort(rng.uniform(0, 0.1, rows)).astype(np.float32),
    )


@pytest.fixture
def chunk(synthetic_events: Make) -> TruthChunk:
    lengths = [0, 300, 0, 700, 200, 1, 0]
    return TruthChunk(synthetic_events(7, 3).truth, np.array([0, 1, 2, 0, 1, 2, 0]), tracks(lengths, 0))


@pytest.fixture
def file(tmp_path: Path, chunk: TruthChunk) -> Path:
    write_truth(tmp_path / "truth.h5", [chunk], CLASSES, {"generator": "test"})
    return tmp_path / "truth.h5"


def _select(chunk: TruthChunk, first: int, last: int) -> TruthChunk:
    index = np.arange(first, last)
    return TruthChunk(chunk.primaries.select(index), chunk.labels[index], chunk.deposits.select(index))


def _assert_same(pieces: list[TruthChunk], expected: TruthChunk) -> None:
    deposits = Deposits.concatenate([piece.deposits for piece in pieces])
    primaries = Primaries.concatenate([piece.primaries for piece in pieces])
    for name in ("offsets", "start", "end", "energy", "time"):
        found, wanted = getattr(deposits, name), getattr(expected.deposits, name)
        assert found.dtype == wanted.dtype
        assert found.tobytes() == wanted.tobytes()
    for name in Primaries.__dataclass_fields__:
        assert np.array_equal(getattr(primaries, name), getattr(expected.primaries, name))
    assert np.array_equal(np.concatenate([piece.labels for piece in pieces]), expected.labels)


@pytest.mark.parametrize("cuts", [[0, 7], [0, 1, 4, 4, 7], list(range(8))])
@pytest.mark.parametrize("events_a_chunk", [1, 3, 7, 100])
def test_deposits_come_back_with_every_bit_whatever_the_chunks(
    tmp_path: Path, chunk: TruthChunk, cuts: list[int], events_a_chunk: int
) -> None:
    pieces = (_select(chunk, first, last) for first, last in pairwise(cuts))
    assert write_truth(tmp_path / "truth.h5", pieces, CLASSES, {"generator": "test"}) == 7

    back = list(read_truth(tmp_path / "truth.h5", events_a_chunk))

    assert [len(piece.labels) for piece in back[:-1]] == [events_a_chunk] * (len(back) - 1)
    _assert_same(back, chunk)
    assert truth_provenance(tmp_path / "truth.h5") == {"generator": "test"}


def test_deposits_across_the_chunks_of_the_tables_come_back(tmp_path: Path, synthetic_events: Make) -> None:
    deposits = tracks([30_000] * 5, 1)  # a chunk of a table holds 65,536 rows
    whole = TruthChunk(synthetic_events(5, 3).truth, np.zeros(5, np.int64), deposits)
    write_truth(tmp_path / "truth.h5", [_select(whole, 0, 2), _select(whole, 2, 5)], CLASSES, {})
    _assert_same(list(read_truth(tmp_path / "truth.h5", 2)), whole)


def test_tracks_take_two_thirds_of_the_space_that_their_numbers_take(tmp_path: Path, synthetic_events: Make) -> None:
    deposits = tracks([30_000] * 5, 1)
    chunk = TruthChunk(synthetic_events(5, 3).truth, np.zeros(5, np.int64), deposits)
    write_truth(tmp_path / "truth.h5", [chunk], CLASSES, {})
    assert (tmp_path / "truth.h5").stat().st_size < 2 / 3 * 32 * len(deposits.energy)


def test_the_layout_is_the_documented_one(file: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "data-format.md").read_text().partition("## Truth files")[2]
    with h5py.File(file) as content:
        tables = {name: item for name, item in content.items() if isinstance(item, h5py.Dataset)}
        for name, table in tables.items():
            columns = table.shape[1] if table.ndim == 2 else ""
            pattern = rf"^\| `{name}` \| {table.dtype} \| \([ENJ](?: \+ 1)?, ?{columns}\) \|"
            assert re.search(pattern, page, re.MULTILINE), name
        assert set(content) == {*tables, "truth"}
        assert [name for name in content.attrs if f"`{name}`" not in page] == []
        assert f"`deposits_version` ({content.attrs['deposits_version']})" in page


def test_no_events_make_a_readable_file(tmp_path: Path) -> None:
    assert write_truth(tmp_path / "none.h5", [], CLASSES, {}) == 0
    assert list(read_truth(tmp_path / "none.h5", 5)) == []


def test_a_chunk_of_no_events_is_refused(file: Path) -> None:
    with pytest.raises(UsageError, match="events_a_chunk must be at least 1; got 0"):
        next(read_truth(file, 0))


def test_a_disk_that_fills_up_is_named_and_leaves_nothing(
    tmp_path: Path, chunk: TruthChunk, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    free = iter([50_000_000, 1_000_000])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=next(free)))
    with pytest.raises(NubenchError, match=r"truth\.h5.*: the disk is full"):
        write_truth(tmp_path / "truth.h5", [chunk, chunk], CLASSES, {})
    assert list(tmp_path.iterdir()) == []


def _old_layout(content: h5py.File) -> None:
    """Attributes and tables as version 1 had them."""
    del content.attrs["deposits_version"]
    content.attrs["schema_version"] = 1
    for name in ("step", "jump", "is_jump", "time_step", "jump_offsets"):
        del content[name]
    rows = len(content["energy"])
    content["start"] = content["end"] = np.zeros((rows, 3), np.float32)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_old_layout, "deposits in layout 1; this nubench reads layout 2 alone. Delete the file"),
        (lambda f: f.attrs.__setitem__("deposits_version", 3), "deposits in layout 3"),
        (lambda f: f.attrs.__setitem__("deposits_version", "2"), "deposits_version must be an integer; found '2'"),
        (lambda f: f.__delitem__("step"), "'step' is missing"),
        (lambda f: f.__delitem__("jump_offsets"), "'jump_offsets' is missing"),
        (replaced("step", np.zeros((5, 3), np.uint32)), "'step' has 5 rows; expected 1201"),
        (replaced("step", np.zeros((1201, 3), np.int32)), "expected uint32"),
        (replaced("jump", np.zeros((5, 3), np.uint32)), "'jump' has 5 rows"),
        (replaced("labels", np.zeros(6, np.int64)), "'labels' has 6 rows; expected 7"),
        (replaced("offsets", np.array([0, 1201])), "8 jump_offsets and 2 offsets do not match"),
        (replaced("offsets", np.array([0, 2**62, 0, 0, 0, 0, 0, 1201])), "offsets must .* never decrease"),
        (lambda f: f["is_jump"].__setitem__(slice(None), 0), "is_jump does not mark as many"),
        (lambda f: f["jump_offsets"].__setitem__(2, 0), "is_jump does not mark as many"),
        (of_unknown_numbers("energy"), "'energy' is unreadable"),
        (inflated("step"), "claims 1000000000000 rows; only 0 bytes"),
        (inflated("offsets"), "claims 1000000000000 rows; only 0 bytes"),
        (linked_to_another_file("energy"), "'energy' is not stored in the file"),
        (stored_in_another_file("energy"), "'energy' is not stored in the file"),
        (virtual("energy"), "'energy' is not stored in the file"),
    ],
)
def test_an_old_or_impossible_file_is_named_with_the_reason(file: Path, change: Change, reason: str) -> None:
    change_file(file, change)
    with pytest.raises(DataError, match=reason) as caught:
        list(read_truth(file, 3))
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("provenance", [None, "{", "[1]", 7])
def test_an_unreadable_provenance_is_refused(file: Path, provenance: object) -> None:
    def change(content: h5py.File) -> None:
        del content.attrs["provenance"]
        if provenance is not None:
            content.attrs["provenance"] = provenance

    change_file(file, change)
    with pytest.raises(DataError, match=r"truth\.h5: the attribute provenance is missing or unreadable"):
        truth_provenance(file)


@pytest.mark.parametrize("table", ["step", "jump", "is_jump", "time_step", "energy", "labels", "truth/vertex"])
def test_damaged_bytes_are_found(file: Path, table: str) -> None:
    overwrite_first_chunk(file, table)
    with pytest.raises(DataError, match=r"truth\.h5 is damaged"):
        list(read_truth(file, 3))


def test_corrupt_files_are_refused(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    for content in (b"", b"not hdf5 at all", *(whole[: len(whole) * part // 10] for part in range(1, 10))):
        (tmp_path / "corrupt.h5").write_bytes(content)
        with pytest.raises(DataError, match=r"corrupt\.h5"):
            list(read_truth(tmp_path / "corrupt.h5", 3))
        with pytest.raises(DataError, match=r"corrupt\.h5"):
            truth_provenance(tmp_path / "corrupt.h5")


def test_neither_kind_of_file_is_taken_for_the_other(file: Path, tmp_path: Path, synthetic_events: Make) -> None:
    with pytest.raises(DataError, match=r"truth\.h5 is not a nubench file of events"):
        read_events(file)
    attributes = EventAttributes("lartpc", CLASSES, 0.38, "nominal", "nominal", {}, {})
    write_events(tmp_path / "events.h5", [synthetic_events(3, 1)], attributes)
    with pytest.raises(DataError, match=r"events\.h5 is not a nubench file of deposits"):
        list(read_truth(tmp_path / "events.h5", 3))
