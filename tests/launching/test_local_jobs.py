"""Jobs on this machine, through submitit: what they run, what their records say, what happens when they are stopped."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nubench.errors import NubenchError
from nubench.launching.commands import RunCommand
from nubench.launching.launch import Launcher
from nubench.launching.records import JobRecord, Launched, now
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


def _wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(300):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("it did not happen in half a minute")


def test_data_come_first_and_a_cell_that_fails_stops_no_other(launcher: Launcher) -> None:
    cells = [
        RunCommand(method="fails", shift="throws"),
        *(RunCommand(method="quick", shift="throws", seed=s) for s in range(2)),
    ]
    launched = launcher.here(cells, parallel=2)
    assert (launcher.cache / "data-was-built").exists()
    assert [_record(launcher, cell).state for cell in cells] == ["failed", "finished", "finished"]
    assert _record(launcher, cells[0]).note == "the loss is nan at step 7"
    assert _record(launcher, cells[0]).exit_code == 1
    assert sorted(path.name for path in launcher.leaderboards.iterdir()) == ["quick-0.log", "quick-1.log"]
    submission = launched[0].submission()
    assert submission is not None
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
    monkeypatch.setattr("nubench.launching.launch.available_cores", lambda: 6)
    if from_outside is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", from_outside)
    cell = RunCommand(method="quick", shift="throws")
    launcher.here([cell], parallel, build_data=False)
    assert _record(launcher, cell).note == f"threads: {given}"


def test_cells_do_not_start_without_their_data(launcher: Launcher) -> None:
    cell = RunCommand(method="quick", shift="throws", dataset="broken")
    with pytest.raises(NubenchError, match=r"data-throws-smoke-\w+ ended without its data"):
        launcher.here([cell], parallel=1)
    assert Launched.called(launcher.cache, cell.name).submission() is None


@pytest.mark.parametrize(
    ("number", "state", "starts"), [(signal.SIGUSR2, "finished", 2), (signal.SIGTERM, "cancelled", 1)]
)
def test_a_job_that_is_told_to_stop_keeps_its_steps(
    launcher: Launcher, number: signal.Signals, state: str, starts: int
) -> None:
    cell = RunCommand(method="steps", shift="throws")
    kept = launcher.leaderboards / "steps-0"

    def stop_it() -> None:
        record = Launched.called(launcher.cache, cell.name)
        _wait_for(lambda: (job := record.job()) is not None and job.state == "running")
        log = record.submission()
        _wait_for(lambda: log is not None and log.log is not None and "training: 3/" in Path(log.log).read_text())
        os.kill(_record(launcher, cell).pid, number)

    stopping = threading.Thread(target=stop_it)
    stopping.start()
    launcher.here([cell], parallel=1, build_data=False)
    stopping.join()
    record = _record(launcher, cell)
    assert (record.state, record.starts) == (state, starts)
    assert 3 < int(kept.read_text()) < 30
    assert kept.with_suffix(".log").exists() == (state == "finished")
    submission = Launched.called(launcher.cache, cell.name).submission()
    assert submission is not None
    assert submission.log is not None
    shown = [line for line in Path(submission.log).read_text().splitlines() if line.startswith("training: ")]
    assert len(shown) == len(set(shown)), "no step was made twice"


def test_a_job_whose_process_is_gone_is_lost(launcher: Launcher) -> None:
    cell = RunCommand(method="quick", shift="throws")
    (launched,) = launcher.here([cell], parallel=1, build_data=False)
    record = _record(launcher, cell)
    launched.write_job(record.model_copy(update={"state": "running", "seen": record.seen.replace(year=2020)}))
    found = status_of(launched, None, now())
    assert found is not None
    assert found.state == "lost"
