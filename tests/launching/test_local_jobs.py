"""Jobs on this machine: what they run, what their records say, what happens when they are stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from waiting import wait_for

from nubench.errors import NubenchError
from nubench.launching.commands import RunCommand, data_for
from nubench.launching.launch import Launcher
from nubench.launching.processes import Process, start_of
from nubench.launching.records import JobRecord, Launched, Submission, now
from nubench.launching.status import status_of
from nubench.progress import SilentProgress

FAKE = Path(__file__).with_name("fake_command.py")

pytestmark = pytest.mark.slow


@pytest.fixture
def launcher(tmp_path: Path) -> Launcher:
    """A launcher of the fake command."""
    return Launcher(tmp_path / "cache", tmp_path / "boards", tmp_path, SilentProgress(), (sys.executable, str(FAKE)))


def _record(launcher: Launcher, cell: RunCommand) -> JobRecord:
    record = Launched.called(launcher.cache, cell.name).job()
    assert record is not None
    return record


def test_data_come_first_and_a_cell_that_fails_stops_no_other(launcher: Launcher) -> None:
    cells = [
        RunCommand(method="fails", shift="throws"),
        *(RunCommand(method="quick", shift="throws", seed=s) for s in range(2)),
    ]
    ended = launcher.here(cells, parallel=2)
    assert (launcher.cache / "data-was-built").exists()
    assert [_record(launcher, cell).state for cell in cells] == ["failed", "finished", "finished"]
    assert _record(launcher, cells[0]).note == "the loss is nan at step 7"
    assert _record(launcher, cells[0]).exit_code == 1
    assert sorted(path.name for path in launcher.leaderboards.iterdir()) == ["quick-0.log", "quick-1.log"]
    assert [one.state for one in ended] == ["failed", "finished", "finished"]
    submission = ended[0].submission
    assert submission.log is not None
    assert "the loss is nan" in Path(submission.log).read_text()
    assert submission.cell == cells[0]


@pytest.mark.parametrize(
    ("parallel", "from_outside", "given"),
    [(2, None, "3"), (16, None, "1"), (1, None, "all"), (2, "5", "5")],
)
def test_cells_beside_each_other_divide_the_cores(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch, parallel: int, from_outside: str | None, given: str
) -> None:
    monkeypatch.setattr("nubench.launching.local.available_cores", lambda: 6)
    if from_outside is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", from_outside)
    cell = RunCommand(method="quick", shift="throws")
    launcher.here([cell], parallel, build_data=False)
    assert _record(launcher, cell).note == f"threads: {given}"


def test_cells_do_not_start_without_their_data(launcher: Launcher) -> None:
    cell = RunCommand(method="quick", shift="throws", dataset="broken")
    with pytest.raises(NubenchError, match=r"data-throws-smoke-\w+ ended without its data: .*; its output: .*\.log"):
        launcher.here([cell], parallel=1)
    assert Launched.called(launcher.cache, cell.name).submission() is None


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM])
def test_a_job_that_is_told_to_stop_keeps_its_steps(launcher: Launcher, number: signal.Signals) -> None:
    cell = RunCommand(method="steps", shift="throws")
    kept = launcher.leaderboards / "steps-0"

    def stop_it() -> None:
        record = Launched.called(launcher.cache, cell.name)
        wait_for(lambda: (job := record.job()) is not None and job.state == "running")
        log = record.submission()
        wait_for(lambda: log is not None and log.log is not None and "training: 3/" in Path(log.log).read_text())
        os.kill(_record(launcher, cell).pid, number)

    stopping = threading.Thread(target=stop_it)
    stopping.start()
    launcher.here([cell], parallel=1, build_data=False)
    stopping.join()
    assert _record(launcher, cell).state == "cancelled"
    assert 3 < int(kept.read_text()) < 30
    assert not kept.with_suffix(".log").exists()
    assert [one.state for one in launcher.here([cell], parallel=1, build_data=False)] == ["finished"]
    submission = Launched.called(launcher.cache, cell.name).submission()
    assert submission is not None
    assert submission.log is not None
    shown = [line for line in Path(submission.log).read_text().splitlines() if line.startswith("training: ")]
    assert shown == [f"training: {step}/30" for step in range(30)], "every step was made once"


def test_a_job_whose_process_is_gone_is_lost(launcher: Launcher) -> None:
    cell = RunCommand(method="quick", shift="throws")
    launcher.here([cell], parallel=1, build_data=False)
    record, launched = _record(launcher, cell), Launched.called(launcher.cache, cell.name)
    launched.write_job(record.model_copy(update={"state": "running"}))
    found = status_of(launched, None, now())
    assert found is not None
    assert found.state == "lost"


@pytest.mark.parametrize("killed", ["command", "job"])
def test_a_job_that_was_killed_has_failed(launcher: Launcher, killed: str) -> None:
    cell = RunCommand(method="killed" if killed == "command" else "steps", shift="throws")

    def kill_it() -> None:
        record = Launched.called(launcher.cache, cell.name)
        wait_for(lambda: (job := record.job()) is not None and job.state == "running")
        os.kill(_record(launcher, cell).pid, signal.SIGKILL)

    killing = threading.Thread(target=kill_it if killed == "job" else lambda: None)
    killing.start()
    (ended,) = launcher.here([cell], parallel=1, build_data=False)
    killing.join()
    assert (ended.state, _record(launcher, cell).exit_code) == ("failed", -signal.SIGKILL)
    assert not _processes_of(launcher), "what it had started has ended with it"


def test_two_launchers_of_one_grid_share_it_out(launcher: Launcher) -> None:
    """Each cell runs once, and neither finds a file of the other gone."""
    both = [_other_launcher(launcher, "quick") for _ in range(2)]
    assert [(one.communicate()[1], one.returncode) for one in both] == [("", 0), ("", 0)]
    for seed in range(2):
        assert len((launcher.leaderboards / f"quick-{seed}.log").read_text().splitlines()) == 1


def test_a_launcher_that_was_killed_blocks_nothing(launcher: Launcher) -> None:
    other = _other_launcher(launcher, "steps")
    first, second = (RunCommand(method="steps", shift="throws", seed=seed) for seed in range(2))
    running = Launched.called(launcher.cache, first.name)
    wait_for(lambda: (job := running.job()) is not None and job.state == "running")
    other.kill()
    other.communicate()
    ended = launcher.here([first, second], parallel=1, build_data=False)
    assert [(one.submission.cell, one.state) for one in ended] == [(second, "finished")]
    wait_for(lambda: _record(launcher, first).state == "finished")
    assert _record(launcher, first).starts == 1


def test_data_that_another_launcher_builds_are_waited_for(launcher: Launcher) -> None:
    cell = RunCommand(method="quick", shift="throws")
    (data,) = data_for([cell])
    others = Launched.called(launcher.cache, data.name)
    other = subprocess.Popen(["sleep", "60"])
    submission = Submission(
        name=data.name,
        cell=None,
        command=("true",),
        launcher="local",
        submitted=now(),
        submitter=Process(host=socket.gethostname(), pid=other.pid, start=start_of(other.pid)),
    )
    others.write_submission(submission)
    waiting = threading.Thread(target=launcher.here, args=([cell], 1))
    waiting.start()
    wait_for(lambda: Launched.called(launcher.cache, cell.name).submission() is not None)
    time.sleep(1)
    assert others.submission() == submission
    other.kill()
    other.wait()
    waiting.join(timeout=60)
    assert _record(launcher, cell).state == "finished"
    assert (launcher.cache / "data-was-built").exists()


def _other_launcher(launcher: Launcher, method: str) -> subprocess.Popen[str]:
    """A process that runs two cells with the same folders, one after another."""
    script = f"""
from pathlib import Path
from nubench.launching.commands import RunCommand
from nubench.launching.launch import Launcher
from nubench.progress import SilentProgress
folders = map(Path, {[str(launcher.cache), str(launcher.leaderboards), str(launcher.directory)]!r})
launcher = Launcher(*folders, SilentProgress(), {launcher.program!r})
launcher.here([RunCommand(method={method!r}, shift="throws", seed=seed) for seed in range(2)], 1)
"""
    return subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)


def _processes_of(launcher: Launcher) -> list[list[str]]:
    words = (process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"]))
    return [line for line in words if str(launcher.cache) in line or str(launcher.leaderboards) in line]
