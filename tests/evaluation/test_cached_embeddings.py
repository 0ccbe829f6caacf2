"""The embeddings of a run and the labels of its data set meet in the evaluation, and nowhere before."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from nubench.cli.probing import data_efficiency
from nubench.containers import Events, LabelledEvents, Primaries
from nubench.datasets.catalogue import card_called, open_dataset
from nubench.display.label_curves import LabelCurve, curves_figure
from nubench.errors import DataError, UsageError
from nubench.evaluation.cached_embeddings import load_run
from nubench.evaluation.data_efficiency import CurvePoint
from nubench.evaluation.embeddings import Embedded, read_embeddings, write_embeddings
from nubench.plugins.discovery import load_plugins
from nubench.plugins.registry import PluginRegistry
from nubench.results.files import read_result, write_result
from nubench.results.schema import Result
from result_factory import result_content

RUN = "supcon-seed0-0123456789abcdef"
CLASSES = 5

VOXELS = 20


def straight_events(count: int, seed: int) -> LabelledEvents:
    """Straight tracks of random classes."""
    ids = 1000 * seed + np.arange(count)
    energy, vertex = np.full(count, 100, np.float32), np.zeros((count, 3), np.float32)
    along_x = np.tile(np.array([1, 0, 0], np.float32), (count, 1))
    voxels = np.tile(np.arange(VOXELS, dtype=np.int32)[:, None] * np.array([1, 0, 0], np.int32), (count, 1))
    charge = np.full((count * VOXELS, 1), 90, np.float32)
    events = Events(np.arange(count + 1) * VOXELS, voxels, charge)
    labels = np.random.default_rng(seed).integers(CLASSES, size=count)
    return LabelledEvents(events, labels, Primaries(ids, np.full(count, 13), energy, vertex, along_x))


def embed(events: LabelledEvents, seed: int) -> Embedded:
    """Embeddings from which the class follows, in an order of their own."""
    rng = np.random.default_rng(seed)
    rows = np.eye(CLASSES, 8)[events.labels] + 0.3 * rng.normal(size=(len(events), 8))
    order = rng.permutation(len(events))
    return Embedded(events.truth.event_id[order].astype(np.int64), rows[order].astype(np.float32))


@pytest.fixture(scope="module")
def registry(tiny_plugin: Path) -> PluginRegistry:
    """The plugins with the data set ``tiny``."""
    return load_plugins([tiny_plugin])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, registry: PluginRegistry) -> Path:
    """A cache with a data set of made-up events, the result of a run on it, and the run's embeddings."""
    folder = tmp_path_factory.mktemp("built")
    card = card_called(registry, folder, "tiny")
    dataset = open_dataset(registry, folder, card, "smoke")
    shift = card.shift("throws")
    points = shift.all_points(card.nominal)
    parts = {}
    for split, point, seed in [("train", points[0], 1), *(("test", p, 2 + n) for n, p in enumerate(points))]:
        events = straight_events(80 if split == "train" else 40 + seed, seed)
        dataset.add_events(split, "throws", point, [events], len(events), {})
        parts["train" if split == "train" else f"test/{point.name}"] = embed(events, seed)
    write_embeddings(folder / "embeddings" / f"{RUN}.safetensors", parts)
    content = result_content("supcon", {point.name: 0.8 for point in points})
    content["dataset"] |= {"name": "tiny", "recipe": dataset.recipe_digest}
    write_result(Result.model_validate(content), folder / "results" / f"{RUN}.json")
    return folder


@pytest.fixture
def cache(built: Path, tmp_path: Path) -> Path:
    """A copy of that cache, to be changed."""
    return Path(shutil.copytree(built, tmp_path / "cache"))


def command(*arguments: str | Path) -> str:
    app = typer.Typer()
    app.command()(data_efficiency)
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_embeddings_and_labels_are_joined_by_event(cache: Path, registry: PluginRegistry) -> None:
    found = load_run(RUN, cache, registry)
    (network,) = found.networks
    assert list(network.tests) == list(found.result.shift.points)
    for events in (network.train, *network.tests.values()):
        # The noise is far below the distance of the classes: a wrong order would show.
        assert np.mean(events.rows[:, :CLASSES].argmax(axis=1) == events.labels) > 0.9
    assert len(network.tests["nominal"].labels) == 42


def test_the_command_prints_the_curve_and_writes_every_fit(cache: Path, tiny_plugin: Path) -> None:
    file = cache / "out" / "curve.csv"
    arguments = (RUN, "--cache", cache, "--plugin", tiny_plugin, "--labels", "2,10,100", "--repeats", "3")
    text = command(*arguments, "--out", file)
    assert "labels a class" in text
    assert "±" in text
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert len(rows) == 7 * (3 + 3 + 1)
    assert {row["point"] for row in rows} == {"nominal", *(f"throw{number}" for number in range(1, 7))}
    assert {row["run"] for row in rows} == {RUN}
    all_labels = [float(row["accuracy"]) for row in rows if row["labels_a_class"] == "100"]
    assert min(all_labels) > 0.8
    again = cache / "again.csv"
    command(*arguments, "--out", again)
    assert again.read_bytes() == file.read_bytes()


def second_run(cache: Path, *, method: str, points: Sequence[str] = ()) -> str:
    """A run of the same events by another method, or of a result that names other points; return its name."""
    name = f"{method}-seed0-fedcba9876543210"
    result = read_result(cache / "results" / f"{RUN}.json")
    content = result_content(method, dict.fromkeys(points or result.shift.points, 0.8))
    content["dataset"] |= {"name": "tiny", "recipe": result.dataset.recipe}
    write_result(Result.model_validate(content), cache / "results" / f"{name}.json")
    parts = read_embeddings(cache / "embeddings" / f"{RUN}.safetensors")
    write_embeddings(
        cache / "embeddings" / f"{name}.safetensors",
        {part: Embedded(found.event_id.copy(), 0 * found.rows) for part, found in parts.items()},
    )
    return name


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_the_curves_of_several_runs_are_drawn_beside_each_other(cache: Path, tiny_plugin: Path, ending: str) -> None:
    other = second_run(cache, method="constant")
    arguments = (RUN, other, "--cache", cache, "--plugin", tiny_plugin, "--labels", "2,10", "--repeats", "2")
    table, pictures = cache / "curves.csv", [cache / f"{name}.{ending}" for name in "ab"]
    text = command(*arguments, "--out", table, "--figure", pictures[0])
    assert "supcon seed 0" in text
    assert "constant seed 0" in text
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert len(rows) == 2 * 7 * 2 * 2
    # Embeddings that are all alike tell nothing.
    reached = {run: np.mean([float(row["accuracy"]) for row in rows if row["run"] == run]) for run in (RUN, other)}
    assert reached[RUN] > 0.5 > reached[other]
    command(*arguments, "--figure", pictures[1])
    first, second = (picture.read_bytes() for picture in pictures)
    assert first == second
    assert first.startswith(b"\x89PNG" if ending == "png" else b"<?xml")


def test_a_figure_has_a_line_for_each_run_and_a_mark_for_each_number_of_labels() -> None:
    accuracies = [
        {"nominal": (0.5, 0.7), "a": (0.4, 0.5), "b": (0.2, 0.5)},
        {"nominal": (0.8,), "a": (0.6,), "b": (0.4,)},
    ]
    points = tuple(CurvePoint(10**n, 5 * 10**n, found, converged=True) for n, found in enumerate(accuracies, 1))
    figure = curves_figure([LabelCurve("one", points), LabelCurve("<two>", points[:1])], "nominal", ["a", "b"])
    lines = [[container.lines[0].get_xydata().tolist() for container in axes.containers] for axes in figure.axes]
    assert lines == [
        [[[10.0, pytest.approx(60.0)], [100.0, 80.0]], [[10.0, pytest.approx(60.0)]]],
        [[[10.0, pytest.approx(40.0)], [100.0, 50.0]], [[10.0, pytest.approx(40.0)]]],
    ]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["one", "<two>"]


def test_runs_of_other_points_are_not_compared(cache: Path, tiny_plugin: Path) -> None:
    other = second_run(cache, method="fewer", points=("nominal", "throw1"))
    with pytest.raises(UsageError, match=rf"{RUN}.*throw6.*{other}.*points nominal, throw1\).*different events"):
        command(RUN, other, "--cache", cache, "--plugin", tiny_plugin, "--labels", "2", "--repeats", "1")


def test_another_form_of_picture_is_refused_before_anything_is_read() -> None:
    with pytest.raises(UsageError, match=r"--figure 'curve.jpg' must end in .png or .svg"):
        command(RUN, "--figure", "curve.jpg")


def test_a_network_for_each_target_is_probed_by_itself(cache: Path, registry: PluginRegistry) -> None:
    file = cache / "embeddings" / f"{RUN}.safetensors"
    parts = read_embeddings(file)
    train = parts.pop("train")
    points = [name.removeprefix("test/") for name in parts]
    write_embeddings(file, {**parts, **{f"train/{point}": train for point in points}})
    assert len(load_run(RUN, cache, registry).networks) == 7


def test_a_run_that_is_not_there_is_named_with_those_that_are(cache: Path, registry: PluginRegistry) -> None:
    with pytest.raises(UsageError, match=f"unknown run 'supcon'.*{RUN}"):
        load_run("supcon", cache, registry)
    with pytest.raises(UsageError, match=r"\(no run\)"):
        load_run("supcon", cache / "nothing", registry)


def test_a_run_without_embeddings_says_how_to_get_them(cache: Path, registry: PluginRegistry) -> None:
    (cache / "embeddings" / f"{RUN}.safetensors").unlink()
    with pytest.raises(DataError, match=r"has no embeddings in the cache.*run it again"):
        load_run(RUN, cache, registry)


def test_embeddings_of_other_data_are_refused(cache: Path, registry: PluginRegistry) -> None:
    file = cache / "embeddings" / f"{RUN}.safetensors"
    some = Embedded(np.arange(3, dtype=np.int64), np.zeros((3, 8), np.float32))
    write_embeddings(file, {"train": some})
    with pytest.raises(DataError, match="lack the part 'test/nominal'; they have train"):
        load_run(RUN, cache, registry)
    write_embeddings(file, {"train": some, "test/nominal": some})
    with pytest.raises(DataError, match="other events than the data"):
        load_run(RUN, cache, registry)
    content = result_content("supcon", {"nominal": 0.8, "throw1": 0.8})
    content["dataset"]["name"] = "tiny"
    write_result(Result.model_validate(content), cache / "results" / f"{RUN}.json")
    with pytest.raises(DataError, match="used other data than 'tiny' describes now"):
        load_run(RUN, cache, registry)


@pytest.mark.parametrize("labels", ["", "ten", "10,,20", "0,10", "-5"])
def test_numbers_of_labels_are_checked(labels: str, cache: Path) -> None:
    with pytest.raises(UsageError, match=f"--labels '{labels}' must be whole numbers"):
        command(RUN, "--cache", cache, f"--labels={labels}")
