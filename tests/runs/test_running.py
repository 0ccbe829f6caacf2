"""A run as the grid sees it: its name, what is found again, and what a result records."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from nubench.errors import PluginError
from nubench.evaluation.cached_embeddings import load_run
from nubench.evaluation.confinement import can_confine
from nubench.evaluation.labels import load_labels
from nubench.evaluation.predictions import read_predictions
from nubench.plugins.discovery import load_plugins
from nubench.plugins.registry import PluginRegistry
from nubench.progress import SilentProgress
from nubench.results.bits import unpack
from nubench.runs.request import Request
from nubench.runs.runner import Runner
from nubench.storage.files import sha256_of

METHOD = """
import numpy as np
import nubench
from nubench.methods import Method, Model

class Size(Model):
    def log_probabilities(self, events):
        voxels = np.log(events.voxels_per_event.astype(np.float32))[:, None]
        scores = voxels * np.arange(5, dtype=np.float32) / 5
        return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))

class Sizes(Method):
    name = "sizes"
    title = "by the number of voxels"
    ranked_by = "head"
    uses_backbone = False
    target_access = "{access}"

    def fit(self, data, context):
        {body}
        return Size()

@nubench.hookimpl
def register_methods():
    return [Sizes]
"""


def _registry(folder: Path, tiny: Path, access: str = "none", body: str = "pass") -> PluginRegistry:
    file = folder / "sizes.py"
    file.write_text(METHOD.format(access=access, body=body))
    return load_plugins([tiny, file])


def _runner(registry: PluginRegistry, cache: Path, **more: Any) -> Runner:
    request = Request("sizes", "throws", dataset="tiny", device="cpu")
    return Runner(request, registry, cache, SilentProgress(), 2, **more)


@pytest.mark.slow
def test_a_run_has_a_name_is_found_again_and_keeps_its_predictions(
    tiny_plugin: Path, shared_cache: Path, tmp_path: Path
) -> None:
    registry = _registry(tmp_path, tiny_plugin)
    empty = _runner(registry, tmp_path / "empty")
    assert empty.finished(0) is None
    assert empty.key(0).startswith("sizes-seed0-")
    assert not (tmp_path / "empty" / "data").exists()

    runner = _runner(registry, shared_cache)
    assert runner.finished(0) is None
    result = runner.run(0)
    assert runner.finished(0) == result == _runner(registry, shared_cache).run(0)
    assert runner.key(0) == _runner(registry, shared_cache).key(0)
    assert len({runner.key(0), runner.key(1), _runner(registry, shared_cache, sealed=False).key(0)}) == 3
    # Nothing that was handed over or back is left behind.
    of_this = [folder for part in ("trainings", "handouts") for folder in (shared_cache / part).glob("sizes-*")]
    assert len(of_this) == 2
    assert [file for folder in of_this for file in folder.rglob("*.safetensors")] == []

    file = shared_cache / "predictions" / f"{runner.key(0)}.safetensors"
    assert result.predictions == sha256_of(file)
    assert result.sealed is True
    assert result.cost.flops_per_event is None
    assert result.cost.device_seconds is None
    assert result.cost.simulation_seconds is not None
    assert result.test_events is not None
    predictions = read_predictions(file)
    ids = np.unique(np.concatenate([found.event_id for found in predictions.values()]))
    assert len(ids) == result.test_events
    for point, where in zip(result.points, runner.points, strict=True):
        # Whatever the order in which they were handed over, the answers stand beside the right events.
        labels = load_labels(runner.dataset, "test", "throws", where)
        found = predictions[point.point]
        assert found.event_id.tolist() == sorted(labels.truth.event_id.tolist())
        truth = dict(zip(labels.truth.event_id.tolist(), labels.labels.tolist(), strict=True))
        guessed = found.log_probabilities["head"].argmax(axis=1)
        right = np.array([truth[event] for event in found.event_id.tolist()]) == guessed
        scores = point.readouts.head
        assert scores is not None
        assert scores.accuracy == pytest.approx(right.mean())
        assert point.present is not None
        assert scores.right is not None
        present = unpack(point.present, result.test_events)
        assert ids[present].tolist() == found.event_id.tolist()
        assert unpack(scores.right, result.test_events)[present].tolist() == right.tolist()
        voxels = runner.dataset.events("test", "throws", where).voxels_per_event
        by_id = dict(zip(labels.truth.event_id.tolist(), voxels.tolist(), strict=True))
        expected = [4 if by_id[event] > 1 else 0 for event in found.event_id.tolist()]
        assert guessed.tolist() == expected


METRIC = """
import nubench
from nubench.evaluation.metrics import Metric

@nubench.hookimpl
def register_metrics():
    return [Metric("error", "share of wrong events", False, lambda labels, rows: {value})]
"""


def test_another_metric_is_another_result_of_the_same_training(
    tiny_plugin: Path, shared_cache: Path, tmp_path: Path
) -> None:
    _registry(tmp_path, tiny_plugin)
    metric = tmp_path / "metric.py"
    names, trainings = set(), set()
    for value in (None, 0.5, 0.25):
        metric.write_text(METRIC.format(value=value))
        plugins = [tiny_plugin, tmp_path / "sizes.py", *([metric] if value else [])]
        runner = _runner(load_plugins(plugins), shared_cache)
        names.add(runner.key(0))
        trainings.add(runner.job(0, None).directory)
    assert len(names) == 3
    assert len(trainings) == 1


@pytest.mark.slow
def test_sealed_and_unsealed_runs_score_the_same(tiny_plugin: Path, shared_cache: Path, tmp_path: Path) -> None:
    body = "assert data.target.features.size and data.target_labels.size"
    registry = _registry(tmp_path, tiny_plugin, "labelled", body).methods()
    assert registry
    file = tmp_path / "sizes.py"
    file.write_text(file.read_text().replace("uses_backbone", "ranked = False\n    uses_backbone"))
    plugins = load_plugins([tiny_plugin, file])
    results = [_runner(plugins, shared_cache, sealed=sealed).run(0) for sealed in (True, False)]
    assert results[0].points == results[1].points
    assert results[0].validation == results[1].validation
    assert results[0].predictions == results[1].predictions
    assert [result.sealed for result in results] == [True, False]


def test_a_sealed_run_does_not_go_on_from_an_unsealed_training(
    tiny_plugin: Path, shared_cache: Path, tmp_path: Path
) -> None:
    """What is kept of that was written by a plugin that could open the labels."""
    registry = _registry(tmp_path, tiny_plugin, "unlabelled", "assert data.target.features.size")
    sealed, unsealed = (_runner(registry, shared_cache, sealed=sealed) for sealed in (True, False))
    for target in (None, sealed.points[1]):
        one, other = sealed.job(0, target), unsealed.job(0, target)
        folders = {one.directory, one.source_directory, other.directory, other.source_directory}
        assert len(folders) == (2 if target is None else 4)


@pytest.mark.skipif(not can_confine(), reason="this system has no Landlock")
def test_a_confined_run_does_not_go_on_from_a_training_that_was_not(
    tiny_plugin: Path, shared_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = _registry(tmp_path, tiny_plugin)
    confined = _runner(registry, shared_cache).job(0, None)
    monkeypatch.setattr("nubench.runs.runner.can_confine", lambda: False)
    assert _runner(registry, shared_cache).job(0, None).directory != confined.directory


@pytest.mark.slow
@pytest.mark.parametrize("sealed", [True, False])
def test_a_failure_is_the_plugin_s_and_leaves_no_result(
    tiny_plugin: Path, shared_cache: Path, tmp_path: Path, sealed: bool
) -> None:
    registry = _registry(tmp_path, tiny_plugin, body="raise ValueError('no luck')")
    runner = _runner(registry, shared_cache, sealed=sealed)
    with pytest.raises(PluginError, match="method 'sizes' failed in fit: ValueError: no luck"):
        runner.run(0)
    assert runner.finished(0) is None


@pytest.mark.slow
def test_an_interrupt_of_the_command_ends_the_sealed_training(
    tiny_plugin: Path, shared_cache: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "began"
    body = f"import time; from pathlib import Path; Path({str(mark)!r}).write_text(''); time.sleep(600)"
    _registry(tmp_path, tiny_plugin, body=body)
    command = [sys.executable, "-m", "nubench", "run", "--method", "sizes", "--shift", "throws", "--dataset", "tiny"]
    command += ["--plugin", str(tiny_plugin), "--plugin", str(tmp_path / "sizes.py"), "--cache", str(shared_cache)]
    process = subprocess.Popen(
        [*command, "--leaderboards", str(tmp_path / "boards")],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not mark.exists() and process.poll() is None:
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=120)
    assert process.returncode == 130, message
    assert message.strip().splitlines()[-1] == "nubench: interrupted; the same command goes on from here"
    assert "Traceback" not in message
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)


@pytest.mark.slow
@pytest.mark.parametrize("access", ["none", "unlabelled"])
def test_the_embeddings_of_a_run_are_kept_beside_the_right_events(
    tiny_plugin: Path, shared_cache: Path, tmp_path: Path, access: str
) -> None:
    file = tmp_path / "lengths.py"
    file.write_text(
        METHOD.format(access=access, body="pass")
        .replace('name = "sizes"', 'name = "lengths"')
        .replace(
            "    def log_probabilities",
            "    def embed(self, events):\n"
            "        voxels = events.voxels_per_event.astype(np.float32)\n"
            "        return np.stack([voxels, np.sqrt(voxels)], axis=1)\n\n"
            "    def log_probabilities",
        )
    )
    registry = load_plugins([tiny_plugin, file])
    request = Request("lengths", "throws", dataset="tiny", device="cpu")
    runner = Runner(request, registry, shared_cache, SilentProgress(), 2, sealed=False)
    runner.run(0)
    found = load_run(runner.key(0), shared_cache, registry)
    assert len(found.networks) == (1 if access == "none" else len(runner.points))
    for network in found.networks:
        assert len(network.train.labels) == found.result.dataset.events["train"]
        for name, test in network.tests.items():
            point = next(point for point in runner.points if point.name == name)
            voxels = runner.dataset.events("test", "throws", point).voxels_per_event
            assert test.rows[:, 0].tolist() == voxels.tolist()
            labels = load_labels(runner.dataset, "test", "throws", point).labels
            assert test.labels.tolist() == labels.tolist()
