"""`nubench run --devices` and `torchrun`: from the command line to a result that one device would have given."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import small_dataset
from nubench.containers import LabelledEvents
from nubench.errors import UsageError
from nubench.launching.commands import RunCommand
from nubench.launching.local import Slots, visible_devices
from nubench.plugins.discovery import load_plugins
from nubench.progress import SilentProgress
from nubench.results.files import load_results
from nubench.results.schema import Result
from nubench.runs.devices import Torchrun, known_devices
from nubench.runs.request import Request
from nubench.runs.runner import Runner

METHOD = '''
"""A classifier that takes its time."""
import os
import time

import torch

import nubench
from nubench.methods import Method, TrainingConfig
from nubench.training import NetworkModel, train


class Leisurely(Method):
    name = "leisurely"
    title = "a classifier that takes its time"
    ranked_by = "head"
    Config = TrainingConfig

    def fit(self, data, context):
        backbone = context.build_backbone(drop_path=0.2)
        head = torch.nn.Linear(backbone.embedding_size, len(data.classes)).to(context.device)

        def loss(step):
            (context.directory / f"step{step.number}").touch()
            time.sleep(float(os.environ.get("SECONDS_A_STEP", 0)))
            return torch.nn.functional.cross_entropy(head(backbone(step.batch)), step.labels)

        record = train({"backbone": backbone, "head": head}, loss, data, self.config, context)
        return NetworkModel(backbone, data, context, record, head)


@nubench.hookimpl
def register_methods():
    return [Leisurely]
'''

SETTINGS = {"views": "150", "batch_size": "15"}
#: torchrun has its own ways of waiting for what hangs; no test does.
_PATIENCE = 120


class _World:
    def __init__(self, folder: Path, synthetic_events: Callable[..., LabelledEvents]) -> None:
        self._folder, self._plugin = folder, folder / "leisurely.py"
        self._plugin.write_text(METHOD)
        for cache in ("alone", "together"):
            small_dataset.build(load_plugins(), folder / cache, synthetic_events)

    def alone(self) -> Result:
        """The result of one device."""
        request = Request("leisurely", "gains", dataset="drawn", settings=SETTINGS, device="cpu")
        return Runner(request, load_plugins([self._plugin]), self._folder / "alone", SilentProgress(), None).run(0)

    def start(self, *options: str, program: tuple[str, ...] = (), seconds: float = 0) -> subprocess.Popen[str]:
        """Start a run that may use several."""
        words = ["run", "--plugin", self._plugin, "--method", "leisurely", "--dataset", "drawn", "--shift", "gains"]
        words += [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
        words += ["--device", "cpu", "--cache", self._folder / "together", "--leaderboards", self._folder / "boards"]
        return subprocess.Popen(
            [sys.executable, "-m", *program, "nubench", *map(str, words), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "SECONDS_A_STEP": str(seconds)},
        )

    def result(self) -> Result:
        """The one that was submitted."""
        (result,) = load_results(self._folder / "boards" / "submissions")
        return result

    def files(self, name: str) -> list[Path]:
        """Those of this name in the folder of the training."""
        return list((self._folder / "together" / "trainings").glob(f"*/{name}"))


@pytest.mark.slow
def test_two_devices_interrupted_and_gone_on_with_by_torchrun_give_what_one_gives(
    tmp_path: Path, synthetic_events: Callable[..., LabelledEvents]
) -> None:
    world = _World(tmp_path, synthetic_events)
    interrupted = world.start("--devices", "2", seconds=0.3)
    while not world.files("step3"):
        assert interrupted.poll() is None, interrupted.communicate()
        time.sleep(0.05)
    interrupted.send_signal(signal.SIGINT)
    out, err = interrupted.communicate(timeout=_PATIENCE)
    assert interrupted.returncode == 130, (out, err)
    assert err == "nubench: interrupted; the same command goes on from here\n"
    assert world.files("checkpoint.pt")
    assert not world.files("step9")

    program = ("torch.distributed.run", "--nproc-per-node", "2", "-m")
    resumed = world.start(program=program)
    out, err = resumed.communicate(timeout=_PATIENCE)
    assert resumed.returncode == 0, (out, err)
    assert out.count("source events, tiny backbone") == 1

    one, two = world.alone(), world.result()
    assert [entry.step for entry in two.training.history] == [entry.step for entry in one.training.history]
    for of_one, of_two in zip(one.training.history, two.training.history, strict=True):
        assert of_two.values["loss"] == pytest.approx(of_one.values["loss"], rel=1e-5, abs=1e-6)
    for at_one, at_two in zip(one.points, two.points, strict=True):
        for readout_of_one, readout_of_two in (
            (at_one.readouts.head, at_two.readouts.head),
            (at_one.readouts.probe, at_two.readouts.probe),
        ):
            assert readout_of_one is not None
            assert readout_of_two is not None
            assert readout_of_two.accuracy == readout_of_one.accuracy


def test_torchrun_is_found_by_what_it_tells_its_processes() -> None:
    told = {"TORCHELASTIC_RUN_ID": "x", "RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    assert Torchrun.found(told) == Torchrun(1, 2)
    assert Torchrun.found({"RANK": "1", "WORLD_SIZE": "2"}) is None
    with pytest.raises(UsageError, match="torchrun started 4 processes, 2 of them here"):
        Torchrun.found({**told, "WORLD_SIZE": "4"})


def test_devices_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert known_devices(3, "cpu") == 3
    with pytest.raises(UsageError, match="--no-sealed trains in the process of the evaluation"):
        known_devices(2, "cpu", sealed=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert known_devices(2, "cuda") == 2
    with pytest.raises(UsageError, match="--devices 4 is more than the 2 GPUs that are visible here"):
        known_devices(4, "cuda")


def test_a_job_is_told_how_many_devices_share_its_training() -> None:
    command = RunCommand(method="supcon", shift="throws", devices=4)
    words = command.arguments(Path("cache"), Path("boards"))
    assert words[words.index("--devices") + 1] == "4"
    assert "--devices" not in RunCommand(method="supcon", shift="throws").arguments(Path("cache"), Path("boards"))


@pytest.mark.parametrize(
    ("visible", "count", "jobs"), [(None, 3, ["0,1", "2,0"]), ("5,GPU-7a", 2, ["5,GPU-7a"] * 2), ("", 0, ["", ""])]
)
def test_jobs_take_turns_on_the_devices_that_are_visible_here(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, count: int, jobs: list[str]
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    slots = Slots(2, visible_devices([RunCommand(method="supcon", shift="throws", devices=2)]), each=2)
    assert [slots.visible(slot) for slot in range(2)] == jobs
