"""`nubench simulate`, `nubench data import` and `nubench data fetch` as a user meets them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from nubench.cli import app
from nubench.events.store import read_attributes, read_events

ROWS = 600


def nubench(*arguments: str | Path, **environment: str) -> Result:
    # In this process: what is imported and compiled serves all tests.
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env=environment)


def _deposits(path: Path, z: float = 640.0, **columns: Any) -> Path:
    """Twelve tracks of 5 cm, muons and protons, with a segment that leaves nothing."""
    event = np.repeat(np.arange(12), ROWS // 12)
    rng = np.random.default_rng(3)
    direction = rng.normal(size=(12, 3))
    direction /= np.linalg.norm(direction, axis=1)[:, None]
    step = np.tile(np.arange(ROWS // 12), 12)[:, None] * 0.1
    start = np.array([5.0, 0.0, z]) + rng.uniform(-9, 9, (12, 3))[event] + step * direction[event]
    values = {
        "eventID": event,
        "trackID": np.zeros(ROWS),
        "pdgId": np.where(event % 2, 13, 2212),
        "dE": np.where(event % 2, 0.21, 0.8),
        "dx": np.full(ROWS, 0.1),
        **{f"{axis}_start": start[:, index] for index, axis in enumerate("xyz")},
        **{f"{axis}_end": (start + 0.1 * direction[event])[:, index] for index, axis in enumerate("xyz")},
        **columns,
    }
    values["dE"][7] = 0.0
    kinds = {"eventID": "u4", "trackID": "u4", "pdgId": "i4"}
    rows = np.empty(ROWS, [(name, kinds.get(name, "f4")) for name in values])
    for name, column in values.items():
        rows[name] = column
    with h5py.File(path, "w") as file:
        file["segments"] = rows
    return path


def test_a_file_of_segments_becomes_a_file_of_events(tmp_path: Path) -> None:
    deposits, out = _deposits(tmp_path / "deposits.h5"), tmp_path / "new" / "events.h5"
    done = nubench("simulate", "lartpc", "--deposits", deposits, "--out", out, "--set", "v_pedestal=464", "--seed", "5")
    assert done.exit_code == 0, done.stderr
    events, attributes = read_events(out), read_attributes(out)
    assert f"12 events of muon, proton: 302.2 MeV deposited, {len(events.events.coords)} hits" in done.stdout
    assert "1 segments without energy were left out" in done.stdout
    assert attributes.detector == "lartpc"
    assert attributes.classes == ("muon", "proton")
    assert attributes.parameters["v_pedestal"] == 464
    assert attributes.parameters["gain"] == 4.0  # all parameters stand in the file, also the nominal ones
    assert attributes.provenance["noise_seed"] == 5
    assert events.truth.event_id.tolist() == list(range(12))
    assert events.labels.tolist() == [1, 0] * 6
    # (464 - 288) / 1012 of 256 counts: without charge a pixel reads 44.5, at the nominal pedestal it reads 73.9.
    assert 44 < events.events.features.min() < 70

    again = nubench("simulate", "lartpc", "--deposits", deposits, "--out", out)
    assert again.exit_code == 2
    assert f"--out '{out}' exists; choose another name, or --force to replace it" in again.stderr
    forced = nubench("simulate", "lartpc", "--deposits", deposits, "--out", out, "--force")
    assert forced.exit_code == 0, forced.stderr
    assert read_events(out).events.features.min() > 73


def test_cubes_are_simulated_too_and_say_which_hits_are_the_track(tmp_path: Path) -> None:
    out = tmp_path / "events.h5"
    done = nubench("simulate", "scintillator", "--deposits", _deposits(tmp_path / "a.h5", z=0.0), "--out", out)
    assert done.exit_code == 0, done.stderr
    events = read_events(out)
    assert events.from_track is not None
    assert 0 < events.from_track.sum() < len(events.from_track)


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (("--set", "v_pedestl=1"), 2, "unknown LArTPC parameter 'v_pedestl'; did you mean 'v_pedestal'"),
        (("--set", "gain=-1"), 2, "gain must be above 0; got -1.0"),
        (("--set", "gain=much"), 2, "gain must be a number; got 'much'"),
        (("--axes", "yxz"), 2, "--axes 'yxz' is not known; known are: xyz (x is the drift axis"),
        (("--seed", "-1"), 2, "--seed"),
    ],
)
def test_wrong_options_are_named(more: tuple[str, ...], code: int, message: str, tmp_path: Path) -> None:
    out = tmp_path / "events.h5"
    done = nubench("simulate", "lartpc", "--deposits", _deposits(tmp_path / "deposits.h5"), "--out", out, *more)
    assert done.exit_code == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists()


def test_a_file_that_cannot_be_simulated_leaves_nothing(tmp_path: Path) -> None:
    loss = np.full(ROWS, 0.21)
    loss[ROWS - 2] = np.nan
    bad = _deposits(tmp_path / "bad.h5", dE=loss)
    far = _deposits(tmp_path / "far.h5", z=640.0)
    cases = {
        ("lartpc", bad): f"bad.h5: row {ROWS - 2} (event 11): dE must be a finite number",
        ("scintillator", far): "no event gives a hit in the detector 'scintillator': the primaries start from",
        ("lartcp", far): "unknown detector 'lartcp'; did you mean 'lartpc'",
        ("lartpc", tmp_path / "absent.h5"): "absent.h5 does not exist",
    }
    for (detector, deposits), message in cases.items():
        done = nubench("simulate", detector, "--deposits", deposits, "--out", tmp_path / "new" / "events.h5")
        assert done.exit_code == (1 if deposits in (bad, far) and "unknown" not in message else 2)
        assert message in done.stderr
        assert "Traceback" not in done.stderr
    assert list(tmp_path.rglob("*events*")) == []
    same = nubench("simulate", "lartpc", "--deposits", far, "--out", far, "--force")
    assert same.exit_code == 2
    assert "is the file of --deposits" in same.stderr


@pytest.mark.parametrize(
    ("file", "lowest", "highest"),
    [
        # larnd-sim gave 1,462 hits for the 1,096.9 MeV of these muons: 1.333 a MeV.
        ("larndsim/in_muons40.h5", 1.28, 1.40),
        ("edepsim/edepsim_test_inputs_10ev.h5", 1.2, 1.5),
        # Hadrons, whose dense charge recombines and shares pixels.
        ("edepsim/edepsim_mixed_mpvmpr_100ev.h5", 0.8, 1.3),
    ],
)
def test_real_segments_give_about_as_many_hits_as_larnd_sim(
    file: str, lowest: float, highest: float, tmp_path: Path
) -> None:
    folder = Path(os.environ.get("NUBENCH_REFERENCE", Path(__file__).parents[2] / "shared" / "reference"))
    if not folder.is_dir():
        pytest.skip(f"no reference data at {folder}; set NUBENCH_REFERENCE to the folder that holds edepsim/")
    done = nubench("simulate", "lartpc", "--deposits", folder / file, "--out", tmp_path / "events.h5")
    assert done.exit_code == 0, done.stderr
    found = re.search(r"hits, ([\d.]+) a MeV", done.stdout)
    assert found
    assert lowest < float(found[1]) < highest


def test_an_imported_data_set_is_trained_on(tmp_path: Path) -> None:
    deposits, cache = _deposits(tmp_path / "deposits.h5"), tmp_path / "cache"
    done = nubench(
        *("data", "import", "--format", "segments", deposits, "--name", "mine", "--cache", cache),
        *("--fractions", "0.4,0.2,0.2,0.2"),
    )
    assert done.exit_code == 0, done.stderr
    assert "12 events have no trajectories: their primary is the particle of the lowest track id" in done.stdout
    assert "1 segments without energy were left out" in done.stdout
    assert "nubench run --method supcon --dataset mine --shift throws" in done.stdout
    run = nubench(
        *("run", "--dataset", "mine", "--shift", "throws", "--method", "summary-features-shape-only"),
        *("--cache", cache, "--leaderboards", tmp_path / "boards", "--set", "iterations=5"),
    )
    assert run.exit_code == 0, run.stderr
    assert "throw6" in run.stdout
    again = nubench(*("data", "import", "--format", "segments", deposits, "--name", "mine", "--cache", cache))
    assert again.exit_code == 2
    assert "an imported data set 'mine' is already in" in again.stderr
    verified = nubench("data", "verify", "mine", "--cache", cache)
    assert verified.exit_code == 0, verified.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--format", "segment", "a.h5", "--name", "mine"), "unknown format 'segment'; did you mean 'segments'"),
        (("--format", "segments", "absent.h5", "--name", "mine"), "absent.h5 does not exist"),
        (("--format", "segments", "a.h5", "--name", "lartpc"), "is the name of a data set that is generated"),
        (("--format", "segments", "a.h5", "--name", "m", "--fractions", "1"), "--fractions must be four numbers"),
        (("--format", "segments", "a.h5", "--name", "m", "--like", "lartcp"), "unknown data set 'lartcp'"),
        (("a.h5", "--name", "mine"), "--format"),
    ],
)
def test_wrong_imports_are_named(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    done = nubench("data", "import", *arguments, "--cache", tmp_path)
    assert done.exit_code == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.glob("imported/*")) == []


def test_a_download_without_a_network_says_what_to_do(tmp_path: Path) -> None:
    # A proxy on a port where nobody listens stands for a machine without a network.
    dead = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    done = nubench("data", "fetch", "segmented-cube", "--cache", tmp_path, **dead, NO_PROXY="", no_proxy="")
    assert done.exit_code == 1
    assert "cannot download segmented-cube from https://doi.org/10.5281/zenodo.10998285" in done.stderr
    assert "nubench data import --format scintillator-dicts FOLDER --name segmented-cube" in done.stderr
    assert "Traceback" not in done.stderr
