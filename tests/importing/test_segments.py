"""Segment files of edep-sim and larnd-sim: what they become, and how they are refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from foreign_files import Dialect, muons_and_protons, segment_columns, write_segments, write_trajectories
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from nubench.containers import Deposits, Primaries
from nubench.errors import DataError, UsageError
from nubench.importing.segments import SegmentEvents, read_segments
from nubench.simulation.particle_gun import MASSES

Columns = dict[str, np.ndarray]
TRACKS = muons_and_protons(6)


def _read(path: Path, **more: object) -> tuple[Primaries, Deposits, list[SegmentEvents]]:
    parts = list(read_segments(path, **more))  # type: ignore[arg-type]
    return (
        Primaries.concatenate([part.primaries for part in parts]),
        Deposits.concatenate([part.deposits for part in parts]),
        parts,
    )


@pytest.mark.parametrize(
    "dialect",
    [
        Dialect(),
        Dialect(table="tracks"),
        Dialect(event="event_id", track="traj_id", pdg="pdg_id", time="t0"),
        Dialect(time=None),
    ],
    ids=["edep-sim", "old larnd-sim", "new larnd-sim", "no time"],
)
def test_every_dialect_gives_the_same_deposits(dialect: Dialect, tmp_path: Path) -> None:
    columns = segment_columns(TRACKS)
    primaries, deposits, _ = _read(write_segments(tmp_path / "a.h5", columns, dialect))
    assert primaries.event_id.tolist() == [event for event, _, _ in TRACKS]
    assert primaries.pdg.tolist() == [pdg for _, pdg, _ in TRACKS]
    assert np.diff(deposits.offsets).tolist() == [steps for _, _, steps in TRACKS]
    assert np.array_equal(deposits.start, columns["start"].astype(np.float32))
    assert np.array_equal(deposits.end, columns["end"].astype(np.float32))
    assert np.array_equal(deposits.energy, columns["energy"].astype(np.float32))
    assert not deposits.time.any()  # all at the same moment, which is the birth of the primary


def test_what_is_not_stated_is_guessed_from_the_first_track(tmp_path: Path) -> None:
    columns = segment_columns(TRACKS)
    primaries, deposits, parts = _read(write_segments(tmp_path / "a.h5", columns))
    first = deposits.offsets[:-1]
    assert all(part.guessed for part in parts)
    assert np.array_equal(primaries.vertex, deposits.start[first])
    step = deposits.end[first] - deposits.start[first]
    assert primaries.direction == pytest.approx(step / np.linalg.norm(step, axis=1)[:, None], abs=1e-3)
    assert primaries.kinetic_energy == pytest.approx(np.add.reduceat(deposits.energy, first))


def test_the_primary_is_the_lowest_track_wherever_its_rows_stand(tmp_path: Path) -> None:
    columns = segment_columns([(0, 13, 60)])
    columns["track"][:30], columns["pdg"][:30] = 7, 11
    primaries, _, _ = _read(write_segments(tmp_path / "a.h5", columns))
    assert primaries.pdg.tolist() == [13]
    assert primaries.vertex[0] == pytest.approx(columns["start"][30], abs=1e-4)


def test_times_count_from_the_first_deposit_of_each_event(tmp_path: Path) -> None:
    columns = segment_columns([(0, 13, 30), (1, 13, 30)])
    columns["time"] = np.concatenate([1.2e6 + np.arange(30) * 0.5, 2.4e6 + np.arange(30)[::-1] * 0.25])
    _, deposits, _ = _read(write_segments(tmp_path / "a.h5", columns, Dialect(time="t0")))
    assert deposits.time[:30] == pytest.approx(np.arange(30) * 0.5)
    assert deposits.time[30:] == pytest.approx(np.arange(30)[::-1] * 0.25)


@pytest.mark.parametrize("with_energy", [True, False])
def test_trajectories_state_the_primary(with_energy: bool, tmp_path: Path) -> None:
    path = write_segments(tmp_path / "a.h5", segment_columns([(0, 11, 30), (3, 13, 30)]))
    momenta = {0: np.array([0.0, 30.0, 40.0]), 3: np.array([300.0, 0.0, 0.0])}
    codes = {0: 22, 3: -13}
    rows = []
    for event, momentum in momenta.items():
        mass = MASSES[abs(codes[event])]
        common = {"eventID": event, "xyz_start": [1.0, 2.0, 630.0 + event], "pxyz_start": momentum}
        total = np.hypot(np.linalg.norm(momentum), mass)
        rows.append({**common, "trackID": 1, "parentID": 0, "pdgId": 11, "E_start": 5.0})
        rows.append({**common, "trackID": 0, "parentID": -1, "pdgId": codes[event], "E_start": total})
        rows.append({**common, "trackID": 2, "parentID": -1, "pdgId": 2212, "E_start": total})
    write_trajectories(path, rows, with_energy)
    primaries, _, parts = _read(path)
    assert not any(part.guessed for part in parts)
    assert primaries.pdg.tolist() == [22, -13]
    assert primaries.vertex.tolist() == [[1, 2, 630], [1, 2, 633]]
    assert primaries.direction == pytest.approx(np.array([[0, 0.6, 0.8], [1, 0, 0]]))
    # T = sqrt(p^2 + m^2) - m of a muon of 300 MeV/c: 212.4 MeV.
    assert primaries.kinetic_energy == pytest.approx([50.0, 212.4], rel=1e-3)


def test_z_may_be_the_drift_axis(tmp_path: Path) -> None:
    columns = segment_columns(TRACKS)
    _, ours, _ = _read(write_segments(tmp_path / "a.h5", columns))
    swapped = write_segments(tmp_path / "b.h5", columns, axes="zyx")
    _, theirs, _ = _read(swapped, axes="zyx")
    assert np.array_equal(ours.start, theirs.start)
    with pytest.raises(UsageError, match=r"--axes 'yxz' is not known; known are: xyz \(x is the drift axis"):
        _read(swapped, axes="yxz")


def test_points_are_kept_and_segments_without_energy_are_counted(tmp_path: Path) -> None:
    columns = segment_columns([(0, 13, 60), (1, 13, 3)])
    columns["end"][5] = columns["start"][5]
    columns["length"][5] = 0
    columns["energy"][10:14] = 0
    columns["energy"][60:] = 0
    primaries, deposits, parts = _read(write_segments(tmp_path / "a.h5", columns))
    assert sum(part.without_energy for part in parts) == 7
    assert np.diff(deposits.offsets).tolist() == [56, 0]
    assert np.array_equal(deposits.start[5], deposits.end[5])
    assert len(primaries) == 2


@hypothesis_settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    rows_a_block=st.integers(1, 200),
)
def test_blocks_change_nothing(sizes: list[int], rows_a_block: int, tmp_path: Path) -> None:
    tracks = [(3 * number, 13, size) for number, size in enumerate(sizes)]
    path = write_segments(tmp_path / "a.h5", segment_columns(tracks))
    primaries, deposits, _ = _read(path)
    again, blocks, _ = _read(path, rows_a_block=rows_a_block)
    assert np.array_equal(deposits.offsets, blocks.offsets)
    assert np.array_equal(deposits.start, blocks.start)
    for name in Primaries.__slots__:
        assert np.array_equal(getattr(primaries, name), getattr(again, name)), name


def _set(name: str, row: int, value: float) -> Callable[[Columns], None]:
    def change(columns: Columns) -> None:
        columns[name][row] = value

    return change


def _scale(factor: float, *names: str) -> Callable[[Columns], None]:
    def change(columns: Columns) -> None:
        for name in names:
            columns[name] = columns[name] * factor

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("energy", 70, np.nan), r"row 70 \(event 1\): dE must be a finite number, in MeV; got nan"),
        (_set("energy", 70, -0.5), r"row 70 \(event 1\): dE must not be negative; got -0.5"),
        (_set("energy", 70, 2e6), r"row 70 \(event 1\): dE must be at most 1e\+06 MeV"),
        (_set("length", 3, np.inf), r"row 3 \(event 0\): dx must be a finite number, in cm; got inf"),
        (_set("length", 3, -0.1), r"row 3 \(event 0\): dx must not be negative; got -0.1"),
        (_set("time", 3, np.nan), r"row 3 \(event 0\): t must be a finite number"),
        (_set("start", 3, np.nan), r"row 3 \(event 0\): start must lie within 10000 cm .* got \[nan, nan, nan\]"),
        (_set("end", 3, 4e4), r"row 3 \(event 0\): end must lie within 10000 cm .* got \[40000.0, 40000.0"),
        (_set("pdg", 64, 10), r"row 64 \(event 1\): the particle code is not known; got 10"),
        (_set("pdg", 64, 1001), r"the particle code is not known; got 1001"),
        (_scale(10, "start", "end", "length"), r"0.\d+ MeV/cm .* less than a minimum ionising .* probably in mm"),
        (_scale(10, "start", "end"), r"dx is 0.1 times the distance .* the positions are in mm where dx is in cm"),
        (_scale(10, "length"), r"dx is 10 times the distance .* dx is in mm"),
        (_scale(1000, "energy"), r"MeV/cm .* more than any particle can: dE is probably in keV"),
        (_set("event", 100, 0), r"row 100: event 0 goes on here after rows of other events"),
    ],
)
def test_what_cannot_be_is_refused_with_file_row_and_value(
    change: Callable[[Columns], None], message: str, tmp_path: Path
) -> None:
    columns = segment_columns(TRACKS)
    change(columns)
    path = write_segments(tmp_path / "bad.h5", columns)
    with pytest.raises(DataError, match=message) as caught:
        _read(path)
    assert str(path) in str(caught.value)
    # Wherever a block ends, the row is counted from the start of the file.
    with pytest.raises(DataError, match=re.escape(str(path))) as again:
        _read(path, rows_a_block=50)
    row = re.search(r"row \d+", str(caught.value))
    assert row is None or row.group() in str(again.value)


@pytest.mark.parametrize("column", ["eventID", "trackID", "pdgId", "dE", "dx", "y_start"])
def test_a_missing_column_is_named_with_those_that_are_there(column: str, tmp_path: Path) -> None:
    path = write_segments(tmp_path / "bad.h5", segment_columns(TRACKS), leave_out=[column])
    with pytest.raises(DataError, match=rf"lacks the column '{column}'.*it has .*x_start"):
        _read(path)


@pytest.mark.parametrize("kind", ["S4", "(2,)f8", "O"])
def test_a_column_that_holds_no_numbers_is_named(kind: str, tmp_path: Path) -> None:
    path = write_segments(tmp_path / "a.h5", segment_columns(TRACKS))
    with h5py.File(path, "r+") as file:
        rows = file["segments"][:]
        other = h5py.string_dtype() if kind == "O" else kind
        replaced = np.dtype([(name, other if name == "dE" else rows.dtype[name]) for name in rows.dtype.names])
        del file["segments"]
        changed = np.zeros(len(rows), replaced)
        changed["dE"] = "1" if kind == "O" else 1
        file["segments"] = changed
    with pytest.raises(DataError, match=r"a\.h5: column 'dE' of '/segments' must hold a number a row; it is"):
        _read(path)


def test_names_of_tables_that_are_no_text_are_listed_all_the_same(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file[b"pic\x92ures"] = np.zeros(3)
        file["other"] = np.zeros(3)
    with pytest.raises(DataError, match=r"no segment file: .* it holds b'pic.x92ures', other"):
        _read(tmp_path / "a.h5")


def test_names_of_columns_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = write_segments(tmp_path / "a.h5", segment_columns(TRACKS))
    path.write_bytes(path.read_bytes().replace(b"pdgId", b"pdg\x92d"))
    with pytest.raises(DataError, match=r"a\.h5: table 'segments' is unreadable: .*can't decode byte 0x92"):
        _read(path)


def test_foreign_and_damaged_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        _read(tmp_path / "absent.h5")
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(DataError, match=r"text\.h5 is not a readable HDF5 file"):
        _read(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["hits"] = np.zeros(3)
    with pytest.raises(DataError, match=r"no table 'segments' or 'tracks'; it holds hits"):
        _read(tmp_path / "other.h5")
    whole = write_segments(tmp_path / "whole.h5", segment_columns(TRACKS)).read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cut\.h5"):
        _read(tmp_path / "cut.h5")
    write_segments(tmp_path / "empty.h5", {name: column[:0] for name, column in segment_columns(TRACKS).items()})
    with pytest.raises(DataError, match=r"the table 'segments' is empty"):
        _read(tmp_path / "empty.h5")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pdgId": 5}, "particle code 5"),
        ({"pxyz_start": [np.nan, 0, 0]}, r"pxyz_start \[nan"),
        ({"pxyz_start": [0, 0, 0]}, r"pxyz_start \[0.0"),
        ({"E_start": 10.0}, "total energy E_start of 10.0 MeV and a momentum of 200"),
        ({"parentID": 3}, "event 0 has segments but no trajectory without a parent"),
    ],
)
def test_a_primary_that_cannot_be_is_refused(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    path = write_segments(tmp_path / "bad.h5", segment_columns([(0, 13, 30)]))
    row = {"eventID": 0, "trackID": 0, "parentID": -1, "pdgId": 13, "E_start": 226.2}
    write_trajectories(path, [{**row, "pxyz_start": [200, 0, 0], "xyz_start": [0, 0, 0], **changes}])
    with pytest.raises(DataError, match=message):
        _read(path)


@pytest.mark.parametrize(
    ("file", "events", "rows", "energy"),
    [
        ("edepsim/edepsim_mixed_mpvmpr_100ev.h5", 100, 73_789, 113_666.7),
        ("edepsim/edepsim_test_inputs_10ev.h5", 10, 2_736, 5_314.7),
        ("larndsim/in_muons40.h5", 40, 5_226, 1_096.9),
    ],
)
def test_real_files_are_read(file: str, events: int, rows: int, energy: float, reference_folder: Path) -> None:
    primaries, deposits, _ = _read(reference_folder / file)
    with h5py.File(reference_folder / file) as content:
        table = content["segments"][:]
    assert len(primaries) == events
    assert len(deposits.energy) == rows
    assert deposits.energy.sum(dtype=np.float64) == pytest.approx(energy, rel=1e-4)
    assert np.array_equal(deposits.start[:, 0], table["x_start"])
    assert np.array_equal(deposits.end[:, 2], table["z_end"])
