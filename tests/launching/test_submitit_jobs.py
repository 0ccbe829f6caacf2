"""A job as submitit runs it, in its executor for this machine: no cluster is needed to see it stopped and go on."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from waiting import wait_for

from nubench.launching.commands import RunCommand
from nubench.launching.job import CommandJob
from nubench.launching.records import JobRecord, Launched, Submission, now

if TYPE_CHECKING:
    from submitit import Job

FAKE = Path(__file__).with_name("fake_command.py")
BOARDS = "boards"

pytestmark = pytest.mark.slow


def _submit(method: str, folder: Path) -> tuple[Launched, Job[None]]:
    """Submit the fake command as a job that may be queued again."""
    submitit = pytest.importorskip("submitit")
    cell = RunCommand(method=method, shift="throws")
    launched = Launched.called(folder / "cache", cell.name)
    command = (sys.executable, str(FAKE), *cell.arguments(folder / "cache", folder / BOARDS))
    launched.write_submission(Submission(name=cell.name, cell=cell, command=command, launcher="local", submitted=now()))
    executor = submitit.LocalExecutor(folder / "logs", max_num_timeout=3)
    executor.update_parameters(timeout_min=5)
    return launched, executor.submit(CommandJob(launched.folder, folder))


def _record(launched: Launched) -> JobRecord:
    record = launched.job()
    assert record is not None
    return record


def test_a_command_runs_to_its_end(tmp_path: Path) -> None:
    launched, job = _submit("quick", tmp_path)
    wait_for(job.done)
    record = _record(launched)
    assert (record.state, record.exit_code, record.starts) == ("finished", 0, 1)
    assert (tmp_path / BOARDS / "quick-0.log").exists()


def test_a_command_that_fails_makes_the_job_fail(tmp_path: Path) -> None:
    launched, job = _submit("fails", tmp_path)
    wait_for(job.done)
    record = _record(launched)
    assert (record.state, record.note) == ("failed", "the loss is nan at step 7")
    assert "the loss is nan at step 7" in str(job.exception())


def test_a_job_whose_time_is_up_is_queued_again_and_makes_no_step_twice(tmp_path: Path) -> None:
    launched, job = _submit("steps", tmp_path)
    wait_for(lambda: "training: 3/" in (job.stdout() or ""))
    os.kill(_record(launched).pid, signal.SIGUSR2)
    wait_for(job.done)
    record = _record(launched)
    assert (record.state, record.starts) == ("finished", 2)
    assert 3 < int((tmp_path / BOARDS / "steps-0").read_text()) < 30
    shown = [line for line in (job.stdout() or "").splitlines() if line.startswith("training: ")]
    assert len(shown) == len(set(shown)) == 30
