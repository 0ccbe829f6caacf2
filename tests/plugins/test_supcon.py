from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nubench.containers import Float32, LabelledEvents
from nubench.evaluation.scoring import Evaluator
from nubench.methods import Context, TrainingConfig, TrainingView
from nubench.profiles import PROFILES
from nubench.progress import SilentProgress
from nubench.runs.request import make_config
from nubench_plugins.simclr import SimCLR, SimCLRConfig
from nubench_plugins.supcon import SupCon, SupConConfig
from training_views import training_view

Make = Callable[..., LabelledEvents]
BUDGET = {"views": 6400, "batch_size": 64, "learning_rate": 3e-3}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def view(synthetic_events: Make) -> TrainingView:
    source, val = synthetic_events(192, 1), synthetic_events(48, 2)
    return training_view(source, val, method="supcon")


def _context(directory: Path) -> Context:
    directory.mkdir(exist_ok=True)
    return Context(3, torch.device("cpu"), "smoke", "tiny", "native", directory, SilentProgress())


def _embeddings(
    view: TrainingView, directory: Path, method: type[SupCon] | type[SimCLR] = SupCon, **settings: Any
) -> Float32:
    config = make_config(method, PROFILES["smoke"], {"views": 256, "batch_size": 64, **settings})
    return method(config).fit(view, _context(directory)).embed(view.val)


@pytest.mark.parametrize("variant", ["in", "out"])
def test_the_probe_reads_the_classes_off_the_embeddings(
    view: TrainingView, synthetic_events: Make, tmp_path: Path, variant: str
) -> None:
    config = make_config(SupCon, PROFILES["smoke"], BUDGET | {"variant": variant})
    model = SupCon(config).fit(view, _context(tmp_path))
    scores = Evaluator.of("supcon", model, view).score(synthetic_events(300, 4), 3).get("probe")
    assert scores is not None
    assert scores.accuracy > 0.7
    assert model.training_record["views"] == 6400
    assert model.training_record["events"] == 3200


def test_alpha_0_trains_what_simclr_trains(view: TrainingView, tmp_path: Path) -> None:
    simclr = _embeddings(view, tmp_path / "simclr", SimCLR)
    for variant in ("in", "out"):
        supcon = _embeddings(view, tmp_path / variant, alpha=0.0, variant=variant)
        assert np.allclose(supcon, simclr, rtol=1e-3, atol=1e-4)
    assert not np.allclose(_embeddings(view, tmp_path / "alpha"), simclr, rtol=0.05)


def test_the_settings_reach_the_loss(view: TrainingView, tmp_path: Path) -> None:
    settings: list[dict[str, Any]] = [{}, {"temperature": 0.5}, {"alpha": 0.5}, {"variant": "out"}]
    embeddings = [_embeddings(view, tmp_path / str(number), **changed) for number, changed in enumerate(settings)]
    for one in range(4):
        for other in range(one):
            assert not np.allclose(embeddings[one], embeddings[other], rtol=1e-3)


def test_the_settings_stand_on_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "methods" / "contrastive.md").read_text()
    for config in (SupConConfig, SimCLRConfig):
        for name, field in config.model_fields.items():
            if name not in TrainingConfig.model_fields:
                assert f"| `{name}` | {field.default} |" in page
