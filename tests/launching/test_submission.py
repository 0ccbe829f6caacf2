"""What is left of a submission to SLURM that was interrupted; a stand-in for submitit's executor takes the jobs."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import submitit

from nubench.interrupts import Interrupted, listening
from nubench.launching import launch
from nubench.launching.commands import RunCommand
from nubench.launching.launch import Launcher
from nubench.launching.records import Launched
from nubench.launching.scheduler import SlurmOptions
from nubench.progress import SilentProgress

CELLS = [RunCommand(method="quick", shift="throws", seed=seed) for seed in range(2)]


@pytest.fixture
def launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Launcher:
    """A launcher that finds SLURM's commands, and an empty queue."""
    monkeypatch.setattr(launch.shutil, "which", lambda name: name)
    monkeypatch.setattr(launch, "my_jobs", dict)
    return Launcher(tmp_path / "cache", tmp_path / "boards", tmp_path, SilentProgress(), ("true",))


def _submit_with(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object]) -> None:
    class Executor:
        def __init__(self, *arguments: Any, **named: Any) -> None: ...

        def update_parameters(self, **parameters: Any) -> None: ...

        def submit_array(self, jobs: Sequence[object]) -> list[SimpleNamespace]:
            meanwhile()
            paths = SimpleNamespace(stdout=Path("job.out"))
            return [SimpleNamespace(job_id=f"12_{place}", paths=paths) for place in range(len(jobs))]

    monkeypatch.setattr(submitit, "SlurmExecutor", Executor)


def _jobs(launcher: Launcher) -> list[str | None]:
    found = [Launched.called(launcher.cache, cell.name).submission() for cell in CELLS]
    return [submission.job if submission else "free" for submission in found]


def test_what_slurm_has_accepted_is_written_down_before_an_interrupt_is_heeded(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    _submit_with(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGINT))
    with listening(), pytest.raises(Interrupted):
        launcher.on_slurm(CELLS, SlurmOptions(), None)
    assert _jobs(launcher) == ["12_0", "12_1"]


def test_an_interrupt_that_ends_sbatch_leaves_nothing_that_blocks_the_same_command(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended_by_the_terminal() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        raise submitit.core.utils.FailedJobError("sbatch died with SIGINT")

    _submit_with(monkeypatch, ended_by_the_terminal)
    with listening(), pytest.raises(Interrupted):
        launcher.on_slurm(CELLS, SlurmOptions(), None)
    assert _jobs(launcher) == ["free", "free"]
    _submit_with(monkeypatch, lambda: None)
    assert len(launcher.on_slurm(CELLS, SlurmOptions(), None)) == 2
    assert _jobs(launcher) == ["12_0", "12_1"]
