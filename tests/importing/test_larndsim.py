"""Folders of larnd-sim events: names, voxels, and how wrong files are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_files import write_larndsim_folder, write_voxel_event

from nubench.errors import DataError
from nubench.importing.larndsim_files import find_voxel_files, read_voxel_event


def test_names_say_what_a_file_holds(tmp_path: Path) -> None:
    write_larndsim_folder(tmp_path, {"train": 2, "validation": 1, "test": 1}, throws=[3])
    # The authors keep one folder a point, with splits and classes below.
    (tmp_path / "all").mkdir()
    (tmp_path / "train").rename(tmp_path / "all" / "train")
    files = find_voxel_files(tmp_path)
    found = [(file.split, file.class_name, file.run, file.event, file.point) for file in files]
    expected = [("test", c, 0, 0, p) for c in ("muon", "proton") for p in ("nominal", "throw3")]
    expected += [("train", c, 0, n, "nominal") for c in ("muon", "proton") for n in (0, 1)]
    assert found == [*expected, ("val", "muon", 0, 0, "nominal"), ("val", "proton", 0, 0, "nominal")]
    assert files[0].truth_key == files[1].truth_key


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("test/muon/muon_0.npz", r"muon_0\.npz is not called PARTICLE_edeps_out_I_larndsim_nominal_eventID_N\.npz"),
        ("test/muon/muon_edeps_out_0_larndsim_gain_eventID_1.npz", "is not called"),
        ("tset/muon/muon_edeps_out_0_larndsim_nominal_eventID_1.npz", r"does not lie in \{split\}/\{class\}/"),
        ("test/mu+on/muon_edeps_out_0_larndsim_nominal_eventID_1.npz", r"a class cannot be called 'mu\+on'"),
    ],
)
def test_files_called_or_placed_otherwise_are_named(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).touch()
    with pytest.raises(DataError, match=message):
        find_voxel_files(tmp_path)


def test_an_empty_folder_and_twins_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no \.npz file; expected are"):
        find_voxel_files(tmp_path)
    for folder in ("a", "b"):
        write_voxel_event(tmp_path / folder, "test", "muon", 0, 1)
    with pytest.raises(DataError, match="are the same event at the same point"):
        find_voxel_files(tmp_path)


def test_of_the_hits_in_one_voxel_the_first_stays(tmp_path: Path) -> None:
    # Voxels of 0.38 cm: the second and third hit lie in one, as do the first and the last.
    position = np.array([[0.1, 0.19, 0.19], [0.5, 0.19, 0.19], [0.7, 0.19, 0.19], [-0.1, 0.19, 0.19], [0.2, 0.3, 0.1]])
    path = write_voxel_event(tmp_path, "test", "muon", 0, 1, coordinates=position, adc=np.arange(5) + 90)
    event = read_voxel_event(path)
    assert event.coords.tolist() == [[0, 0, 0], [1, 0, 0], [-1, 0, 0]]
    assert event.adc.tolist() == [90, 91, 93]
    assert event.repeated == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"adc": None}, r"lacks the array 'adc'; it has charge, coordinates, vertex"),
        ({"vertex": None}, r"lacks the array 'vertex'"),
        ({"coordinates": np.zeros((30, 2))}, r"'coordinates' must be \(N, 3\); got \(30, 2\)"),
        ({"adc": np.ones(7)}, r"7 values of 'adc' and 30 'coordinates' do not match"),
        ({"adc": np.where(np.arange(30) == 4, np.nan, 90.0)}, r"row 4: adc must be a finite number.*got nan"),
        ({"adc": np.where(np.arange(30) == 4, -1, 90)}, r"row 4: adc must be .* not negative; got -1"),
        ({"coordinates": np.where(np.arange(30) == 4, np.nan, 1.0)[:, None] * np.ones(3)}, r"row 4: coordinates must"),
        ({"vertex": np.array([0, np.nan, 0])}, r"'vertex' must be three finite numbers; got \[0.0, nan"),
        ({"adc": np.array([{}] * 30, dtype=object)}, r"no readable NumPy archive of plain arrays"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write_voxel_event(tmp_path, "test", "muon", 0, 1, **changes)
    with pytest.raises(DataError, match=message) as caught:
        read_voxel_event(path)
    assert str(path) in str(caught.value)


def test_a_real_run_of_larnd_sim_keeps_its_hits(reference_folder: Path, tmp_path: Path) -> None:
    real = np.load(reference_folder / "larndsim" / "out_muons40_nominal_authorfmt.npz")
    repeated = hits = 0
    for event in np.unique(real["event"]):
        rows = real["event"] == event
        arrays = {"adc": real["adc"][rows], "coordinates": real["coordinates"][rows]}
        read = read_voxel_event(write_voxel_event(tmp_path, "test", "muon", 0, int(event), **arrays))
        repeated += read.repeated
        hits += len(read.adc)
        assert read.step_cm is None or read.step_cm == pytest.approx(0.38, abs=0.02)
    assert hits + repeated == 1462
    assert repeated < 0.05 * 1462  # "a few per cent"
