"""`nubench status`: a row for each cell that was launched."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from nubench.cli import app
from nubench.launching import scheduler
from nubench.launching.commands import RunCommand
from nubench.launching.records import JobRecord, Launched, Submission, now


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache from which two cells were launched: one has failed, one waits."""
    for method in ("supcon", "dann"):
        cell = RunCommand(method=method, shift="crosstalk", source="level-0.25", seed=3)
        launched = Launched.called(tmp_path, cell.name)
        launched.write_submission(
            Submission(
                name=cell.name,
                cell=cell,
                command=("true",),
                launcher="slurm",
                job=f"12_{method}",
                log=f"{method}.out",
                submitted=now(),
            )
        )
        if method == "dann":
            record = JobRecord(
                state="failed", host="node7", pid=1, starts=2, started=now(), seen=now(), note="[red]out of memory"
            )
            launched.write_job(record)
    monkeypatch.setattr(scheduler, "_squeue", lambda *arguments: {"12_supcon": "PENDING"})
    return tmp_path


def test_every_cell_has_a_row_and_the_states_are_counted(cache: Path) -> None:
    done = CliRunner().invoke(app, ["status", "--cache", str(cache), "--log"], catch_exceptions=False)
    rows = [line.split() for line in done.output.splitlines()]
    assert rows[0][:5] == ["method", "shift", "source", "seed", "profile"]
    failed, queued = sorted(rows[1:3])
    assert failed[:8] == ["dann", "crosstalk", "level-0.25", "3", "smoke", "failed", "12_dann", "2"]
    # What a program prints is text, and no markup.
    assert failed[-3:] == ["[red]out", "of", "memory"]
    assert queued[:8] == ["supcon", "crosstalk", "level-0.25", "3", "smoke", "queued", "12_supcon", "0"]
    assert [row[-1] for row in rows[3:5]] == ["dann.out", "supcon.out"]
    assert done.output.splitlines()[-1] == "1 queued, 1 failed"


def test_only_some_states_are_shown(cache: Path) -> None:
    done = CliRunner().invoke(app, ["status", "--cache", str(cache), "--state", "failed"], catch_exceptions=False)
    assert "dann" in done.output
    assert "supcon" not in done.output
    unknown = CliRunner().invoke(app, ["status", "--cache", str(cache), "--state", "fail"])
    assert unknown.exit_code == 2
    assert "did you mean 'failed'" in unknown.output


def test_nothing_launched_is_said(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["status", "--cache", str(tmp_path)], catch_exceptions=False)
    assert done.exit_code == 0
    assert "Nothing was launched" in done.output
