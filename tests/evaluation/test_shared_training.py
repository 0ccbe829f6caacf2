"""A training in one sealed child a device: what comes of it, and how it ends when one of them does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

from nubench.containers import Deposits, LabelledEvents
from nubench.datasets.cards import Normalisation
from nubench.errors import NubenchError
from nubench.evaluation.handout import Handout
from nubench.evaluation.messages import Order
from nubench.evaluation.shared_training import SharedTraining
from nubench.evaluation.trainee import Job
from nubench.progress import SilentProgress

pytestmark = pytest.mark.slow

Make = Callable[..., LabelledEvents]
METHOD = """
import os, sys, time
import torch
import nubench
from torch.distributed import get_rank, get_world_size
from nubench.methods import Method, TrainingConfig
from nubench.training import NetworkModel, train

class Mine(Method):
    name = "mine"
    title = "mine"
    ranked_by = "head"
    Config = TrainingConfig

    def fit(self, data, context):
        print("process", get_rank(), "of", get_world_size(), "has", len(data.resimulator()), "deposits")
        backbone = context.build_backbone()
        head = torch.nn.Linear(backbone.embedding_size, 3)

        def loss(step):
            {body}
            return torch.nn.functional.cross_entropy(head(backbone(step.batch)), step.labels)

        record = train({{"backbone": backbone, "head": head}}, loss, data, self.config, context)
        return NetworkModel(backbone, data, context, record, head)

@nubench.hookimpl
def register_methods():
    return [Mine]
"""


@contextmanager
def _shared(
    folder: Path, synthetic_events: Make, body: str = "pass", batch: int = 16, views: int = 1
) -> Iterator[SharedTraining]:
    train, val = synthetic_events(48, 1), synthetic_events(16, 2)
    plugin = folder / "mine.py"
    plugin.write_text(METHOD.format(body=body))
    directory = folder / "cache" / "trainings" / "one"
    directory.mkdir(parents=True)
    job = Job(
        method="mine",
        config={"views": 64, "batch_size": 16},
        classes=("a", "b", "c"),
        normalisation=Normalisation(offset=90, scale=10, unit="ADC counts", how="test"),
        voxel_size_cm=0.38,
        seed=3,
        device="cpu",
        profile="smoke",
        backbone="tiny",
        engine="native",
        directory=directory,
        source_directory=directory,
        threads=2,
    )
    order = Order(
        job=job,
        plugin_files=(plugin,),
        method="mine",
        backbone="tiny",
        detector="lartpc",
        handout=folder / "cache" / "handouts" / "one",
    )
    rows = np.zeros((48, 3), np.float32)
    deposits = Deposits(np.arange(49), rows, rows + 1, rows[:, 0], rows[:, 0]), np.arange(48) + 7
    handout = Handout(train.events, train.labels, val.events, val.labels)
    forbidden = [folder / "cache" / name for name in ("data", "trainings", "handouts")]
    with SharedTraining(order, handout, forbidden, SilentProgress(), lambda: deposits, 2) as training:
        yield training


@pytest.fixture(autouse=True)
def _no_installed_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Children start faster with the plugin of the test alone."""
    monkeypatch.setenv("NUBENCH_PLUGINS", "")


def test_two_children_share_a_training_and_the_first_answers(
    tmp_path: Path, synthetic_events: Make, capfd: pytest.CaptureFixture[str]
) -> None:
    test = synthetic_events(8, 4).events
    with _shared(tmp_path, synthetic_events) as training:
        training.fit()
        outputs = training.outputs(test)
        report = training.report()
        children = psutil.Process().children()
        assert sum("nubench.evaluation.sealed_child" in " ".join(_words(child)) for child in children) == 1
    assert outputs.log_probabilities is not None
    assert np.isfinite(outputs.log_probabilities).all()
    assert report.training.steps == 4
    assert report.training.events_seen == 64
    assert capfd.readouterr().out == "process 0 of 2 has 48 deposits\n"
    left = {path.name for path in (tmp_path / "cache" / "trainings" / "one").rglob("*") if path.is_file()}
    assert left == {"weights.safetensors", "training.json", ".training.lock"}


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def test_an_error_in_a_process_that_helps_ends_the_training_and_is_shown(
    tmp_path: Path, synthetic_events: Make, capfd: pytest.CaptureFixture[str]
) -> None:
    body = 'assert get_rank() == 0 or step.number < 2, "only here"'
    with pytest.raises(NubenchError, match=r"^process 2 of 2: method 'mine' failed in fit: AssertionError: only here"):  # noqa: SIM117
        with _shared(tmp_path, synthetic_events, body) as training:
            training.fit()
    # The traceback of the process that failed, and not that of the one that lost it.
    assert capfd.readouterr().err.count("Traceback") == 1


def test_a_first_process_that_waits_in_vain_is_ended(
    tmp_path: Path, synthetic_events: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, where nobody says that a connection is lost."""
    monkeypatch.setattr("nubench.evaluation.shared_training._SECONDS_TO_NOTICE", 0.5)
    body = "time.sleep(600 if get_rank() == 0 else 0); os.kill(os.getpid(), 9)"
    with pytest.raises(NubenchError, match=r"^process 2 of 2: the training of 'mine' was killed by SIGKILL"):  # noqa: SIM117
        with _shared(tmp_path, synthetic_events, body) as training:
            training.fit()
