"""What ``--slurm key=value`` means, what a cell is as a command line, and what stands for which state."""

from __future__ import annotations

import socket
import subprocess
import time
from datetime import timedelta
from pathlib import Path

import pytest
import typer

from nubench.cli import app
from nubench.errors import DataError, UsageError
from nubench.launching.commands import RunCommand, data_for
from nubench.launching.processes import Process, start_of
from nubench.launching.records import JobRecord, Launched, Submission, now
from nubench.launching.scheduler import minutes_of, parse_slurm
from nubench.launching.status import State, status_of
from nubench.runs.request import Request


def test_options_of_cells_and_of_data() -> None:
    cells, data = parse_slurm(
        [
            "partition=gpu",
            "gres=gpu:1",
            "cpus-per-task=8",
            "time=1-00:30",
            "data.partition=cpu",
            "setup=module load x",
        ]
    )
    assert cells.minutes == data.minutes == 1470
    assert cells.others == {"partition": "gpu", "gres": "gpu:1", "cpus_per_task": "8"}
    assert data.others == {"partition": "cpu", "cpus_per_task": "8"}
    assert cells.parameters()["additional_parameters"] == {
        "requeue": True,
        "partition": "gpu",
        "gres": "gpu:1",
        "cpus-per-task": "8",
    }
    assert cells.setup == ("module load x",)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("partition", "not of the form key=value"),
        ("=gpu", "not of the form key=value"),
        ("time=soon", "minutes, H:M:S or D-H:M"),
        ("time=1", "more than the 120 s to stop"),
        ("array=0-3", "set by nubench itself"),
        ("data.signal=9", "set by nubench itself"),
        ("array_parallelism=0", "a whole number from 1 on"),
        ("nodes=2", "one task on one node; ask for cores with cpus-per-task=N and for GPUs with gres=gpu:N"),
        ("ntasks=2", "'ntasks=2' is not accepted: a cell is one task"),
        ("ntasks-per-node=2", "a cell is one task on one node"),
        ("data.nodes=2", "a cell is one task on one node"),
        ("Partition gpu=1", "not the long name of an option of sbatch"),
        ("comment=a\n#SBATCH --uid=0", "not the long name of an option of sbatch"),
    ],
)
def test_an_option_that_cannot_be_given_is_refused(pair: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_slurm([pair])


def test_times_are_read_as_slurm_reads_them() -> None:
    # https://slurm.schedmd.com/sbatch.html: minutes, minutes:seconds, hours:minutes:seconds, days-hours, ...
    assert [minutes_of(text) for text in ("30", "30:59", "1:30:00", "2-0", "0-1:15", "0-1:15:30")] == [
        *(30, 30, 90, 2880, 75, 75)
    ]


def test_a_cell_is_a_command_line_that_the_program_accepts() -> None:
    request = Request(
        "supcon", "crosstalk", "laptop", "scintillator", "level-0.25", {"alpha": "0.5", "variant": "out"}, "small"
    )
    cell = RunCommand.of(request, 3, [Path("mine.py")], sealed=False, processes=2)
    words = cell.arguments(Path("/cache"), Path("/boards"))
    assert words[0] == "run"
    group: typer.core.TyperGroup = typer.main.get_command(app)  # type: ignore[assignment]
    given = group.commands["run"].make_context("run", words[1:]).params
    wanted = {
        "method": ["supcon"],
        "shift": ["crosstalk"],
        "source": ["level-0.25"],
        "profile": "laptop",
        "dataset": "scintillator",
        "seed": 3,
        "setting": ["alpha=0.5", "variant=out"],
        "backbone": "small",
        "sealed": False,
        "plugin": [Path("mine.py").absolute()],
        "cache": Path("/cache"),
        "leaderboards": Path("/boards"),
        "processes": 2,
    }
    assert {name: list(given[name]) if isinstance(given[name], tuple) else given[name] for name in wanted} == wanted
    assert cell.name != RunCommand.of(request, 4, [Path("mine.py")], sealed=False).name
    assert cell.name == RunCommand.of(request, 3, [Path("mine.py")], sealed=False).name, "the processes change nothing"


def test_cells_share_the_building_of_their_data() -> None:
    cells = [
        RunCommand(method=method, shift=shift, source=source)
        for method in ("supcon", "dann")
        for shift, source in (("crosstalk", "nominal"), ("crosstalk", "level-0.00"), ("leakage", "nominal"))
    ]
    groups = data_for(cells)
    assert [(data.shift, data.methods, data.sources, len(group)) for data, group in groups.items()] == [
        ("crosstalk", ("supcon", "dann"), ("nominal", "level-0.00"), 4),
        ("leakage", ("supcon", "dann"), ("nominal",), 2),
    ]


def test_the_job_of_the_data_simulates_with_as_many_processes_as_its_cells() -> None:
    (data,) = data_for([RunCommand(method="supcon", shift="throws", processes=3)])
    words = data.arguments(Path("cache"), Path("boards"))
    assert words[words.index("--processes") + 1] == "3"
    (data,) = data_for([RunCommand(method="supcon", shift="throws")])
    assert "--processes" not in data.arguments(Path("cache"), Path("boards"))


LONG_AGO = timedelta(hours=3)


@pytest.mark.parametrize(
    ("own", "silence", "queue", "state"),
    [
        (None, LONG_AGO, {"7_1": "PENDING"}, "queued"),
        (None, LONG_AGO, {}, "lost"),
        (None, timedelta(0), {}, "queued"),
        (None, LONG_AGO, None, "queued"),
        ("running", LONG_AGO, {"7_1": "RUNNING"}, "running"),
        ("running", LONG_AGO, {"7_1": "PENDING"}, "pre-empted"),
        ("running", LONG_AGO, {"7_2": "RUNNING"}, "lost"),
        ("running", LONG_AGO, None, "lost"),
        ("running", timedelta(minutes=1), None, "running"),
        ("pre-empted", LONG_AGO, {"7_1": "PENDING"}, "pre-empted"),
        ("pre-empted", LONG_AGO, {}, "lost"),
        ("finished", LONG_AGO, {}, "finished"),
        ("failed", LONG_AGO, None, "failed"),
        ("cancelled", LONG_AGO, {"7_1": "COMPLETING"}, "cancelled"),
        ("cancelled", LONG_AGO, {}, "cancelled"),
        ("cancelled", LONG_AGO, {"7_1": "PENDING"}, "pre-empted"),
        ("cancelled", timedelta(0), {"7_1": "REQUEUED"}, "pre-empted"),
        ("cancelled", LONG_AGO, {"7_1": "RUNNING"}, "pre-empted"),
        # A clock was set: what was heard in the future is not fresh.
        ("running", -LONG_AGO, {}, "lost"),
        ("running", -LONG_AGO, None, "lost"),
        ("running", -timedelta(minutes=1), None, "running"),
    ],
)
def test_the_state_follows_from_records_and_queue(
    tmp_path: Path, own: str | None, silence: timedelta, queue: dict[str, str] | None, state: State
) -> None:
    launched, then = Launched(tmp_path), now() - silence
    submission = Submission(name="a", cell=None, command=("true",), launcher="slurm", job="7_1", submitted=then)
    launched.write_submission(submission)
    if own is not None:
        record = JobRecord.model_validate(
            {"state": own, "host": "elsewhere", "pid": 1, "starts": 1, "started": then, "seen": then}
        )
        launched.write_job(record)
    found = status_of(launched, queue, now())
    assert found is not None
    assert found.state == state


def _of_this_machine(folder: Path, submitter: Process | None, record: JobRecord | None, age: timedelta) -> State:
    launched = Launched(folder)
    launched.write_submission(
        Submission(name="a", cell=None, command=("true",), launcher="local", submitted=now() - age, submitter=submitter)
    )
    if record is not None:
        launched.write_job(record)
    # What is in the queue of a cluster is of no interest to a job of this machine.
    found = status_of(launched, {"1": "PENDING"}, now())
    assert found is not None
    return found.state


def test_a_job_that_waits_for_its_launcher_is_queued_as_long_as_that_runs(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    process = Process(host=socket.gethostname(), pid=ended.pid, start="of a process that has ended")
    ended.wait()
    assert _of_this_machine(tmp_path, Process.this(), None, LONG_AGO) == "queued"
    assert _of_this_machine(tmp_path, process, None, timedelta(0)) == "lost"
    assert _of_this_machine(tmp_path, None, None, timedelta(0)) == "queued", "of an older nubench"
    assert _of_this_machine(tmp_path, None, None, LONG_AGO) == "lost"


@pytest.mark.parametrize("silence", [timedelta(0), LONG_AGO, -LONG_AGO])
def test_a_job_of_this_machine_runs_when_its_process_does(tmp_path: Path, silence: timedelta) -> None:
    this = Process.this()
    record = JobRecord(
        state="running", host=this.host, pid=this.pid, process_start=this.start, starts=1, started=now(), seen=now()
    ).model_copy(update={"seen": now() - silence})
    assert _of_this_machine(tmp_path, None, record, LONG_AGO) == "running"
    # Its number was given to another process since.
    reused = record.model_copy(update={"process_start": "earlier"})
    assert _of_this_machine(tmp_path, None, reused, LONG_AGO) == "lost"
    of_an_older_nubench = record.model_copy(update={"process_start": None})
    assert _of_this_machine(tmp_path, None, of_an_older_nubench, LONG_AGO) == "running"


def test_a_process_that_nobody_has_waited_for_has_ended() -> None:
    process = subprocess.Popen(["true"])
    for _ in range(200):
        if start_of(process.pid) is None:
            break
        time.sleep(0.05)
    assert start_of(process.pid) is None
    assert process.wait() == 0


def test_records_of_an_older_nubench_are_read(tmp_path: Path) -> None:
    (tmp_path / "submission.json").write_text(
        '{"name": "a", "cell": {"method": "supcon", "shift": "throws"}, "command": ["true"], "launcher": "local",'
        ' "job": "12", "log": "a.log", "submitted": "2026-01-01T00:00:00Z"}'
    )
    (tmp_path / "job.json").write_text(
        '{"state": "finished", "host": "node7", "pid": 1, "starts": 1, "started": "2026-01-01T00:00:00Z",'
        ' "seen": "2026-01-01T00:00:00Z", "note": "", "exit_code": 0}'
    )
    found = status_of(Launched(tmp_path), None, now())
    assert found is not None
    assert (found.state, found.submission.submitter) == ("finished", None)


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    launched = Launched(tmp_path)
    (tmp_path / "submission.json").write_text('{"name": "a"')
    with pytest.raises(DataError, match=r"submission\.json: damaged"):
        launched.submission()
