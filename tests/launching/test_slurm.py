"""The same on a real SLURM of one node: arrays, data first, a time that is up, a cancelled job."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from waiting import wait_for

from nubench.errors import UsageError
from nubench.launching.commands import RunCommand, data_for
from nubench.launching.launch import Launcher
from nubench.launching.records import JobRecord, Launched, now
from nubench.launching.scheduler import SlurmOptions, my_jobs
from nubench.launching.status import status_of
from nubench.progress import SilentProgress

FAKE = Path(__file__).with_name("fake_command.py")
OPTIONS = SlurmOptions(minutes=10)

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("slurm")]


@pytest.fixture
def launcher(tmp_path: Path) -> Launcher:
    """A launcher of the fake command."""
    return Launcher(tmp_path / "cache", tmp_path / "boards", tmp_path, SilentProgress(), (sys.executable, str(FAKE)))


def _job(launched: Launched) -> str:
    submission = launched.submission()
    assert submission is not None
    assert submission.job is not None
    return submission.job


def _state(launched: Launched) -> str:
    found = status_of(launched, my_jobs(), now())
    assert found is not None
    return found.state


def _record(launched: Launched) -> JobRecord:
    record = launched.job()
    assert record is not None
    return record


def _steps(launched: Launched) -> int:
    record = launched.submission()
    assert record is not None
    assert record.log is not None
    log = Path(record.log)
    return log.read_text().count("training: ") if log.exists() else 0


def _start_soon(launched: Launched) -> None:
    """SLURM waits for two minutes before it starts a job again; its credential has changed after three seconds."""
    wait_for(lambda: (my_jobs() or {}).get(_job(launched)) == "PENDING", "a place in the queue")
    subprocess.run(["scontrol", "update", f"jobid={_job(launched)}", "starttime=now+3"], check=True)


def test_an_array_of_cells_waits_for_its_data(launcher: Launcher) -> None:
    cells = [RunCommand(method="quick", shift="throws", seed=s) for s in range(3)] + [
        RunCommand(method="fails", shift="throws")
    ]
    launched = launcher.on_slurm(cells, OPTIONS, OPTIONS)
    array = {_job(each).partition("_")[0] for each in launched}
    assert len(array) == 1
    assert [_job(each).partition("_")[2] for each in launched] == ["0", "1", "2", "3"]
    assert launcher.on_slurm(cells[:1], OPTIONS, OPTIONS) == [], "it waits already"
    wait_for(lambda: [_state(each) for each in launched] == [*["finished"] * 3, "failed"])
    (data,) = data_for(cells)
    built = Launched.called(launcher.cache, data.name)
    assert _record(built).seen <= min(_record(each).started for each in launched)
    assert (launcher.cache / "data-was-built").exists()
    assert _record(launched[3]).note == "the loss is nan at step 7"
    assert {path.name for path in launcher.leaderboards.iterdir()} == {f"quick-{seed}.log" for seed in range(3)}


@pytest.mark.parametrize("number", ["USR2", "TERM"])
def test_a_job_that_is_told_to_stop_is_queued_again_and_goes_on(launcher: Launcher, number: str) -> None:
    """USR2 is what SLURM sends before the time is up, TERM when it wants the machine for somebody else."""
    (launched,) = launcher.on_slurm([RunCommand(method="steps", shift="throws")], OPTIONS, None)
    wait_for(lambda: _steps(launched) > 3, "a start")
    subprocess.run(["scancel", f"--signal={number}", _job(launched)], check=True)
    wait_for(lambda: _record(launched).state == "pre-empted", "the end of the first start")
    assert _state(launched) == "pre-empted"
    _start_soon(launched)
    wait_for(lambda: _state(launched) == "finished", "the end")
    assert _record(launched).starts == 2
    submission = launched.submission()
    assert submission is not None
    assert submission.log is not None
    shown = [line for line in Path(submission.log).read_text().splitlines() if line.startswith("training: ")]
    assert shown == [f"training: {step}/30" for step in range(30)]


def test_a_job_that_slurm_takes_back_is_submitted_once(launcher: Launcher) -> None:
    """As it does with a job that makes place for another where PreemptMode is REQUEUE."""
    cell = RunCommand(method="steps", shift="throws")
    (launched,) = launcher.on_slurm([cell], OPTIONS, None)
    wait_for(lambda: _steps(launched) > 3, "a start")
    subprocess.run(["scontrol", "requeue", _job(launched)], check=True)
    wait_for(lambda: _record(launched).state != "running", "the end of the first start")
    assert (_record(launched).state, _state(launched)) == ("pre-empted", "pre-empted")
    assert launcher.on_slurm([cell], OPTIONS, None) == []
    _start_soon(launched)
    wait_for(lambda: _record(launched).starts == 2 and _steps(launched) > 10, "the second start")
    # From now on it is its own word again that counts.
    subprocess.run(["scancel", _job(launched)], check=True)
    wait_for(lambda: _state(launched) == "cancelled", "the end")


def test_a_cancelled_job_is_not_queued_again(launcher: Launcher) -> None:
    (launched,) = launcher.on_slurm([RunCommand(method="steps", shift="throws")], OPTIONS, None)
    wait_for(lambda: _steps(launched) > 3, "a start")
    subprocess.run(["scancel", _job(launched)], check=True)
    wait_for(lambda: _record(launched).state != "running", "an end")
    assert _state(launched) == "cancelled"
    wait_for(lambda: my_jobs() == {}, "an empty queue")


def test_data_that_cannot_be_built_end_the_cells_that_wait(launcher: Launcher) -> None:
    cell = RunCommand(method="quick", shift="throws", dataset="broken")
    (launched,) = launcher.on_slurm([cell], OPTIONS, OPTIONS)
    wait_for(lambda: my_jobs() == {}, "an empty queue")
    later = now().replace(year=now().year + 1)
    found = status_of(launched, my_jobs(), later)
    assert found is not None
    assert (found.state, found.job) == ("lost", None)


def test_an_option_that_slurm_does_not_know_is_named(launcher: Launcher) -> None:
    options = SlurmOptions(others={"partition": "nowhere"})
    cell = RunCommand(method="quick", shift="throws")
    with pytest.raises(UsageError, match=r"SLURM did not accept the jobs: .*partition"):
        launcher.on_slurm([cell], options, None)
    assert Launched.called(launcher.cache, cell.name).submission() is None
