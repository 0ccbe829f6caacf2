"""Imported data sets from end to end: files in, a scored method out, and nothing left of an import that failed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_files import (
    muons_and_protons,
    segment_columns,
    write_cube_folder,
    write_larndsim_folder,
    write_segments,
    write_voxel_event,
)

from nubench.containers import LabelledEvents
from nubench.datasets.cards import SPLITS
from nubench.datasets.catalogue import card_called, imported_cards
from nubench.datasets.dataset import Dataset
from nubench.errors import DataError, NubenchError, UsageError
from nubench.evaluation.audit import repeated_kinematics
from nubench.evaluation.labels import load_labelled
from nubench.importing.installing import import_dataset
from nubench.importing.plans import ImportPlan, ImportSettings
from nubench.importing.splits import DEFAULT_FRACTIONS
from nubench.plugins.registry import PluginRegistry
from nubench.progress import SilentProgress
from nubench.results.schema import Result
from nubench.runs.request import Request
from nubench.runs.runner import Runner
from nubench.shifts import NOMINAL

Import = Callable[..., tuple[ImportPlan, Dataset]]
SIZES = {"train": 30, "val": 5, "test": 12}


def _settings(format_: str, path: Path, name: str = "borrowed", **more: Any) -> ImportSettings:
    return ImportSettings(**{"format": format_, "path": path, "name": name, "fractions": DEFAULT_FRACTIONS, **more})


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """An empty cache."""
    return tmp_path / "cache"


@pytest.fixture
def run_import(registry: PluginRegistry, cache: Path) -> Import:
    """Import files into the cache with the settings' names and values."""

    def run(
        format_: str, path: Path, overwrite: bool = False, like: str | None = None, **more: Any
    ) -> tuple[ImportPlan, Dataset]:
        return import_dataset(
            _settings(format_, path, **more), registry, cache, SilentProgress(), like=like, overwrite=overwrite
        )

    return run


def _load(dataset: Dataset, split: Any, shift: str, point: str) -> LabelledEvents:
    points = {p.name: p for p in dataset.card.shift(shift).all_points(dataset.card.nominal)}
    return load_labelled(dataset, split, shift, points[point])


def _train(registry: PluginRegistry, cache: Path, shift: str, method: str = "summary-features-shape-only") -> Result:
    request = Request(method, shift, dataset="borrowed", settings={"iterations": 10}, device="cpu")
    return Runner(request, registry, cache, SilentProgress(), processes=1).run(seed=0)


def _accuracy(result: Result, point: int) -> float:
    scores = result.points[point].readouts.get("head")
    assert scores is not None
    return scores.accuracy


def _nothing_is_left(cache: Path) -> bool:
    return not (cache / "imported").exists() or list((cache / "imported").iterdir()) == []


def test_a_folder_of_larndsim_events_becomes_a_data_set_that_runs(
    run_import: Import, registry: PluginRegistry, cache: Path, tmp_path: Path
) -> None:
    plan, dataset = run_import("larnd-sim-npz", write_larndsim_folder(tmp_path / "files", SIZES))
    card = card_called(registry, cache, "borrowed")
    assert card == plan.card
    assert card.class_names == ("muon", "proton")
    assert [particle.pdg for particle in card.classes] == [(13,), (2212,)]
    assert [(point.name, point.parameters) for point in card.shift("throws").points] == [("throw1", {}), ("throw2", {})]
    # There is no adapt folder: a quarter of the 24 test events is set aside.
    assert {split: sum(counts.values()) for split, counts in plan.counts.items()} == {
        "train": 60,
        "val": 10,
        "adapt": 6,
        "test": 18,
    }
    assert "6 test events are set aside" in " ".join(plan.notes)

    nominal, throw = (_load(dataset, "test", "throws", point) for point in (NOMINAL, "throw2"))
    assert np.array_equal(nominal.truth.event_id, throw.truth.event_id)
    assert np.array_equal(nominal.truth.vertex, throw.truth.vertex)
    assert np.all(throw.events.features - nominal.events.features == 20)
    assert len(set(nominal.labels[:9])) == 2  # classes are shuffled
    assert [problem for _, problem in dataset.verify() if problem] == []
    assert repeated_kinematics(dataset) == 0

    result = _train(registry, cache, "throws")
    assert [point.point for point in result.points] == [NOMINAL, "throw1", "throw2"]
    assert [point.events for point in result.points] == [18, 18, 18]
    # 30 voxels against 12.
    assert [_accuracy(result, index) for index in range(3)] == [1.0, 1.0, 1.0]


def test_an_adapt_folder_is_used_as_it_is(run_import: Import, tmp_path: Path) -> None:
    files = write_larndsim_folder(tmp_path / "files", {**SIZES, "adapt": 4})
    plan, dataset = run_import("larnd-sim-npz", files)
    assert plan.counts["adapt"] == {"muon": 4, "proton": 4}
    assert plan.counts["test"] == {"muon": 12, "proton": 12}
    assert len(_load(dataset, "adapt", "throws", "throw1")) == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: write_voxel_event(root, "test", "muon", 0, 0, adc=np.full(30, np.nan)), "row 0: adc must be"),
        (lambda root: [f.unlink() for f in root.rglob("*throw*")], "holds nominal events alone"),
        (lambda root: [f.unlink() for f in (root / "val").rglob("*.npz")], "holds no val events of class 'muon'"),
        (
            lambda root: [f.unlink() for f in (root / "test" / "proton").rglob("*throw2*")],
            "holds no test events of class 'proton' at 'throw2'",
        ),
    ],
)
def test_what_a_larndsim_folder_lacks_is_named(
    change: Callable[[Path], object], message: str, run_import: Import, cache: Path, tmp_path: Path
) -> None:
    files = write_larndsim_folder(tmp_path / "files", SIZES)
    change(files)
    with pytest.raises(DataError, match=message):
        run_import("larnd-sim-npz", files)
    assert _nothing_is_left(cache)


def test_larndsim_coordinates_in_mm_are_recognised(run_import: Import, cache: Path, tmp_path: Path) -> None:
    files = write_larndsim_folder(tmp_path / "files", SIZES)
    for file in files.rglob("*.npz"):
        arrays = dict(np.load(file))
        np.savez(file, **{**arrays, "coordinates": arrays["coordinates"] * 10})
    with pytest.raises(DataError, match=r"3\.8 cm apart across the drift.* probably in mm"):
        run_import("larnd-sim-npz", files)
    assert _nothing_is_left(cache)


@pytest.mark.parametrize("torch_class", [None, "proton"])
def test_scintillator_events_are_split_anew_and_masked(
    torch_class: str | None, run_import: Import, registry: PluginRegistry, cache: Path, tmp_path: Path
) -> None:
    files = write_cube_folder(tmp_path / "files", 40, shared=4, torch_class=torch_class)
    plan, dataset = run_import("scintillator-dicts", files)
    assert plan.notes[0].startswith("80 of 80 events share their true kinematics with another event")
    assert "count from the centre" in plan.notes[1]
    owner: dict[bytes, set[str]] = defaultdict(set)
    for split in SPLITS:
        events = _load(dataset, split, "crosstalk", NOMINAL)
        assert set(events.labels.tolist()) == {0, 1}
        for row in np.column_stack([events.labels, events.truth.vertex, events.truth.direction]):
            owner[row.tobytes()].add(split)
    assert len(owner) == 20
    assert all(len(splits) == 1 for splits in owner.values())
    assert repeated_kinematics(dataset) == 0

    levels = [point.name for point in plan.card.shift("crosstalk").points]
    assert levels[0] == "level-0.00"
    whole = _load(dataset, "test", "crosstalk", NOMINAL)
    none = _load(dataset, "test", "crosstalk", "level-0.00")
    half = _load(dataset, "test", "crosstalk", "level-0.50")
    for events in (whole, none, half):
        assert events.from_track is not None
    # Half of the hits of every event are crosstalk.
    assert len(none.events.coords) * 2 == len(whole.events.coords)
    assert len(none.events.coords) < len(half.events.coords) < len(whole.events.coords)
    assert np.array_equal(none.from_track, np.ones(len(none.events.coords), bool))
    # Sources have events to train on; other levels have not.
    assert len(_load(dataset, "train", "crosstalk", "level-0.25")) > 0
    with pytest.raises(DataError, match="is not built"):
        _load(dataset, "train", "crosstalk", "level-0.10")

    if torch_class is None:
        result = _train(registry, cache, "crosstalk")
        assert [point.point for point in result.points] == [NOMINAL, *levels]
        assert _accuracy(result, 0) == 1.0


def test_scintillator_momenta_become_kinetic_energies(run_import: Import, tmp_path: Path) -> None:
    files = write_cube_folder(tmp_path / "files", 8)
    _, dataset = run_import("scintillator-dicts", files)
    events = _load(dataset, "train", "crosstalk", NOMINAL)
    stated = {round(float(np.load(file)["TrueIniP"]), 2) for file in (files / "proton").iterdir()}
    energy = events.truth.kinetic_energy[events.labels == 1].astype(float)
    momentum = np.sqrt((energy + 938.272) ** 2 - 938.272**2)
    assert {round(float(value), 2) for value in momentum} <= stated


def test_segments_become_deposits_and_the_detector_makes_events_of_them(
    run_import: Import, registry: PluginRegistry, cache: Path, tmp_path: Path
) -> None:
    path = write_segments(tmp_path / "deposits.h5", segment_columns(muons_and_protons(40, steps=30)))
    plan, dataset = run_import("segments", path)
    assert plan.card.class_names == ("muon", "proton")
    assert plan.card.detector == "lartpc"
    assert "throws" in {shift.name for shift in plan.card.shifts}
    assert all(point.physics_list is None for shift in plan.card.shifts for point in shift.points)
    assert sorted(dataset.manifest().files) == [f"truth/{split}.h5" for split in sorted(SPLITS)]
    chunks = [chunk for split in SPLITS for chunk in dataset.truth(split)]
    assert sum(len(chunk.labels) for chunk in chunks) == 40
    energy = sum(chunk.deposits.energy.sum(dtype=float) for chunk in chunks)
    assert energy == pytest.approx(segment_columns(muons_and_protons(40, steps=30))["energy"].sum(), rel=1e-5)

    result = _train(registry, cache, "throws")
    assert [point.point for point in result.points][:2] == [NOMINAL, "throw1"]
    assert result.dataset.name == "borrowed"


def test_deposits_may_be_meant_for_another_detector(run_import: Import, tmp_path: Path) -> None:
    path = write_segments(tmp_path / "deposits.h5", segment_columns(muons_and_protons(20)))
    plan, dataset = run_import("segments", path, like="scintillator")
    assert plan.card.detector == dataset.detector.name == "scintillator"
    assert plan.card.voxel_size_cm == 1.0
    assert "crosstalk" in {shift.name for shift in plan.card.shifts}


def test_folders_of_segments_are_classes(run_import: Import, tmp_path: Path) -> None:
    for label, name in enumerate(("background", "signal")):
        tracks = muons_and_protons(8, first=100 * label)
        write_segments(tmp_path / "files" / name / "a.h5", segment_columns(tracks, seed=label))
    plan, dataset = run_import("segments", tmp_path / "files")
    assert plan.card.class_names == ("background", "signal")
    assert [particle.pdg for particle in plan.card.classes] == [(13, 2212), (13, 2212)]
    labels = np.concatenate([chunk.labels for split in SPLITS for chunk in dataset.truth(split)])
    assert np.bincount(labels).tolist() == [8, 8]


def test_classes_may_be_chosen(run_import: Import, tmp_path: Path) -> None:
    tracks = [*muons_and_protons(20), (20, 11, 30), (21, 321, 30)]
    path = write_segments(tmp_path / "deposits.h5", segment_columns(tracks))
    with pytest.raises(DataError, match=r"class 'electron' has 1 events of 1 different kinematics"):
        run_import("segments", path)
    with pytest.raises(UsageError, match=r"--class 'myon' is none of the classes found: electron, kaon, muon, proton"):
        run_import("segments", path, classes=("myon", "proton"))
    with pytest.raises(DataError, match="holds events of one class, muon"):
        run_import("segments", path, classes=("muon",))
    plan, _ = run_import("segments", path, classes=("muon", "proton"))
    assert "2 events of other classes were left out" in plan.notes


def test_the_same_files_give_the_same_data_set_and_another_seed_another(
    run_import: Import, registry: PluginRegistry, tmp_path: Path
) -> None:
    path = write_segments(tmp_path / "deposits.h5", segment_columns(muons_and_protons(40)))
    sums = []
    for overwrite, seed in ((False, 0), (True, 0), (True, 1)):
        plan, dataset = run_import("segments", path, overwrite, seed=seed)
        assert plan.card.imported is not None
        ids = [chunk.primaries.vertex for chunk in dataset.truth("test")]
        sums.append((plan.card.imported.sha256, np.concatenate(ids).tolist()))
    assert sums[0] == sums[1]
    assert sums[0][0] != sums[2][0]
    assert sums[0][1] != sums[2][1]


def test_a_name_that_is_taken_is_refused_and_an_old_data_set_survives_a_failed_replacement(
    run_import: Import, cache: Path, tmp_path: Path
) -> None:
    columns = segment_columns(muons_and_protons(20))
    path = write_segments(tmp_path / "deposits.h5", columns)
    _, dataset = run_import("segments", path)
    before = {file: record.sha256 for file, record in dataset.manifest().files.items()}
    with pytest.raises(UsageError, match="an imported data set 'borrowed' is already in"):
        run_import("segments", path)
    columns["energy"][30] = -1
    with pytest.raises(DataError, match="dE must not be negative"):
        run_import("segments", write_segments(tmp_path / "bad.h5", columns), overwrite=True)
    assert {file: record.sha256 for file, record in dataset.manifest().files.items()} == before
    assert [entry.name for entry in (cache / "imported").iterdir()] == ["borrowed"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_": "larnd-sim"}, "unknown format 'larnd-sim'.*Known formats: larnd-sim-npz, scintillator-dicts"),
        ({"name": "Borrowed Set"}, "--name 'Borrowed Set' is not accepted"),
        ({"name": "../outside"}, "is not accepted"),
        ({"name": "lartpc"}, "--name 'lartpc' is the name of a data set that is generated"),
        ({"axes": "yxz"}, "--axes 'yxz' is not known"),
        ({"origin": "corner"}, "--origin means nothing to --format segments; it is for scintillator-dicts"),
        ({"adapt_fraction": 0.5}, "--adapt-fraction means nothing to --format segments; it is for larnd-sim-npz"),
        ({"format_": "larnd-sim-npz", "like": "scintillator"}, "--like 'scintillator' is of the detector"),
        ({"like": "lartcp"}, "unknown data set 'lartcp'; did you mean 'lartpc'"),
        ({"format_": "larnd-sim-npz", "axes": "zyx"}, "--axes means nothing to --format larnd-sim-npz"),
    ],
)
def test_wrong_arguments_are_named(
    changes: dict[str, Any], message: str, run_import: Import, cache: Path, tmp_path: Path
) -> None:
    path = write_segments(tmp_path / "deposits.h5", segment_columns(muons_and_protons(20)))
    with pytest.raises(UsageError, match=message):
        run_import(**{"format_": "segments", "path": path, **changes})
    assert _nothing_is_left(cache)


def test_an_import_that_fails_while_it_writes_leaves_nothing(
    run_import: Import, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write_larndsim_folder(tmp_path / "files", SIZES)
    add_events, calls = Dataset.add_events, []

    def failing(self: Dataset, *arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 5:
            raise KeyboardInterrupt
        add_events(self, *arguments)

    monkeypatch.setattr(Dataset, "add_events", failing)
    with pytest.raises(KeyboardInterrupt):
        run_import("larnd-sim-npz", files)
    assert _nothing_is_left(cache)
    assert imported_cards(cache) == []


def test_events_that_are_all_too_small_are_refused(run_import: Import, cache: Path, tmp_path: Path) -> None:
    files = write_larndsim_folder(tmp_path / "files", SIZES)
    for file in (files / "val").rglob("*.npz"):
        arrays = dict(np.load(file))
        np.savez(file, **{**arrays, "adc": arrays["adc"][:2], "coordinates": arrays["coordinates"][:2]})
    with pytest.raises(NubenchError, match=r"no event of val/nominal has 4 hits or more"):
        run_import("larnd-sim-npz", files)
    assert _nothing_is_left(cache)
