"""`nubench run --launcher`: from the command line to the leaderboard."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nubench.results.files import load_results


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
    ],
)
def test_options_that_contradict_each_other_are_refused(
    words: tuple[str, ...], message: str, shared_cache: Path
) -> None:
    done = _nubench("run", "--method", "supcon", "--shift", "throws", "--cache", shared_cache, *words)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
