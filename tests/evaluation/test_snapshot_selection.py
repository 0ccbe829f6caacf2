from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer import Typer
from typer.testing import CliRunner

from nubench.cli.selecting import select
from nubench.errors import UsageError
from nubench.evaluation.labels import load_labels
from nubench.evaluation.selection import select_snapshots
from nubench.evaluation.selectors import SELECTORS
from nubench.plugins.discovery import load_plugins
from nubench.plugins.registry import PluginRegistry
from nubench.progress import SilentProgress
from nubench.runs.request import Request
from nubench.runs.runner import Runner
from nubench.shifts import ShiftPoint

pytestmark = pytest.mark.usefixtures("one_thread")
SOURCE_ONLY = [selector for selector in SELECTORS if not selector.needs_target]


@pytest.fixture(scope="module")
def registry(tiny_plugin: Path) -> PluginRegistry:
    return load_plugins([tiny_plugin])


def _runner(registry: PluginRegistry, cache: Path, method: str, views: int = 48) -> Runner:
    settings = {"views": views, "batch_size": 8}
    request = Request(method, "throws", dataset="tiny", settings=settings, backbone="tiny", device="cpu")
    return Runner(request, registry, cache, SilentProgress(), processes=1, sealed=False)


def _point(runner: Runner, name: str = "throw2") -> ShiftPoint:
    return next(point for point in runner.points if point.name == name)


def test_every_snapshot_is_scored_and_the_first_of_the_best_is_chosen(
    registry: PluginRegistry, shared_cache: Path
) -> None:
    runner = _runner(registry, shared_cache, "classifier")
    target = _point(runner)
    found = select_snapshots(runner, 0, SELECTORS, 3, SilentProgress(), target)

    assert [snapshot.views for snapshot in found.snapshots] == [16, 32, 48]
    for selector in SELECTORS:
        scores = [snapshot.scores[selector.name] for snapshot in found.snapshots]
        assert np.isfinite(scores).all()
        assert found.chosen(selector.name) is found.snapshots[int(np.argmax(scores))]
    # The last snapshot is the network of the run.
    with runner.session(runner.job(0, None), None) as session:
        session.fit()
        events = runner.dataset.events("adapt", "throws", target)
        scores_of_run = session.outputs(events).log_probabilities
    labels = load_labels(runner.dataset, "adapt", "throws", target).labels
    assert scores_of_run is not None
    assert found.snapshots[-1].scores["oracle"] == np.mean(scores_of_run.argmax(1) == labels)


def test_what_snapshots_make_of_the_events_is_kept(
    registry: PluginRegistry, shared_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = _runner(registry, shared_cache, "classifier")
    first = select_snapshots(runner, 0, SELECTORS, 3, SilentProgress(), _point(runner))
    monkeypatch.setattr("nubench.evaluation.trainee.Trainee.outputs", None)
    again = select_snapshots(runner, 0, SELECTORS, 3, SilentProgress(), _point(runner))
    assert again.snapshots == first.snapshots


def test_of_a_method_with_stages_the_last_one_is_looked_at(registry: PluginRegistry, shared_cache: Path) -> None:
    runner = _runner(registry, shared_cache, "entropy", views=160)
    target = _point(runner)
    found = select_snapshots(runner, 0, SELECTORS, 2, SilentProgress(), target)
    job = runner.job(0, target)
    # A tenth of the views, by the method's settings, in two parts.
    assert [snapshot.views for snapshot in found.snapshots] == [8, 16]
    assert not (job.source_directory / "snapshots").exists()
    entropies = [snapshot.scores["entropy"] for snapshot in found.snapshots]
    assert entropies[0] != entropies[1]


def test_a_target_is_asked_for_where_it_is_needed(registry: PluginRegistry, shared_cache: Path) -> None:
    with pytest.raises(UsageError, match="method 'dann' needs a target; the points are nominal, throw1"):
        select_snapshots(_runner(registry, shared_cache, "dann"), 0, SOURCE_ONLY, 3, SilentProgress())
    with pytest.raises(UsageError, match="selector 'entropy' needs a target"):
        select_snapshots(_runner(registry, shared_cache, "classifier"), 0, SELECTORS, 3, SilentProgress())


def test_a_method_without_the_training_loop_has_no_snapshots(registry: PluginRegistry, shared_cache: Path) -> None:
    request = Request("summary-features-voxel-count", "throws", dataset="tiny", device="cpu")
    runner = Runner(request, registry, shared_cache, SilentProgress(), processes=1, sealed=False)
    with pytest.raises(UsageError, match="'summary-features-voxel-count' keeps no snapshots"):
        select_snapshots(runner, 0, SOURCE_ONLY, 3, SilentProgress())


def test_the_command_prints_scores_and_apart_what_they_are_worth(
    registry: PluginRegistry, shared_cache: Path, tiny_plugin: Path
) -> None:
    runner = _runner(registry, shared_cache, "classifier")
    runner.run(0)
    app = Typer()
    app.command()(select)
    options = ["--plugin", str(tiny_plugin), "--cache", str(shared_cache), "--snapshots", "3", "--processes", "1"]

    def output(*arguments: str) -> str:
        found = CliRunner().invoke(app, [runner.key(0), *arguments, *options], catch_exceptions=False)
        assert found.exit_code == 0
        return found.output

    with_target = output("--target", "throw2", "--selector", "entropy")
    scores, worth = with_target.split("What that is worth")
    assert "entropy" in scores
    assert "oracle" not in scores
    assert "source-validation" not in scores
    assert [line.split()[0] for line in worth.splitlines()[1:]] == ["chosen", "entropy", "(the", "oracle"]
    without = output()
    assert "source-validation" in without
    assert "oracle" not in without
    with pytest.raises(UsageError, match="unknown run 'nothing'"):
        CliRunner().invoke(app, ["nothing", *options], catch_exceptions=False)
    with pytest.raises(UsageError, match="unknown target 'throw9'"):
        output("--target", "throw9")
    with pytest.raises(UsageError, match="'entropy' needs --target"):
        output("--selector", "entropy")
