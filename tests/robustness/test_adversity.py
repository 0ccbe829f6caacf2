"""A disk that fills, a cache that cannot be written, a clock that goes backwards."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from quick_world import command, open_world
from typer.testing import CliRunner, Result

import nubench.runs.runner
from nubench.cli import app
from nubench.results.files import load_results

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    open_world(tmp_path, monkeypatch)
    return tmp_path


def mount(*arguments: str | Path) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this account may not mount a small disk: {done.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, 40 MB, in memory."""
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("mounting a small disk is for root")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=40m", "none", folder)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def run(disk: Path, *more: str) -> Result:
    return CliRunner().invoke(app, command(disk / "cache", disk / "boards", "--no-sealed", *more))


def unfinished(folder: Path) -> list[Path]:
    return list(folder.rglob("*.partial"))


@pytest.mark.parametrize("free", [17_000_000, 200_000, 0])
def test_a_full_disk_is_named_and_the_run_goes_on_when_there_is_room(world: Path, small_disk: Path, free: int) -> None:
    """At first there is room for no data, then for no weights, then for nothing."""
    filler = small_disk / "filler"
    if free < 1_000_000:
        built = CliRunner().invoke(app, command(small_disk / "cache", small_disk / "boards", "--no-sealed"))
        assert built.exit_code == 0, built.output
        for folder in ("trainings", "results", "predictions"):
            shutil.rmtree(small_disk / "cache" / folder)
    filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - free))
    failed = run(small_disk)
    assert failed.exit_code == 1, failed.output
    assert "disk" in failed.output
    assert "Traceback" not in failed.output
    assert unfinished(small_disk) == []
    filler.unlink()
    assert run(small_disk).exit_code == 0


def test_a_finished_run_is_read_from_a_cache_that_cannot_be_written(world: Path, small_disk: Path) -> None:
    first = run(small_disk)
    assert first.exit_code == 0, first.output
    mount("-o", "remount,ro", small_disk)
    boards = world / "boards"
    again = CliRunner().invoke(app, command(small_disk / "cache", boards, "--no-sealed"))
    assert again.exit_code == 0, again.output
    assert "finished before" in again.output
    other = CliRunner().invoke(app, command(small_disk / "cache", boards, "--no-sealed", "--seed", "1"))
    assert other.exit_code == 1
    assert "read-only" in other.output
    assert "Traceback" not in other.output


def test_a_clock_that_goes_backwards_changes_nothing_but_the_dates(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Backwards(datetime):
        last = datetime(2040, 1, 1, tzinfo=UTC)

        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            cls.last -= timedelta(days=400)
            return cls.last

    assert run(world, "--seeds", "2").exit_code == 0
    monkeypatch.setattr(nubench.runs.runner, "datetime", Backwards)
    start = time.time()
    ticks = iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: start - 86_400.0 * next(ticks))
    other = world / "other"
    assert run(other, "--seeds", "2").exit_code == 0
    found = []
    for place in (world, other):
        arguments = ["submit", "--all", "--unsealed", "--cache", place / "cache", "--leaderboards", place / "boards"]
        submitted = CliRunner().invoke(app, list(map(str, arguments)))
        assert submitted.exit_code == 0, submitted.output
        found.append(load_results(place / "boards" / "submissions"))
    now, back = found
    assert [result.points for result in now] == [result.points for result in back]
    assert back[0].created > back[1].created
    assert all(result.cost.wall_seconds > 0 and result.training.seconds > 0 for result in back)
