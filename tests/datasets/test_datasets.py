from __future__ import annotations

import multiprocessing
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nubench.containers import LabelledEvents
from nubench.datasets import building as dataset_building
from nubench.datasets import dataset as datasets
from nubench.datasets.cards import SPLITS, Imported, read_card
from nubench.datasets.catalogue import imported_cards
from nubench.datasets.dataset import Dataset
from nubench.errors import DataError, UsageError
from nubench.evaluation.labels import load_labelled, load_labelled_file, load_labels
from nubench.events.store import holds_labels, read_attributes, write_events
from nubench.plugins.discovery import load_plugins
from nubench.progress import SilentProgress
from nubench.shifts import Shift, ShiftPoint
from nubench.simulation.geant4 import find_data


def _open(plugin: Path, cache: Path, processes: int = 2) -> Dataset:
    registry = load_plugins([plugin])
    card = read_card(registry.card("tiny").thing)
    detector = registry.detector(card.detector).thing
    return Dataset(card, "smoke", detector, cache, find_data(cache), processes)


def _points(dataset: Dataset, *names: str) -> tuple[ShiftPoint, ...]:
    return tuple(p for p in dataset.card.shift("throws").all_points(dataset.card.nominal) if p.name in names)


@pytest.fixture(scope="module")
def built(tiny_plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    dataset = _open(tiny_plugin, tmp_path_factory.mktemp("built"))
    dataset.build(SPLITS, "throws", _points(dataset, "nominal", "throw2"), SilentProgress())
    return dataset


@pytest.fixture
def copy(built: Dataset, tmp_path: Path) -> Dataset:
    """The built data set in a cache that a test may damage."""
    shutil.copytree(built.cache, tmp_path / "cache")
    return replace(built, cache=tmp_path / "cache")


def _sums(dataset: Dataset) -> dict[str, str]:
    return {file: record.sha256 for file, record in dataset.manifest().files.items()}


def test_what_is_asked_for_is_built_and_nothing_else(built: Dataset) -> None:
    files = {str(path.relative_to(built.directory)) for path in built.directory.rglob("*.h5")}
    both = {f"{split}/{point}.h5" for split in ("adapt", "test") for point in ("nominal", "throws/throw2")}
    assert files == both | {f"labels/{file}" for file in both} | {"train/nominal.h5", "val/nominal.h5"} | {
        f"truth/{split}.h5" for split in SPLITS
    }
    assert set(built.manifest().files) == files
    assert list(built.directory.rglob("*.partial")) == []


def test_a_throw_shows_the_same_truth_events_with_other_charge(built: Dataset) -> None:
    nominal, throw = (load_labelled(built, "test", "throws", point) for point in _points(built, "nominal", "throw2"))
    common, first, second = np.intersect1d(nominal.truth.event_id, throw.truth.event_id, return_indices=True)
    assert len(common) >= 0.9 * len(nominal)
    assert np.array_equal(nominal.truth.kinetic_energy[first], throw.truth.kinetic_energy[second])
    assert np.array_equal(nominal.labels[first], throw.labels[second])
    # throw2 lifts the pedestal by 2.06 sigma: about 60 counts.
    assert throw.events.features.mean() - nominal.events.features.mean() == pytest.approx(62, abs=5)


def test_every_event_has_more_than_three_hits_and_the_others_are_counted(built: Dataset) -> None:
    for split in SPLITS:
        point = _points(built, "nominal")[0]
        events = built.events(split, "throws", point)
        assert events.voxels_per_event.min() > 3
        (record,) = built.records((split,), "throws", (point,)).values()
        assert record.events + record.dropped == 5 * getattr(built.card.sizes_of("smoke"), split)


def test_no_true_kinematics_stand_in_two_splits(built: Dataset) -> None:
    point = _points(built, "nominal")[0]
    rows = [load_labelled(built, split, "throws", point).truth for split in SPLITS]
    energies = np.concatenate([truth.kinetic_energy for truth in rows])
    ids = np.concatenate([truth.event_id for truth in rows])
    assert len(np.unique(energies)) == len(energies)
    assert len(np.unique(ids)) == len(ids)


def test_finished_files_are_never_built_again(built: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("built again")

    monkeypatch.setattr(dataset_building, "generate", forbidden)
    monkeypatch.setattr(datasets, "write_events", forbidden)
    built.build(SPLITS, "throws", _points(built, "nominal", "throw2"), SilentProgress())


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "swap"])
def test_a_damaged_file_is_named_and_made_again_once_removed(copy: Dataset, damage: str) -> None:
    before = _sums(copy)
    path = copy.directory / "test/throws/throw2.h5"
    point = _points(copy, "throw2")[0]
    content = path.read_bytes()
    if damage == "flip":
        path.write_bytes(content[:5000] + bytes([content[5000] ^ 1]) + content[5001:])
    elif damage == "truncate":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "swap":
        shutil.copy(copy.directory / "test/nominal.h5", path)
    else:
        path.unlink()

    with pytest.raises(DataError, match=r"throw2\.h5"):
        copy.events("test", "throws", point)
    problems = {file: problem for file, problem in copy.verify() if problem}
    assert list(problems) == ["test/throws/throw2.h5"]

    path.unlink(missing_ok=True)
    copy.build(("test",), "throws", (point,), SilentProgress())
    assert _sums(copy) == before
    assert len(copy.events("test", "throws", point))


def test_labels_of_target_and_test_stand_in_files_of_their_own(built: Dataset) -> None:
    import h5py

    for split in SPLITS:
        with h5py.File(built.directory / split / "nominal.h5") as file:
            labelled = {"labels", "truth", "from_track"} & set(file)
        assert bool(labelled) == (split in ("train", "val"))
    point = _points(built, "throw2")[0]
    with pytest.raises(UsageError, match="split 'test' has labels for the evaluation alone"):
        built.load("test", "throws", point)
    with pytest.raises(DataError, match="holds no labels"):
        datasets.read_events(built.directory / "test/throws/throw2.h5")
    labels = load_labels(built, "test", "throws", point)
    assert len(labels.labels) == len(labels.truth) == len(built.events("test", "throws", point))
    assert np.array_equal(load_labelled_file(built.directory / "test/throws/throw2.h5").labels, labels.labels)


@pytest.mark.parametrize("damage", ["flip", "swap", "delete"])
def test_damaged_labels_are_named_and_made_again(copy: Dataset, damage: str) -> None:
    before = _sums(copy)
    path = copy.directory / "labels/test/throws/throw2.h5"
    if damage == "flip":
        content = path.read_bytes()
        path.write_bytes(content[:3000] + bytes([content[3000] ^ 1]) + content[3001:])
    elif damage == "swap":
        shutil.copy(copy.directory / "labels/test/nominal.h5", path)
    else:
        path.unlink()
    (point,) = _points(copy, "throw2")
    with pytest.raises(DataError, match=r"labels/test/throws/throw2\.h5"):
        load_labels(copy, "test", "throws", point)
    assert [file for file, problem in copy.verify() if problem] == ["labels/test/throws/throw2.h5"]
    path.unlink(missing_ok=True)
    copy.build(("test",), "throws", (point,), SilentProgress())
    assert _sums(copy) == before


def test_files_of_an_earlier_version_are_divided_and_hold_the_same_events(
    copy: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a version kept labels and truth beside the voxels in every file."""
    nominal, throw = _points(copy, "nominal", "throw2")
    before = copy.manifest()
    for split in ("adapt", "test"):
        for point in (nominal, throw):
            file, key = copy._file_and_key(split, "throws", point)
            path = copy.directory / file
            labelled, attributes = load_labelled(copy, split, "throws", point), read_attributes(path)
            _, content = write_events(path, [labelled], attributes)
            copy.files.enter(file, key, content, events=len(labelled), dropped=before.files[file].dropped)
            (copy.directory / "labels" / file).unlink()
            assert holds_labels(path)
    assert not copy.is_built(SPLITS, "throws", (nominal, throw))

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("simulated again")

    monkeypatch.setattr(datasets, "responses", forbidden)
    monkeypatch.setattr(datasets, "generated_truth", forbidden)
    copy.build(SPLITS, "throws", (nominal, throw), SilentProgress())
    contents = {file: (record.content, record.events, record.dropped) for file, record in before.files.items()}
    after = copy.manifest().files
    assert {file: (record.content, record.events, record.dropped) for file, record in after.items()} == contents
    assert not holds_labels(copy.directory / "test/throws/throw2.h5")
    assert [problem for _, problem in copy.verify() if problem] == []


def test_leftovers_of_a_killed_build_are_not_taken_for_good(copy: Dataset) -> None:
    before = _sums(copy)
    (copy.directory / "test/nominal.h5").unlink()
    leftover = copy.directory / "test/.nominal.h5.1-abcd.partial"
    leftover.write_bytes(b"half a file")
    copy.build(("test",), "throws", _points(copy, "nominal"), SilentProgress())
    assert not leftover.exists()
    assert _sums(copy) == before


def test_a_damaged_manifest_is_named(copy: Dataset) -> None:
    (copy.directory / "manifest.json").write_text('{"recipe"')
    with pytest.raises(DataError, match=r"manifest\.json is damaged"):
        copy.events("test", "throws", _points(copy, "nominal")[0])


def test_moved_parameters_are_another_file(copy: Dataset) -> None:
    shift = copy.card.shift("throws")
    moved = shift.points[1].model_copy(update={"parameters": {**shift.points[1].parameters, "gain": 4.5}})
    points = Shift(**{**shift.model_dump(), "points": (moved,)}).all_points(copy.card.nominal)
    with pytest.raises(DataError, match="was built for other parameters"):
        copy.events("test", "throws", points[1])
    before = _sums(copy)
    copy.build(("test",), "throws", points, SilentProgress())
    changed = {file for file, checksum in _sums(copy).items() if before.get(file) != checksum}
    assert changed == {"test/throws/throw2.h5", "labels/test/throws/throw2.h5"}


def test_training_events_exist_at_the_source_that_is_asked_for(copy: Dataset) -> None:
    (point,) = _points(copy, "throw2")
    copy.build(("train", "val"), "throws", (point,), SilentProgress(), sources=("throw2",))
    shifted = copy.load("train", "throws", point)
    nominal = copy.load("train", "throws", _points(copy, "nominal")[0])
    assert shifted.events.features.mean() - nominal.events.features.mean() == pytest.approx(62, abs=5)
    assert set(copy.records(("train",), "throws", (point,), ("throw2",))) == {"train/throws/throw2.h5"}
    assert copy.records(("train",), "throws", (point,)) == {}


def test_another_hadronic_model_sees_the_same_primaries(copy: Dataset) -> None:
    nominal, other = copy.card.shift("hadronic-model").all_points(copy.card.nominal)
    copy.build(("test",), "hadronic-model", (other,), SilentProgress())
    events, changed = (load_labelled(copy, "test", "hadronic-model", point) for point in (nominal, other))
    assert (copy.directory / "truth/test-QGSP_BIC.h5").is_file()
    common, first, second = np.intersect1d(events.truth.event_id, changed.truth.event_id, return_indices=True)
    assert len(common) >= 0.9 * len(events)
    assert np.array_equal(events.truth.kinetic_energy[first], changed.truth.kinetic_energy[second])

    def voxels(labelled: LabelledEvents, index: int) -> list[list[int]]:
        return labelled.select(np.array([index])).events.coords.tolist()

    same = np.array([voxels(events, one) == voxels(changed, two) for one, two in zip(first, second, strict=True)])
    names = np.array(copy.card.class_names)[events.labels[first]]
    # Showers of 200 MeV rarely meet a nucleus, pions always do.
    assert same[names == "electron"].mean() > 0.5
    assert not same[names == "pion"].all()


def test_an_imported_data_set_holds_what_was_put_into_it_and_builds_the_response(copy: Dataset) -> None:
    card = copy.card.model_copy(
        update={"name": "brought", "truth": None, "imported": Imported(format="test", source="x", sha256="0" * 64)}
    )
    dataset = replace(copy, card=card)
    nominal, throw = _points(copy, "nominal", "throw2")
    dataset.write_card()
    dataset.add_truth("test", copy.truth("test"), {"generator": "somebody's"})
    dataset.build(("test",), "throws", (nominal, throw), SilentProgress())
    for point in (nominal, throw):
        ours, theirs = (load_labelled(each, "test", "throws", point) for each in (dataset, copy))
        assert np.array_equal(ours.labels, theirs.labels)
        assert np.array_equal(ours.events.coords, theirs.events.coords)
        assert np.array_equal(ours.events.features, theirs.events.features)
    with pytest.raises(
        DataError, match="imported data set 'brought' lacks what was asked for: there are no train events"
    ):
        dataset.build(("train",), "throws", (nominal,), SilentProgress())
    assert [card.name for card in imported_cards(copy.cache)] == ["brought"]
    assert all(problem is None for _, problem in dataset.verify())


def _build_alone(plugin: Path, cache: Path) -> None:
    dataset = _open(plugin, cache, processes=1)
    dataset.build(("val",), "throws", _points(dataset, "nominal"), SilentProgress())


@pytest.mark.slow
def test_two_processes_that_build_at_once_both_end_well(built: Dataset, tiny_plugin: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    builders = [context.Process(target=_build_alone, args=(tiny_plugin, tmp_path)) for _ in range(2)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join(120)
    assert [builder.exitcode for builder in builders] == [0, 0]
    # One process or two, alone or beside the other splits: the same bytes come out.
    built_sums = _sums(built)
    assert all(built_sums[file] == checksum for file, checksum in _sums(_open(tiny_plugin, tmp_path)).items())


def test_removing_a_data_set_leaves_the_others(copy: Dataset) -> None:
    other = copy.cache / "data" / "other-v1"
    other.mkdir()
    copy.remove()
    assert not copy.directory.exists()
    assert other.exists()
