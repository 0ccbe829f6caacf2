"""`nubench run`, `submit`, `verify` and `schema` from end to end, on a data set of drawn events, without simulation."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import pytest
from click.testing import Result as Done
from typer.testing import CliRunner

from nubench.cli import app
from nubench.containers import LabelledEvents
from nubench.evaluation.predictions import read_predictions
from nubench.plugins.discovery import load_plugins
from nubench.results.files import load_results, read_result
from nubench.results.json_schema import result_schema, schema_text
from nubench.storage.checked_json import CHECKSUM
from result_factory import as_version_1, result_content
from small_dataset import build

ROOT = Path(__file__).resolve().parents[2]

METHODS = """
import numpy as np
import nubench
from nubench.methods import Method, Model


class Charge(Model):
    def __init__(self, means):
        self.means = means

    def log_probabilities(self, events):
        owner = np.repeat(np.arange(len(events)), np.diff(events.offsets))
        total = np.bincount(owner, weights=events.features[:, 0], minlength=len(events))
        distance = -np.abs(total[:, None] - self.means) / 300
        return (distance - np.log(np.exp(distance).sum(axis=1, keepdims=True))).astype(np.float32)


class Totals(Method):
    name = "totals"
    title = "total charge, nearest mean"
    ranked_by = "head"
    uses_backbone = False

    def fit(self, data, context):
        owner = np.repeat(np.arange(len(data.train)), np.diff(data.train.offsets))
        total = np.bincount(owner, weights=data.train.features[:, 0])
        return Charge(np.array([total[data.train_labels == k].mean() for k in range(len(data.classes))]))


class Sometimes(Totals):
    name = "sometimes"
    title = "fails where its seed is odd, unless a file says otherwise"

    def fit(self, data, context):
        if context.seed % 2 and not (context.directory.parents[1] / "mended").exists():
            raise ValueError("an odd seed")
        return super().fit(data, context)


@nubench.hookimpl
def register_methods():
    return [Totals, Sometimes]
"""


@dataclass
class Place:
    """Where a test runs things."""

    cache: Path
    leaderboards: Path
    plugin: Path

    def nubench(self, command: str, *arguments: str | Path) -> Done:
        common = ["--plugin", self.plugin, "--cache", self.cache, "--leaderboards", self.leaderboards]
        return CliRunner().invoke(app, [str(word) for word in (command, *arguments, *common)])

    def run(self, *arguments: str) -> Done:
        return self.nubench("run", "--dataset", "drawn", "--shift", "gains", *arguments)

    def files(self) -> set[str]:
        return {
            path.relative_to(self.cache).as_posix()
            for path in self.cache.rglob("*")
            if path.is_file() and "geant4" not in path.parts[len(self.cache.parts)]
        }


@pytest.fixture
def place(synthetic_events: Callable[..., LabelledEvents], tmp_path: Path) -> Place:
    plugin = tmp_path / "drawn_methods.py"
    plugin.write_text(METHODS)
    build(load_plugins(), tmp_path / "cache", synthetic_events)
    return Place(tmp_path / "cache", tmp_path / "leaderboards", plugin)


def test_a_grid_is_run_around_its_failures(place: Place) -> None:
    grid = ("--method", "totals", "--method", "sometimes", "--seeds", "2", "--no-sealed")

    planned = place.run(*grid, "--dry-run")
    assert planned.exit_code == 0, planned.output
    assert len(re.findall(r"^(?:totals|sometimes) +gains +nominal +[01] +missing", planned.output, re.MULTILINE)) == 4
    assert "4 cells: 4 to run; no estimate for 4" in planned.output

    first = place.run(*grid)
    assert first.exit_code == 1
    assert "ValueError: an odd seed" in first.stderr
    assert re.search(r"drawn_methods\.py:\d+ in fit: raise ValueError", first.stderr)
    assert "sometimes, gains from nominal, seed 1 failed" in first.stderr
    assert "1 of 4 cells failed; --retry-failed tries them again" in first.stderr
    (record,) = (place.cache / "failures").iterdir()
    failure = json.loads(record.read_text())
    assert (failure["method"], failure["seed"], failure["error"]) == ("sometimes", 1, "PluginError")

    planned = place.run(*grid, "--dry-run", "--only-missing")
    assert "4 cells: 0 to run, 3 finished, 1 failed and left out" in planned.output
    assert "an odd seed" in planned.output
    left_out = place.run(*grid, "--only-missing")
    assert left_out.exit_code == 1
    assert re.search("failed before and was left out: .*ValueError: an odd seed", left_out.stderr)

    (place.cache / "mended").touch()
    mended = place.run(*grid, "--retry-failed")
    assert mended.exit_code == 0, mended.output
    assert list((place.cache / "failures").iterdir()) == []
    assert "finished before, read from" in mended.output


@pytest.mark.slow
def test_what_was_not_sealed_is_submitted_by_name_alone(place: Place) -> None:
    done = place.run("--method", "totals", "--no-sealed")
    assert done.exit_code == 0, done.output
    assert "Run with --no-sealed, so not on the leaderboard" in done.output
    (command,) = re.findall(r"nubench (submit totals-seed0-[0-9a-f]{16} --unsealed)", done.output)
    assert load_results(place.leaderboards / "submissions") == []

    _, key, unsealed = command.split()
    refused = place.nubench("submit", key)
    assert refused.exit_code == 2
    assert f"nubench submit {key} --unsealed" in refused.stderr
    assert load_results(place.leaderboards / "submissions") == []
    submitted = place.nubench("submit", key, unsealed)
    assert submitted.exit_code == 0, submitted.output
    assert f"{key}: checked, written to" in submitted.output
    (result,) = load_results(place.leaderboards / "submissions")
    assert result.sealed is False
    assert (place.leaderboards / "README.md").exists()


@pytest.mark.slow
def test_a_sealed_run_stands_on_the_leaderboard_and_can_be_verified(place: Place, tmp_path: Path) -> None:
    done = place.run("--method", "totals")
    assert done.exit_code == 0, done.output
    (result,) = load_results(place.leaderboards / "submissions")
    assert result.sealed
    assert result.points[0].readouts.head is not None
    assert result.points[0].readouts.head.accuracy > 0.8
    (file,) = (place.cache / "predictions").iterdir()
    assert sorted(read_predictions(file)) == ["gain1", "gain2", "nominal"]

    verified = place.nubench("verify", "--strict")
    assert verified.exit_code == 0, verified.output
    assert "1 ok, 0 different, 0 invalid, 0 not at hand" in verified.output

    sent = tmp_path / "sent"
    sent.mkdir()
    file.rename(sent / "any-name.safetensors")
    assert place.nubench("verify").exit_code == 0
    assert place.nubench("verify", "--strict").exit_code == 1
    assert place.nubench("verify", "--strict", "--predictions", sent).exit_code == 0

    (submission,) = (place.leaderboards / "submissions").rglob("*.json")
    content = json.loads(submission.read_text())
    content["points"][0]["readouts"]["head"]["nll"] = 0.001
    submission.write_text(json.dumps(content))
    changed = place.nubench("verify", "--predictions", sent)
    assert changed.exit_code == 1
    assert "0 ok, 0 different, 1 invalid" in changed.output

    # Whoever forges a file leaves out its checksum.
    del content[CHECKSUM]
    submission.write_text(json.dumps(content))
    forged = place.nubench("verify", "--predictions", sent)
    assert forged.exit_code == 1
    assert "0 ok, 1 different" in forged.output
    assert "points.nominal.readouts.head.nll is 0.001" in " ".join(forged.output.split())


def test_nothing_is_written_by_a_dry_run(place: Place) -> None:
    place.run("--method", "totals", "--dry-run")
    before = place.files()
    assert place.run("--method", "totals", "--method", "sometimes", "--seeds", "3", "--dry-run").exit_code == 0
    assert place.files() == before
    assert not place.leaderboards.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--method", "totals", "--only-missing", "--retry-failed"), "exclude each other"),
        (("--method", "totals", "--shift", "gains"), "--shift names a shift twice: gains, gains"),
        (("--method", "totals", "--source", "gain1"), "source 'gain1' of shift 'gains' is not accepted"),
        (("--method", "totals", "--method", "total"), "unknown method 'total'; did you mean 'totals'"),
    ],
)
def test_a_mistake_is_named_before_anything_runs(place: Place, arguments: tuple[str, ...], message: str) -> None:
    done = place.run(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (place.cache / "failures").exists()


def test_what_cannot_be_submitted_or_verified_is_said(place: Place, tmp_path: Path) -> None:
    neither = place.nubench("submit")
    assert (neither.exit_code, "or give --all" in neither.stderr) == (2, True)
    nothing = place.nubench("submit", "--all")
    assert (nothing.exit_code, "can be submitted" in nothing.stderr) == (2, True)
    unknown = place.nubench("submit", "totals-seed0-0123456789abcdef")
    assert (unknown.exit_code, "unknown run" in unknown.stderr) == (2, True)
    folder = place.nubench("verify", "--predictions", tmp_path / "absent")
    assert (folder.exit_code, "is not a folder" in folder.stderr) == (2, True)
    empty = place.nubench("verify")
    assert (empty.exit_code, "holds no submissions" in empty.stderr) == (2, True)


def test_the_schema_is_printed_and_the_committed_one_is_fresh() -> None:
    printed = CliRunner().invoke(app, ["schema"])
    assert printed.stdout == schema_text()
    assert json.loads((ROOT / "docs" / "result.schema.json").read_text()) == json.loads(printed.stdout)


def test_the_schema_accepts_what_nubench_accepts() -> None:
    validator = jsonschema.Draft202012Validator(result_schema())
    jsonschema.Draft202012Validator.check_schema(result_schema())
    first = json.loads((ROOT / "tests" / "fixtures" / "result-version-1.json").read_text())
    for content in (first, result_content(), as_version_1(result_content())):
        validator.validate(json.loads(json.dumps(content)))
    for path in sorted((ROOT / "leaderboards" / "submissions").rglob("*.json")):
        validator.validate(read_result(path).model_dump(mode="json"))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("method", "name"), "../x"),
        (("method", "name"), "A"),
        (("seed",), -1),
        (("schema_version",), 3),
        (("sealed",), "yes"),
        (("predictions",), "abc"),
        (("points", 0, "readouts", "probe", "accuracy"), 1.5),
        (("points", 0, "readouts", "probe", "right"), "not base64!"),
        (("points", 0, "readouts", "probe", "further", "A b"), 1.0),
        (("dataset", "events", "../x"), 1),
        (("invented",), 1),
    ],
)
def test_the_schema_refuses_what_nubench_refuses(place: tuple[str | int, ...], value: object) -> None:
    content = json.loads(json.dumps(result_content()))
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, result_schema())
