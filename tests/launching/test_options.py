"""What ``--slurm key=value`` means, what a cell is as a command line, and what stands for which state."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import typer

from nubench.cli import app
from nubench.errors import DataError, UsageError
from nubench.launching.commands import RunCommand, data_for
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
    cell = RunCommand.of(request, 3, [Path("mine.py")], sealed=False)
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
    }
    assert {name: list(given[name]) if isinstance(given[name], tuple) else given[name] for name in wanted} == wanted
    assert cell.name != RunCommand.of(request, 4, [Path("mine.py")], sealed=False).name


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


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    launched = Launched(tmp_path)
    (tmp_path / "submission.json").write_text('{"name": "a"')
    with pytest.raises(DataError, match=r"submission\.json: damaged"):
        launched.submission()
