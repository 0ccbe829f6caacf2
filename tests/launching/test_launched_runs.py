"""`nubench run --launcher`: from the command line to the leaderboard."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nubench.cli import app
from nubench.launching import launch
from nubench.launching.commands import RunCommand
from nubench.launching.launch import Launcher
from nubench.launching.records import Launched
from nubench.results.files import load_results
from nubench.runs.failures import FailureBook, failure_of


def _nubench(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nubench", *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )


@pytest.mark.slow
def test_cells_run_as_jobs_reach_the_leaderboard(tiny_plugin: Path, shared_cache: Path, tmp_path: Path) -> None:
    words = ("run", "--plugin", tiny_plugin, "--dataset", "tiny", "--shift", "throws", "--seeds", "2")
    words += ("--method", "summary-features-voxel-count", "--cache", shared_cache, "--leaderboards", tmp_path)
    done = _nubench(*words, "--launcher", "local", "--jobs", "2")
    assert done.returncode == 0, done.stderr
    assert [result.seed for result in load_results(tmp_path / "submissions")] == [0, 1]
    assert "2 of 3" in (tmp_path / "lartpc" / "throws" / "smoke" / "README.md").read_text()
    assert "throw6" in done.stdout

    status = _nubench("status", "--cache", shared_cache).stdout
    assert status.splitlines()[-1].split(", ")[-1].endswith("finished")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--launcher", "pbs"), "unknown launcher 'pbs'. Known launchers: local, slurm"),
        (("--slurm", "partition=gpu"), "--slurm is for --launcher slurm"),
        (("--jobs", "2"), "--jobs is for --launcher local"),
        (("--launcher", "slurm", "--slurm", "time=soon"), "--slurm time='soon' is not accepted"),
        (("--launcher", "slurm", "--only-data"), "--only-data builds here and --launcher elsewhere"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    words: tuple[str, ...], message: str, shared_cache: Path
) -> None:
    done = _nubench("run", "--method", "supcon", "--shift", "throws", "--cache", shared_cache, *words)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr


def test_a_cell_that_failed_before_is_no_failure_once_it_waits_in_a_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed_over: list[RunCommand] = []

    def on_slurm(self: Launcher, cells: list[RunCommand], *options: object) -> list[Launched]:
        handed_over.extend(cells)
        return [Launched.called(self.cache, cell.name) for cell in cells]

    names: list[str] = []

    def find(self: FailureBook, name: str) -> object:
        names.append(name)
        place = {"dataset": "lartpc", "shift": "throws", "source": "nominal", "profile": "smoke", "seed": 0}
        return failure_of(ValueError("no memory"), method="summary-features", **place)  # type: ignore[arg-type]

    monkeypatch.setattr(launch.Launcher, "on_slurm", on_slurm)
    monkeypatch.setattr(FailureBook, "find", find)
    words = ["run", "--method", "summary-features", "--shift", "throws", "--launcher", "slurm", "--processes", "3"]
    done = CliRunner().invoke(app, [*words, "--cache", str(tmp_path / "c"), "--leaderboards", str(tmp_path / "b")])
    assert (done.exit_code, len(names)) == (0, 1), done.output
    assert "no memory" not in done.output
    assert [cell.processes for cell in handed_over] == [3]
