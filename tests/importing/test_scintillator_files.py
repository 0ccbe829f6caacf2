"""The public scintillator events: where they count from, and how wrong files are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_files import cube_event

from nubench.errors import DataError, UsageError
from nubench.importing.scintillator_files import (
    BoxCheck,
    CubeEvent,
    cube_indices,
    find_cube_files,
    momentum_in_mev,
    read_cube_event,
)


def _write(path: Path, **changes: Any) -> Path:
    content = {name: value for name, value in {**cube_event(1), **changes}.items() if value is not None}
    np.savez(path, **content)
    return path


def test_an_event_is_read_as_it_is(tmp_path: Path) -> None:
    content = cube_event(1)
    event = read_cube_event(_write(tmp_path / "a.npz"))
    assert np.array_equal(event.position, content["reco_hits"][:, :3])
    assert np.array_equal(event.photoelectrons, content["reco_hits"][:, 3])
    assert np.array_equal(event.from_track, content["Tag_Trk"])
    assert event.momentum == content["TrueIniP"]
    vector = read_cube_event(_write(tmp_path / "b.npz", TrueIniP=np.array([[30.0, 0.0, 40.0]])))
    assert vector.momentum == pytest.approx(50.0)


HITS = cube_event(1)["reco_hits"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reco_hits": None}, "lacks the array 'reco_hits'"),
        ({"Tag_Trk": None}, "lacks the array 'Tag_Trk'"),
        ({"TrueIniDir": None}, "lacks the array 'TrueIniDir'"),
        ({"reco_hits": HITS[:, :3]}, r"'reco_hits' must be \(N, 4\); got \(40, 3\)"),
        ({"Tag_Trk": np.ones(7, bool)}, r"7 values of 'Tag_Trk' and 40 'reco_hits' do not match"),
        ({"Tag_Trk": np.arange(40)}, r"row 2: Tag_Trk must be true or false; got 2"),
        ({"reco_hits": np.where(np.arange(40)[:, None] == 3, np.nan, HITS)}, r"row 3: reco_hits must be finite"),
        ({"reco_hits": HITS * [1, 1, 1, -1]}, r"row 0: .* photoelectrons not negative"),
        ({"TrueIniPos": np.zeros(2)}, r"'TrueIniPos' must be 3 finite numbers; got \[0.0, 0.0\]"),
        ({"TrueIniDir": np.zeros(3)}, r"'TrueIniDir' must be a direction"),
        ({"TrueIniP": np.array(0.0)}, r"'TrueIniP' must be above 0"),
        ({"TrueIniP": np.array(np.nan)}, r"'TrueIniP' must be 1 or 3 finite numbers"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = _write(tmp_path / "bad.npz", **changes)
    with pytest.raises(DataError, match=message) as caught:
        read_cube_event(path)
    assert str(path) in str(caught.value)


def _event(position: list[list[float]]) -> CubeEvent:
    hits = np.array(position)
    unit = np.array([0.0, 0.0, 1.0])
    return CubeEvent(hits, np.ones(len(hits)), np.ones(len(hits), bool), unit, unit, 300.0)


def _box(*positions: list[float]) -> BoxCheck:
    box = BoxCheck()
    for position in positions:
        box.add(Path("event.npz"), _event([position]))
    return box


def test_the_origin_is_found_where_the_hits_tell() -> None:
    assert _box([-995.0, 5.0, 5.0], [995.0, 5.0, 5.0]).origin(None) == "centre"
    assert _box([5.0, 1995.0, 5.0]).origin(None) == "corner"
    undecided = _box([5.0, 15.0, 995.0])
    with pytest.raises(DataError, match="may count from its centre or its corner: say which with --origin"):
        undecided.origin(None)
    assert undecided.origin("corner") == "corner"
    with pytest.raises(UsageError, match="--origin must be centre or corner; got 'edge'"):
        undecided.origin("edge")
    with pytest.raises(DataError, match=r"hits lie from -995 to 995 mm; the box is -1000 to 1000 mm \(centre\)"):
        _box([-995.0, 5.0, 995.0]).origin("corner")


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        ([[0.5, 1.5, 3.5]], r"row 0: positions must be in mm and 10 mm apart; .* which is probably in cm"),
        ([[505.0, 505.0, 512.5]], r"row 0: positions must be in mm and 10 mm apart; got \[505.0, 505.0, 512.5\]$"),
        ([[5.0, 5.0, 5.0], [10.0, 10.0, 10.0]], "10 mm apart"),
        ([[-1495.0, 5.0, 5.0], [995.0, 5.0, 5.0]], r"from -1495 to 995 mm do not fit in a box of 2000 mm"),
    ],
)
def test_positions_off_the_grid_or_the_box_are_refused(positions: list[list[float]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        _box(*positions)


def test_positions_become_the_cubes_they_lie_in() -> None:
    centres = np.array([[-995.0, 5.0, 995.0]])
    assert cube_indices(Path("a"), centres, "centre").tolist() == [[-100, 0, 99]]
    assert cube_indices(Path("a"), centres + 1000, "corner").tolist() == [[-100, 0, 99]]
    # Lower edges, in the single precision that files have.
    edges = np.float32([[-1000.0, 0.0, 990.0]]).astype(float) - 1e-5
    assert cube_indices(Path("a"), edges, "centre").tolist() == [[-100, 0, 99]]
    with pytest.raises(DataError, match=r"a: row 0: \[1000.0, 0.0, 0.0\] mm is outside the 200 cubes"):
        cube_indices(Path("a"), np.array([[1000.0, 0.0, 0.0]]), "centre")


def test_momenta_below_ten_are_in_gev() -> None:
    assert momentum_in_mev([0.3, 1.5]) == (1000.0, "GeV/c")
    assert momentum_in_mev([300.0, 5.0]) == (1.0, "MeV/c")


def test_files_outside_of_class_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no file that ends in"):
        find_cube_files(tmp_path)
    _write(tmp_path / "a.npz")
    with pytest.raises(DataError, match=r"a\.npz lies in no folder of a class"):
        find_cube_files(tmp_path)
    with pytest.raises(DataError, match="is not a folder"):
        find_cube_files(tmp_path / "a.npz")
