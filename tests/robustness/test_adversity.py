"""A disk that fills, a cache that cannot be written, a clock that goes backwards."""

from __future__ import annotations

import os
import re
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
from nubench.cli.planning import Outlook
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
        pytest.skip(
            "mounting a small disk is for root; where the system lets users be root of a namespace of their own, "
            "this runs it: unshare --map-root-user --mount python -m pytest tests/robustness/test_adversity.py"
        )
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=40m", "none", folder)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def run(disk: Path, *more: str) -> Result:
    return CliRunner().invoke(app, command(disk / "cache", disk / "boards", *more))


def unfinished(folder: Path) -> list[Path]:
    return list(folder.rglob("*.partial"))


def fill(disk: Path, free: int) -> Path:
    """Leave so many bytes free."""
    filler = disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(disk).free - free))
    return filler


def build(disk: Path) -> None:
    """Run once, and remove all but the data."""
    built = run(disk, "--no-sealed")
    assert built.exit_code == 0, built.output
    for folder in ("trainings", "results", "predictions", "embeddings"):
        shutil.rmtree(disk / "cache" / folder, ignore_errors=True)


@pytest.mark.parametrize(
    ("there", "free", "how", "named"),
    [
        ("nothing", 10_000_000, "--no-sealed", r"cannot write \S*/truth/train\.h5: the disk is full"),
        ("data", 40_000, "--no-sealed", r"cannot access \S*/weights\.safetensors: the disk is full"),
        ("data", 0, "--no-sealed", r"cannot access \S*/cache/\S+: the disk is full"),
        ("data", 200_000, "--sealed", r"cannot access \S*/handouts/\S+/train\.safetensors: the disk is full"),
    ],
)
def test_a_disk_that_fills_while_it_is_written_is_named_and_the_run_goes_on_when_there_is_room(
    world: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch, there: str, free: int, how: str, named: str
) -> None:
    """The writers themselves meet the end of the disk, as they do when another program fills it meanwhile."""
    if there == "data":
        build(small_disk)
    monkeypatch.setattr(Outlook, "check_space", lambda *_: None)
    filler = fill(small_disk, free)
    failed = run(small_disk, how)
    assert failed.exit_code == 1, failed.output
    assert re.search(named, failed.output), failed.output
    assert "Traceback" not in failed.output
    assert unfinished(small_disk) == []
    filler.unlink()
    again = run(small_disk, how)
    assert again.exit_code == 0, again.output
    assert unfinished(small_disk) == []
    assert len(list((small_disk / "cache" / "results").glob("*.json"))) == 1


def test_a_full_disk_of_the_boards_leaves_no_half_of_a_board(world: Path, small_disk: Path) -> None:
    done = run(world, "--no-sealed")
    assert done.exit_code == 0, done.output
    boards = small_disk / "boards"
    arguments = ["submit", "--all", "--unsealed", "--cache", str(world / "cache"), "--leaderboards", str(boards)]
    filler = fill(small_disk, 4_096)
    failed = CliRunner().invoke(app, arguments)
    assert failed.exit_code == 1, failed.output
    assert re.search(r"(cannot access|cannot make the folder) \S*/boards/\S+: the disk is full", failed.output)
    assert "Traceback" not in failed.output
    assert [path for path in boards.rglob("*") if path.is_file()] == []
    filler.unlink()
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 0, again.output
    assert len(load_results(boards / "submissions")) == 1
    assert list(boards.rglob("README.md"))


def test_a_disk_that_is_too_small_is_found_before_anything_is_written(world: Path, small_disk: Path) -> None:
    filler = fill(small_disk, 17_000_000)
    failed = run(small_disk, "--no-sealed")
    assert failed.exit_code == 1, failed.output
    cache = small_disk / "cache"
    assert re.search(rf"the disk of the cache {cache} has 17 MB free; about \d+ MB are needed", failed.output)
    assert [path for path in small_disk.rglob("*") if path.is_file()] == [filler]


def test_a_finished_run_is_read_from_a_cache_that_cannot_be_written(world: Path, small_disk: Path) -> None:
    first = run(small_disk, "--no-sealed")
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

    assert run(world, "--no-sealed", "--seeds", "2").exit_code == 0
    monkeypatch.setattr(nubench.runs.runner, "datetime", Backwards)
    start = time.time()
    ticks = iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: start - 86_400.0 * next(ticks))
    other = world / "other"
    assert run(other, "--no-sealed", "--seeds", "2").exit_code == 0
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
