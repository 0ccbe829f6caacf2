"""`nubench study`: what is left of a study, and the report of what is there."""

from __future__ import annotations

import re
from pathlib import Path

from typer.testing import CliRunner

from nubench.cli import app

STUDY = Path(__file__).parents[2] / "studies" / "smoke.toml"


def _study(command: str, folder: Path, *more: str) -> str:
    words = ["study", command, str(STUDY), "--figure", "figure-3", "--leaderboards", str(folder), *more]
    done = CliRunner().invoke(app, [*words, "--cache", str(folder / "cache")], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_what_is_left_is_shown_and_nothing_is_run(tmp_path: Path) -> None:
    status = _study("status", tmp_path)
    assert status.count("missing") == 4
    assert "0 of 4 cells are on the leaderboard" in status
    planned = _study("run", tmp_path, "--dry-run")
    assert "4 cells: 4 to run" in planned
    assert not (tmp_path / "cache" / "results").exists()


def test_a_dry_run_says_the_memory_of_the_runs_that_go_on_at_once(tmp_path: Path) -> None:
    def memory(*more: str) -> float:
        found = re.search(r"memory: about ([0-9.]+) GB", _study("run", tmp_path, "--dry-run", *more))
        assert found is not None
        return float(found[1])

    assert "GB for 3 runs at once" in _study("run", tmp_path, "--dry-run", "--launcher", "local", "--jobs", "3")
    assert memory("--launcher", "local", "--jobs", "3") > 2 * memory()


def test_a_report_is_written_before_anything_is_there(tmp_path: Path) -> None:
    said = _study("report", tmp_path, "--out", str(tmp_path / "report"))
    assert "figure-3: 0 of 4 runs are there" in said
    assert "`dann` trained at nominal: seed 0" in (tmp_path / "report" / "README.md").read_text()


def test_a_figure_that_is_not_there_is_named(tmp_path: Path) -> None:
    words = ["study", "status", str(STUDY), "--figure", "figure-6", "--cache", str(tmp_path)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert "unknown figure 'figure-6'; did you mean" in done.output
