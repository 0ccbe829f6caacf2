"""Locks between processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from nubench.storage.locking import locked

HOLDER = """
import sys
from pathlib import Path
from nubench.storage.locking import locked

with locked(Path(sys.argv[1]), print, "waiting"):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_whoever_waits_for_another_process_says_so_once(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    said: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"

        def let_go(message: str) -> None:
            said.append(message)
            assert holder.stdin is not None
            holder.stdin.write("\n")
            holder.stdin.flush()

        with locked(file, let_go, "another one is at it"):
            assert said == ["another one is at it"]
            assert holder.wait(60) == 0


def test_a_lock_that_is_free_is_taken_without_a_word(tmp_path: Path) -> None:
    said: list[str] = []
    for _ in range(2):
        with locked(tmp_path / "lock", said.append, "never"):
            pass
    assert said == []
