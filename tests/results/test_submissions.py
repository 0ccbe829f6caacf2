"""Submitting and verifying: what the predictions give is accepted, and any other number is found and named."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from nubench.cli.submitting import Submitter
from nubench.containers import LabelledEvents
from nubench.datasets.dataset import Dataset
from nubench.errors import DataError, UsageError
from nubench.evaluation.labels import load_labels
from nubench.evaluation.metrics import Metric
from nubench.evaluation.predictions import PointPredictions, read_predictions, write_predictions
from nubench.evaluation.recomputation import NotAtHandError, TruthSource, first_difference
from nubench.leaderboard import generate
from nubench.plugins.discovery import load_plugins
from nubench.plugins.registry import PluginRegistry
from nubench.results.files import read_result, submission_path, write_result
from nubench.results.schema import Result
from nubench.results.submissions import Verdict, find_run, predictions_of, runs_to_submit, submit, verify
from nubench.storage.files import sha256_of
from result_factory import as_version_1, result_content
from small_dataset import build, predictions, run_content, write_run

KEY = "supcon-seed0-0123456789abcdef"


@dataclass
class World:
    """A cache with a data set and one run, and a folder for leaderboards."""

    registry: PluginRegistry
    cache: Path
    dataset: Dataset
    truth: dict[str, tuple[Any, Any]]
    found: dict[str, PointPredictions]
    content: dict[str, Any]
    leaderboards: Path

    @property
    def source(self) -> TruthSource:
        return TruthSource(self.registry, self.cache)

    def run(self, key: str = KEY, **changes: Any) -> Path:
        return write_run(self.cache, {**self.content, **changes}, self.found, key)

    def verdict(self, *folders: Path) -> Verdict:
        (verdict,) = verify(self.leaderboards, folders or (self.cache / "predictions",), self.source)
        return verdict


@pytest.fixture(scope="module")
def prepared(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[PluginRegistry, Path]:
    return load_plugins(), tmp_path_factory.mktemp("prepared")


@pytest.fixture
def world(
    prepared: tuple[PluginRegistry, Path], synthetic_events: Callable[..., LabelledEvents], tmp_path: Path
) -> World:
    registry, template = prepared
    if not any(template.iterdir()):
        build(registry, template, synthetic_events)
    cache = tmp_path / "cache"
    shutil.copytree(template, cache)
    from nubench.datasets.catalogue import card_called, open_dataset

    dataset = open_dataset(registry, cache, card_called(registry, cache, "drawn"), "smoke")
    truth = {}
    for point in dataset.card.shift("gains").all_points(dataset.card.nominal):
        labels = load_labels(dataset, "test", "gains", point)
        truth[point.name] = (labels.truth.event_id, labels.labels)
    found = predictions(dataset, truth)
    content = run_content(dataset, truth, found, "0" * 64)
    return World(registry, cache, dataset, truth, found, content, tmp_path / "leaderboards")


def test_a_run_is_submitted_and_verified(world: World) -> None:
    run = world.run()
    path = submit(run, world.leaderboards, world.source)
    result = read_result(path)
    assert path == submission_path(world.leaderboards, result)
    assert path.read_bytes() == run.read_bytes()
    assert result.predictions == sha256_of(predictions_of(run))
    assert path.stat().st_size < 20_000
    assert world.verdict() == Verdict(path, "ok")


def test_events_that_a_point_lacks_are_not_scored_there(world: World) -> None:
    result = read_result(submit(world.run(), world.leaderboards, world.source))
    assert [point.events for point in result.points] == [60, 59, 58]
    assert result.test_events == 60


PLACES = [
    ("points", 1, "readouts", "probe", "nll"),
    ("points", 1, "readouts", "head", "calibration_error"),
    ("points", 2, "strength"),
    ("points", 0, "parameters", "gain"),
    ("shift", "strength_unit"),
    ("dataset", "classes", 2),
    ("dataset", "version"),
    ("dataset", "events", "train"),
]


@pytest.mark.parametrize("place", PLACES)
def test_a_changed_number_is_refused_with_its_name_and_both_values(world: World, place: tuple[Any, ...]) -> None:
    content = copy.deepcopy(world.content)
    inner: Any = content
    for key in place[:-1]:
        inner = inner[key]
    old = inner[place[-1]]
    if isinstance(old, int):
        inner[place[-1]] = old + 1
    else:
        inner[place[-1]] = old * 1.001 if isinstance(old, float) and old else 0.25 if isinstance(old, float) else "3"
    world.content = content
    name = place[-1] if isinstance(place[-1], str) else place[-2]
    with pytest.raises(DataError, match=rf"what its predictions give: .*{name}.* in the file, and .*computed again"):
        submit(world.run(), world.leaderboards, world.source)
    assert not world.leaderboards.exists()


def test_a_parameter_that_makes_a_point_what_it_is_cannot_be_left_out(world: World) -> None:
    """One that no point moves may be: a later version has more of them."""
    for point in world.content["points"]:
        constant = next(name for name in point["parameters"] if name != "gain")
        del point["parameters"][constant]
    submit(world.run(), world.leaderboards, world.source)
    for point in world.content["points"]:
        del point["parameters"]["gain"]
    with pytest.raises(DataError, match=r"points\.nominal\.parameters\.gain is None in the file, and "):
        submit(world.run(), world.leaderboards, world.source)


def test_another_budget_than_that_of_the_profile_is_not_at_hand(world: World) -> None:
    world.content["profile"]["settings"]["seeds"] = 1
    message = r"the profile 'smoke' is another one here: settings\.seeds is 1 in the file, and 3 when computed again"
    with pytest.raises(NotAtHandError, match=message):
        submit(world.run(), world.leaderboards, world.source)


def test_other_training_events_are_not_at_hand(world: World) -> None:
    world.content["dataset"]["checksums"]["train/nominal.h5"] = "e" * 64
    with pytest.raises(NotAtHandError, match=r"holds other events in train/nominal.h5 than those of the result"):
        submit(world.run(), world.leaderboards, world.source)


def test_a_bit_that_was_moved_to_another_event_is_found(world: World) -> None:
    """As many right answers, but of other events: only the predictions tell."""
    from nubench.results.bits import pack, unpack

    scores = world.content["points"][0]["readouts"]["probe"]
    right = unpack(scores["right"], 60)
    one, other = int(np.argmax(right)), int(np.argmin(right))
    right[[one, other]] = right[[other, one]]
    scores["right"] = pack(right)
    with pytest.raises(DataError, match=r"points\.nominal\.readouts\.probe\.right is"):
        submit(world.run(), world.leaderboards, world.source)


def test_other_predictions_than_those_of_the_result_are_refused(world: World) -> None:
    run = world.run()
    write_predictions(predictions_of(run), predictions(world.dataset, world.truth, seed=1))
    with pytest.raises(DataError, match="is not the file that the result was computed from: its SHA-256 is"):
        submit(run, world.leaderboards, world.source)
    predictions_of(run).unlink()
    with pytest.raises(NotAtHandError, match=r"the predictions of the run are not there; remove .* and run it again"):
        submit(run, world.leaderboards, world.source)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_changed_prediction_changes_the_result(world: World, data: st.DataObject) -> None:
    point = data.draw(st.sampled_from(sorted(world.found)))
    name = data.draw(st.sampled_from(["head", "probe"]))
    rows = world.found[point].log_probabilities[name].copy()
    event = data.draw(st.integers(0, len(rows) - 1))
    rows[event] = np.log(np.float32([0.98, 0.01, 0.01]) if rows[event].argmax() else np.float32([0.01, 0.01, 0.98]))
    changed = {
        **world.found,
        point: PointPredictions(world.found[point].event_id, {**world.found[point].log_probabilities, name: rows}),
    }
    result = Result.model_validate(world.content)
    difference = first_difference(result, changed, world.source.of(result))
    assert difference is not None
    assert difference.field.startswith(f"points.{point}.readouts.{name}.")
    assert first_difference(result, world.found, world.source.of(result)) is None


def test_rounding_of_a_sum_is_no_difference(world: World) -> None:
    scores = world.content["points"][0]["readouts"]["probe"]
    scores["nll"] = float(np.nextafter(scores["nll"], 9))
    assert submit(world.run(), world.leaderboards, world.source).exists()


def test_predictions_of_other_events_or_points_are_named(world: World) -> None:
    result = Result.model_validate(world.content)
    truth = world.source.of(result)
    fewer = {point: found for point, found in world.found.items() if point != "gain2"}
    assert str(first_difference(result, fewer, truth)).startswith("points is ['gain1', 'gain2', 'nominal'] in the file")
    nominal = world.found["nominal"]
    other = PointPredictions(nominal.event_id + 1, nominal.log_probabilities)
    difference = first_difference(result, {**world.found, "nominal": other}, truth)
    assert difference is not None
    assert difference.field == "points.nominal.event_id"


def test_a_further_metric_is_computed_again(world: World) -> None:
    error = Metric("error", "share of wrong events", False, lambda y, rows: float(np.mean(rows.argmax(axis=1) != y)))
    world.content = run_content(world.dataset, world.truth, world.found, "0" * 64, (error,))
    run = world.run()
    path = submit(run, world.leaderboards, world.source, [error])
    assert list(verify(world.leaderboards, [world.cache / "predictions"], world.source, [error])) == [
        Verdict(path, "ok")
    ]
    wrong = Metric("error", "another meaning", False, lambda y, rows: 0.5)
    (verdict,) = verify(world.leaderboards, [world.cache / "predictions"], world.source, [wrong])
    assert verdict.state == "different"
    assert "further.error is" in verdict.reason
    assert world.verdict().reason == "the result holds the metric 'error' of a plugin that is not here; see --plugin"


def test_an_unsealed_run_is_submitted_only_when_asked_for(world: World) -> None:
    run = world.run(sealed=False)
    with pytest.raises(UsageError, match=f"nubench submit {KEY} --unsealed"):
        submit(run, world.leaderboards, world.source)
    path = submit(run, world.leaderboards, world.source, unsealed=True)
    assert read_result(path).sealed is False


def test_a_result_of_version_1_is_not_submitted(world: World) -> None:
    path = world.cache / "results" / "old-seed0-0.json"
    write_result(Result.model_validate(as_version_1(result_content())), path)
    with pytest.raises(DataError, match="schema version 1 holds no digest of its predictions; run it again"):
        submit(path, world.leaderboards, world.source)


def test_a_submission_of_version_1_is_valid_and_cannot_be_computed_again(world: World) -> None:
    result = Result.model_validate(as_version_1(result_content()))
    path = submission_path(world.leaderboards, result)
    write_result(result, path)
    assert world.verdict() == Verdict(path, "not at hand", "schema version 1 holds no digest of the predictions")


def test_runs_are_found_by_name_and_path(world: World) -> None:
    run = world.run()
    assert find_run(world.cache, KEY) == run
    assert find_run(world.cache, str(run)) == run
    with pytest.raises(UsageError, match="unknown run 'supcon-seed0-0123'; did you mean"):
        find_run(world.cache, "supcon-seed0-0123")


def test_all_runs_that_may_be_submitted_come_the_oldest_first(world: World) -> None:
    later = world.run("a-seed0-1", created="2025-03-01T00:00:00Z")
    earlier = world.run("b-seed0-1", created="2025-01-01T00:00:00Z")
    unsealed = world.run("c-seed0-1", created="2025-02-01T00:00:00Z", sealed=False)
    write_result(Result.model_validate(as_version_1(result_content())), world.cache / "results" / "d-seed0-1.json")
    assert runs_to_submit(world.cache) == [earlier, later]
    assert runs_to_submit(world.cache, unsealed=True) == [earlier, unsealed, later]


def test_what_is_not_at_hand_is_said(world: World, tmp_path: Path) -> None:
    submit(world.run(), world.leaderboards, world.source)
    verdict = world.verdict(tmp_path / "nothing")
    assert (verdict.state, verdict.reason) == ("not at hand", "no file of predictions with its SHA-256")
    (manifest,) = world.cache.rglob("manifest.json")
    folder = manifest.parent
    original = manifest.read_text()
    content = json.loads(original)
    content["files"]["test/gains/gain1.h5"]["content"] = "1" * 64
    manifest.write_text(json.dumps(content))
    assert world.verdict().state == "not at hand"
    manifest.write_text(original)
    assert world.verdict().state == "ok"
    shutil.rmtree(folder)
    verdict = world.verdict()
    assert verdict.state == "not at hand"
    assert "unknown data set 'drawn'" in verdict.reason


def test_another_recipe_is_not_at_hand(world: World) -> None:
    world.content["dataset"]["recipe"] = "f" * 64
    with pytest.raises(NotAtHandError, match=r"has the recipe .* here, and ffff"):
        submit(world.run(), world.leaderboards, world.source)


def test_other_events_than_those_of_the_result_are_not_at_hand(world: World) -> None:
    world.content["dataset"]["checksums"]["test/nominal.h5"] = "e" * 64
    with pytest.raises(NotAtHandError, match=r"holds other events in test/nominal.h5 than those of the result"):
        submit(world.run(), world.leaderboards, world.source)


def test_a_forged_submission_is_found(world: World) -> None:
    path = submit(world.run(), world.leaderboards, world.source)
    content = json.loads(path.read_text())
    content["points"][2]["readouts"]["probe"]["calibration_error"] = 0.001
    path.write_text(json.dumps(content))
    assert "its checksum differs" in world.verdict().reason
    del content["checksum"]
    path.write_text(json.dumps(content))
    verdict = world.verdict()
    assert verdict.state == "different"
    assert "points.gain2.readouts.probe.calibration_error is 0.001 in the file, and 0." in verdict.reason


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("dataset", "checksums", "train/nominal.h5"), "e" * 64),
        (("dataset", "checksums", "test/nominal.h5"), "e" * 64),
        (("profile", "settings", "seeds"), 1),
    ],
)
def test_a_second_forged_field_does_not_hide_the_first(world: World, place: tuple[str, ...], value: Any) -> None:
    path = submit(world.run(), world.leaderboards, world.source)
    content = json.loads(path.read_text())
    content["points"][2]["readouts"]["probe"]["calibration_error"] = 0.001
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    del content["checksum"]
    path.unlink()
    path = submission_path(world.leaderboards, Result.model_validate(content))
    path.write_text(json.dumps(content))
    verdict = world.verdict()
    assert verdict.state == "different"
    assert "points.gain2.readouts.probe.calibration_error is 0.001 in the file, and 0." in verdict.reason


def test_predictions_of_other_events_of_another_data_set_say_nothing(world: World) -> None:
    """A data set of the same recipe may have kept other events; what is scored there would be no forgery."""
    world.content["dataset"]["checksums"]["test/nominal.h5"] = "e" * 64
    world.content["points"][2]["readouts"]["probe"]["calibration_error"] = 0.001
    world.found = {
        name: PointPredictions(one.event_id + 1000, one.log_probabilities) for name, one in world.found.items()
    }
    with pytest.raises(NotAtHandError, match=r"holds other events in test/nominal.h5 than those of the result"):
        submit(world.run(), world.leaderboards, world.source)


def test_a_file_that_contradicts_itself_is_invalid(world: World) -> None:
    path = submit(world.run(), world.leaderboards, world.source)
    content = json.loads(path.read_text())
    content["points"][2]["readouts"]["probe"]["accuracy"] = 1.0
    del content["checksum"]
    path.write_text(json.dumps(content))
    verdict = world.verdict()
    assert verdict.state == "invalid"
    assert "contradicts the confusion matrix" in verdict.reason


@pytest.mark.parametrize("name", ["other.json", "../gains/supcon-seed0-00000000.json", "deeper/supcon.json"])
def test_a_file_in_the_wrong_place_is_invalid(world: World, name: str) -> None:
    path = submit(world.run(), world.leaderboards, world.source)
    moved = path.parent / name
    moved.parent.mkdir(exist_ok=True)
    path.rename(moved)
    verdict = world.verdict()
    assert (verdict.state, verdict.reason) == (
        "invalid",
        f"by its content it belongs in {path.relative_to(world.leaderboards)}",
    )


def test_a_link_is_invalid(world: World, tmp_path: Path) -> None:
    path = submit(world.run(), world.leaderboards, world.source)
    path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(tmp_path / "elsewhere.json")
    assert world.verdict() == Verdict(path, "invalid", "a link; a submission is a file")


@pytest.mark.parametrize("hostile", ["../../etc", "/etc/passwd", "a/b", "..", "a\x00b", "C:\\x", "~", "$(x)", "a\n"])
def test_a_name_cannot_lead_out_of_the_folder(hostile: str) -> None:
    for section, field in (("method", "name"), ("dataset", "detector"), ("shift", "name"), ("profile", "name")):
        content = result_content()
        content[section][field] = hostile
        with pytest.raises(ValidationError, match="string_pattern_mismatch"):
            Result.model_validate(content)
    content = result_content()
    content["shift"]["points"][0] = content["points"][0]["point"] = hostile
    with pytest.raises(ValidationError, match="string_pattern_mismatch"):
        Result.model_validate(content)


@settings(max_examples=30)
@given(st.from_regex(r"[a-z0-9]+((\.|-+)[a-z0-9]+)*-*", fullmatch=True).filter(lambda name: len(name) <= 64))
def test_every_name_that_is_accepted_stays_in_the_folder(name: str) -> None:
    content = result_content(name, shift=name, profile=name)
    content["dataset"]["detector"] = name
    root = Path("/leaderboards")
    path = submission_path(root, Result.model_validate(content))
    assert path.parts[:3] == ("/", "leaderboards", "submissions")
    assert len(path.parts) == 7
    assert ".." not in path.parts


def test_a_folder_without_submissions_is_a_mistake(world: World) -> None:
    with pytest.raises(UsageError, match="holds no submissions"):
        world.verdict()


def test_a_repetition_replaces_its_own_submission(world: World) -> None:
    first = submit(world.run(), world.leaderboards, world.source)
    world.found = predictions(world.dataset, world.truth, seed=9)
    world.content = run_content(world.dataset, world.truth, world.found, "0" * 64)
    second = submit(world.run("supcon-seed0-fedcba9876543210"), world.leaderboards, world.source)
    assert first == second
    assert world.verdict().state == "ok"
    assert read_result(second).predictions == sha256_of(
        world.cache / "predictions/supcon-seed0-fedcba9876543210.safetensors"
    )


def test_the_predictions_of_a_run_can_be_read_by_others(world: World) -> None:
    run = world.run()
    found = read_predictions(predictions_of(run))
    assert sorted(found) == ["gain1", "gain2", "nominal"]


def test_whoever_waits_for_the_tables_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    world.leaderboards.mkdir()
    holder = FileLock(world.leaderboards / ".lock")
    submitter = Submitter(world.registry, world.cache, world.leaderboards)
    submitter.submit(world.run())

    def let_go(message: str, *, err: bool) -> None:
        assert err
        said.append(message)
        holder.release()

    monkeypatch.setattr(typer, "echo", let_go)
    monkeypatch.setattr(generate, "_generate", lambda folder, columns: said.append("written"))
    holder.acquire()
    submitter.write_boards()
    waiting = f"nubench: another process is writing the tables of {world.leaderboards}; waiting for it."
    assert said == [waiting, "written"]
    submitter.write_boards()
    assert said[2:] == ["written"]
