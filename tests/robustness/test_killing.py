"""nubench killed at random moments: what it ends with is what it would have ended with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

#: Kills in all; one in eight of them with a sealed training, whose own process takes seconds to start.
KILLS = int(os.environ.get("NUBENCH_KILLS", "50"))
SEALED_KILLS = max(1, KILLS // 8)

#: In each of these it must have been killed.
PHASES = ("build", "train", "evaluate", "submit")

#: Interrupts as by Ctrl-C, and pairs of processes that start together.
INTERRUPTS, PAIRS = 8, 3

pytestmark = pytest.mark.slow


def report_of(folder: Path, *options: str) -> dict[str, Any]:
    """What the program says; it is one of its own, so that nothing of the tests is in the processes that it forks."""
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("killing.py"), folder, *options],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent.parent)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize(
    ("kills", "options"),
    [(KILLS - SEALED_KILLS, ()), (SEALED_KILLS, ("--sealed",)), (INTERRUPTS, ("--interrupt",))],
    ids=["killed", "killed while sealed", "interrupted"],
)
def test_a_run_ended_at_random_moments_leaves_the_same_files_in_the_end(
    tmp_path: Path, kills: int, options: tuple[str, ...]
) -> None:
    report = report_of(tmp_path, "--kills", str(kills), *options)
    # Some more where a phase was missed.
    assert sum(report["phases"].values()) == report["kills"] >= kills
    if kills >= len(PHASES):
        assert all(report["phases"][name] for name in PHASES), report
    assert report["differences"] == []


def test_two_processes_that_do_the_same_at_once_both_end_well(tmp_path: Path) -> None:
    assert report_of(tmp_path, "--pairs", str(PAIRS)) == {"codes": [0], "differences": []}
