"""HDF5 files made to hurt whoever reads them: refused with a reason, in bounded time and memory."""

from __future__ import annotations

import lzma
import random
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from damage import KINDS, damaged
from hypothesis import given, settings
from hypothesis import strategies as st

from nubench.containers import LabelledEvents
from nubench.errors import DataError
from nubench.events import foreign_files
from nubench.events.event_files import EventAttributes, read_attributes, read_events, write_events
from nubench.importing.segments import read_segments

Make = Callable[..., LabelledEvents]
ATTRIBUTES = EventAttributes("lartpc", ("a", "b", "c"), 0.38, "nominal", "nominal", {"gain": 4.0}, {"card": "x"})
SEGMENT = [(name, "f4") for name in ("dE", "dx", "t0")] + [(name, "i4") for name in ("eventID", "trackID", "pdgId")]
SEGMENT += [(f"{axis}_{end}", "f4") for axis in "xyz" for end in ("start", "end")]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile") / "events.h5"


@pytest.fixture
def events(path: Path, synthetic_events: Make) -> Path:
    write_events(path, [synthetic_events(20, 1)], ATTRIBUTES)
    return path


def refuse(path: Path, message: str, read: Callable[[Path], Any] = read_events) -> None:
    """Reading raises, names the file, and takes less than 300 MB more than what was taken before."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


def test_a_table_that_unpacks_to_a_thousand_times_the_file_is_refused(events: Path) -> None:
    with h5py.File(events, "r+") as file:
        del file["features"]
        file.create_dataset("features", data=np.zeros((40_000_000, 1), np.float32), chunks=(65_536, 1), compression=9)
    assert events.stat().st_size < 1_000_000
    refuse(events, r"table 'features' (claims 40000000 rows; only \d+ bytes are stored|has 40000000 rows)")


def test_a_piece_larger_than_memory_is_refused(events: Path) -> None:
    with h5py.File(events, "r+") as file:
        rows = len(file["features"])
        del file["features"]
        file.create_dataset("features", (rows, 1), np.float32, chunks=(500_000_000, 1), maxshape=(None, 1))
        file["features"].id.write_direct_chunk((0, 0), b"few bytes")
        file.create_dataset("filler", data=np.random.default_rng(0).integers(0, 256, 20_000_000, np.uint8))
    refuse(events, r"table 'features' (is stored in pieces of 2,000,000,000 bytes|claims \d+ rows)")


def test_links_in_a_circle_and_tables_that_are_groups_are_refused(events: Path) -> None:
    with h5py.File(events, "r+") as file:
        del file["features"]
        file["features"] = h5py.SoftLink("/other")
        file["other"] = h5py.SoftLink("/features")
    refuse(events, "table 'features' is|too many links")
    with h5py.File(events, "r+") as file:
        del file["features"]
        file.create_group("features")["again"] = file["/"]
    refuse(events, "table 'features' is missing")


@pytest.mark.parametrize("name", ["classes", "parameters", "provenance"])
def test_attributes_without_measure_are_refused(events: Path, name: str) -> None:
    long = "x" * 60_000
    for value in ([long] * 3_000, '{"a": ' + "[" * 20_000 + "}", '{"a": NaN}', 7, "[]", np.zeros((2, 2, 2))):
        with h5py.File(events, "r+") as file:
            del file.attrs[name]
            try:
                file.attrs[name] = value
            except (OSError, RuntimeError):  # too large for an attribute
                file.attrs[name] = 7
        refuse(events, "attribute missing or unreadable|is damaged")


@pytest.mark.parametrize("table", ["segments", "trajectories"])
def test_a_foreign_table_of_a_million_million_rows_is_refused(tmp_path: Path, table: str) -> None:
    path = tmp_path / "segments.h5"
    with h5py.File(path, "w") as file:
        if table == "trajectories":
            file["segments"] = np.zeros(3, SEGMENT)
        file.create_dataset(table, (10**12,), SEGMENT, chunks=(1000,), compression=1)
    refuse(path, f"table '{table}' claims 1000000000000 rows", lambda path: list(read_segments(path)))
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["segments"] = np.zeros(3, SEGMENT)
    with h5py.File(path, "w") as file:
        file["segments"] = h5py.ExternalLink("other.h5", "/segments")
    refuse(path, "table 'segments' is not stored in the file", lambda path: list(read_segments(path)))


def test_damaged_files_of_events_are_read_the_same_or_refused(events: Path) -> None:
    """Without a checksum beside it, a file can say other numbers; it cannot end the program or fill the memory."""
    content, draw = events.read_bytes(), random.Random(5)
    ended = {"read": 0, "refused": 0}
    for _ in range(120):
        events.write_bytes(damaged(draw.choice(KINDS), content, [b"\x89HDF\r\n\x1a\n" + bytes(500)], draw))
        try:
            found = read_events(events)
        except DataError:
            ended["refused"] += 1
        else:
            assert len(found.labels) == len(found.events)
            assert np.isfinite(found.events.features).all()
            ended["read"] += 1
    assert ended["refused"] > 40


@settings(max_examples=30)
@given(content=st.binary(max_size=2_000))
def test_any_bytes_are_refused(path: Path, content: bytes) -> None:
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + content)
    with pytest.raises(DataError, match=r"events\.h5"):
        read_events(path)


FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("events-that-ask-for-memory", "damaged: .*(memory|more than 1024 MB)"),
        ("events-that-never-end", "damaged: reading its attributes took longer than 3 s"),
    ],
)
def test_what_the_library_cannot_stand_is_stopped(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign_files, "SECONDS", 3.0)
    path = tmp_path / "events.h5"
    path.write_bytes(lzma.decompress((FIXTURES / f"{name}.h5.xz").read_bytes()))
    refuse(path, message, foreign_files.read_foreign_attributes)


def test_an_event_file_of_a_stranger_says_what_it_says(events: Path, tmp_path: Path) -> None:
    assert foreign_files.read_foreign_attributes(events) == read_attributes(events)
    with pytest.raises(DataError, match="does not exist"):
        foreign_files.read_foreign_attributes(tmp_path / "absent.h5")
