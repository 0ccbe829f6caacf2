"""What killed writers left is removed once nobody can be writing it any more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nubench.cache import cache_folder
from nubench.storage import leftovers
from nubench.storage.files import write_atomically
from nubench.storage.leftovers import SECONDS_AT_REST, remove_leftovers


def aged(path: Path, seconds: float) -> Path:
    """A file that was last written to so long ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half")
    moment = time.time() - seconds
    os.utime(path, (moment, moment))
    return path


def test_old_unfinished_files_go_and_young_and_finished_ones_stay(tmp_path: Path) -> None:
    old = [
        aged(tmp_path / ".result.json.17-ab.partial", SECONDS_AT_REST + 60),
        aged(tmp_path / "deep" / "er" / ".weights.18-cd.partial", 10 * SECONDS_AT_REST),
        aged(tmp_path / ".tmpAWFrcf", 2 * SECONDS_AT_REST),
    ]
    stay = [
        aged(tmp_path / ".result.json.19-ef.partial", SECONDS_AT_REST - 60),
        aged(tmp_path / "result.json", 10 * SECONDS_AT_REST),
        aged(tmp_path / "deep" / ".lock", 10 * SECONDS_AT_REST),
    ]
    assert remove_leftovers(tmp_path) == sorted(old)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(stay)
    assert remove_leftovers(tmp_path / "absent") == []


def test_what_is_being_written_is_never_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(partial: Path) -> None:
        partial.write_bytes(b"whole")
        assert remove_leftovers(tmp_path) == []

    write_atomically(tmp_path / "file", write)
    assert (tmp_path / "file").read_bytes() == b"whole"

    def meanwhile(partial: Path) -> None:
        partial.write_bytes(b"whole")
        # A clock that runs ahead by less than the limit changes nothing.
        monkeypatch.setattr(leftovers.time, "time", lambda: partial.stat().st_mtime + SECONDS_AT_REST - 1)
        assert remove_leftovers(tmp_path) == []

    write_atomically(tmp_path / "file", meanwhile)


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside = aged(tmp_path / "outside" / ".a.partial", 2 * SECONDS_AT_REST)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "linked").symlink_to(outside.parent)
    assert remove_leftovers(tmp_path / "folder") == []
    assert outside.exists()


@pytest.mark.parametrize("name", ["embeddings", "failures", "predictions", "results", "trainings"])
def test_opening_a_cache_removes_them_from_the_folders_of_runs(tmp_path: Path, name: str) -> None:
    leftover = aged(tmp_path / name / "one" / ".a.partial", 2 * SECONDS_AT_REST)
    of_data = aged(tmp_path / "data" / "lartpc" / ".a.partial", 2 * SECONDS_AT_REST)
    cache_folder(tmp_path)
    assert not leftover.exists()
    assert of_data.exists()


KILLED_WRITER = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from nubench.storage.checked_tensors import write_arrays

signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
write_arrays(Path(sys.argv[1]), {"a": np.zeros(100_000)})
"""


def test_what_a_killed_writer_of_arrays_leaves_is_recognised(tmp_path: Path) -> None:
    """The system kills it when the file passes a size; safetensors writes to a name of its own choice."""
    killed = subprocess.run([sys.executable, "-c", KILLED_WRITER, str(tmp_path / "a.safetensors")], check=False)
    assert killed.returncode == -signal.SIGXFSZ
    left = sorted(tmp_path.iterdir())
    assert left
    for path in left:
        aged(path, 2 * SECONDS_AT_REST)
    assert remove_leftovers(tmp_path) == left
