"""What holds for every method that is given target events: determinism, going on after a kill, and the firewall."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from shifted_domain import draw_events, fit, small_context, small_view

from nubench.adaptation import draw_labelled, joined
from nubench.containers import LabelledEvents
from nubench.datasets.cards import Normalisation
from nubench.errors import PluginError
from nubench.evaluation.scoring import Evaluator
from nubench.methods import Context, Method, TrainingConfig, TrainingView
from nubench.profiles import PROFILES
from nubench.progress import SilentProgress, Task
from nubench.runs.request import make_config
from nubench.sparse.batch import SparseBatch
from nubench.training import Step, TrainingRecord
from nubench.training import loop as training
from nubench_plugins.dann import Dann
from nubench_plugins.entropy import Entropy
from nubench_plugins.feature_alignment import Coral, Mmd
from nubench_plugins.pseudo_label import PseudoLabel
from nubench_plugins.statistics_alignment import StatisticsAlignment
from nubench_plugins.target_oracle import TargetOracle
from training_views import training_view

Make = Callable[..., LabelledEvents]
METHODS = [Dann, Coral, Mmd, StatisticsAlignment, PseudoLabel, Entropy, TargetOracle]
AFTER_THE_SOURCE = [StatisticsAlignment, PseudoLabel, Entropy]
BUDGET = {"views": 2560, "batch_size": 64}

pytestmark = pytest.mark.usefixtures("one_thread")


class CountingProgress(SilentProgress):
    """Counts the steps of all trainings, and ends the process, as it were, at one of them."""

    def __init__(self, kill_at: int = -1) -> None:
        self.steps = 0
        self._kill_at = kill_at

    @contextmanager
    def task(self, title: str, total: int, unit: str, done: int = 0) -> Iterator[Task]:
        """See :class:`nubench.progress.Progress`."""
        yield self

    def advance(self, amount: int, note: str = "") -> None:
        """Count a step."""
        self.steps += 1
        if self.steps == self._kill_at:
            raise KeyboardInterrupt


def _scores(method: type[Method], data: TrainingView, context: Context) -> np.ndarray:
    scores = fit(method, data, context, **BUDGET).log_probabilities(draw_events(50, 9)[0])
    assert scores is not None
    return scores


@pytest.mark.parametrize("method", METHODS)
def test_the_seed_decides_and_a_killed_training_goes_on(
    method: type[Method], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_INTERVAL_SECONDS", 0.0)
    data, whole = small_view(method, displaced=1.0), CountingProgress()
    expected = _scores(method, data, small_context(tmp_path / "whole", progress=whole))

    # In the first tenth, and in the last: with two phases that is one kill in each.
    for kill_at in (whole.steps // 10, whole.steps - 1):
        with pytest.raises(KeyboardInterrupt):
            _scores(method, data, small_context(tmp_path / "killed", progress=CountingProgress(kill_at)))
        rest = CountingProgress()
        resumed = _scores(method, data, small_context(tmp_path / "killed", progress=rest))
        assert np.array_equal(resumed, expected)
        assert rest.steps <= whole.steps - kill_at + 1
        for file in [*tmp_path.glob("killed/**/*.*")]:
            file.unlink()

    again = CountingProgress()
    assert np.array_equal(_scores(method, data, small_context(tmp_path / "whole", progress=again)), expected)
    assert again.steps == 0
    assert not np.array_equal(_scores(method, data, small_context(tmp_path / "other", seed=4)), expected)


@pytest.mark.parametrize("method", METHODS)
def test_target_events_that_are_not_given_cannot_be_read(method: type[Method], tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=f"'{method.name}' reads the target events"):
        _scores(method, replace(small_view(method), _target=None, _target_labels=None), small_context(tmp_path))


@pytest.mark.parametrize("method", AFTER_THE_SOURCE)
def test_targets_share_the_training_on_the_source(method: type[Method], tmp_path: Path) -> None:
    shared, models, steps = tmp_path / "shared", [], []
    for number, folder in enumerate((shared, shared, tmp_path / "own")):
        progress = CountingProgress()
        context = replace(small_context(tmp_path / str(number), progress=progress), _source_directory=folder)
        # The first target differs from the second and the third, which are the same.
        models.append(_scores(method, small_view(method, displaced=0.0 if number == 0 else 2.0), context))
        steps.append(progress.steps)
    assert steps[1] < steps[0] == steps[2]
    assert np.array_equal(models[1], models[2])
    assert not np.array_equal(models[0], models[1])
    weights = [(folder / "weights.safetensors").read_bytes() for folder in (shared, tmp_path / "own")]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("method", METHODS)
def test_methods_run_on_the_shared_backbone_with_their_own_settings(
    method: type[Method], synthetic_events: Make, tmp_path: Path
) -> None:
    source, val, target = synthetic_events(160, 1), synthetic_events(30, 2), synthetic_events(140, 3)
    view = replace(
        training_view(source, val, target.events, method.name),
        _target_labels=target.labels if method.target_access == "labelled" else None,
    )
    context = Context(3, torch.device("cpu"), "smoke", "tiny", "native", tmp_path, SilentProgress())
    model = method(make_config(method, PROFILES["smoke"], {"views": 2048})).fit(view, context)
    scores = Evaluator.of(method.name, model, view).score(synthetic_events(60, 4), 3)
    assert scores.head is not None
    assert 0 < model.backbone_parameters < model.number_of_parameters
    assert model.training_record["views"] <= 2048
    for profile in PROFILES.values():
        make_config(method, profile, {})


def test_drawn_events_have_their_labels() -> None:
    events, labels = draw_events(40, 1)
    events = replace(
        events, features=np.repeat(np.arange(40.0), 3).astype(np.float32)[:, None] @ np.ones((1, 2), np.float32)
    )
    data = replace(small_view(Coral), normalisation=Normalisation(offset=5, scale=2, unit="ADC counts", how="test"))
    step = Step(
        batch=SparseBatch.from_events(events),
        labels=torch.zeros(40, dtype=torch.int64),
        index=np.arange(40),
        target=None,
        generator=torch.Generator().manual_seed(1),
        number=0,
        progress=0.0,
    )
    batch, drawn_labels = draw_labelled(step, events, labels, data)
    drawn = (batch.features[batch.offsets[:-1], 0] * 2 + 5).long()
    assert batch.size == len(drawn_labels) == 40
    assert 1 < len(drawn.unique()) < 40
    assert np.array_equal(drawn_labels.numpy(), labels[drawn.numpy()])


def test_records_are_joined_end_to_end() -> None:
    first = TrainingRecord(2, 20, 40, 1.5, [(20, 3.0), (40, 2.0)])
    second = TrainingRecord(1, 5, 10, 0.25, [(10, 1.0)])
    assert joined([first, second]) == TrainingRecord(3, 25, 50, 1.75, [(20, 3.0), (40, 2.0), (50, 1.0)])


@pytest.mark.parametrize("method", METHODS)
def test_settings_are_documented_with_their_defaults(method: type[Method]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "methods" / "domain-adaptation.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| `")]
    for name, field in method.Config.model_fields.items():
        if name in TrainingConfig.model_fields:
            continue
        default = {True: "on", False: "off"}[field.default] if isinstance(field.default, bool) else str(field.default)
        found = [row for row in rows if f"`{name}`" in row[0] and (f"`{method.name}`" in row[2] or row[2] == "all")]
        assert len(found) == 1, name
        assert default in re.split(r"[ ,;:]+", found[0][1]), name
