"""Ctrl-C on `nubench run --launcher local`, as a terminal sends it: to nubench and all that shares its group."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from waiting import wait_for

from nubench.launching.records import all_launched, now
from nubench.launching.status import counts, status_of

HERE = Path(__file__).parent
INTERRUPTED = "nubench: interrupted; the same command goes on from here\n"

pytestmark = pytest.mark.slow


class _Terminal:
    """The same command again and again, on a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.cache, self.boards = folder / "cache", folder / "boards"

    def start(self, acts_as: str, seeds: int) -> subprocess.Popen[str]:
        words = ["run", "--method", "summary-features", "--shift", "throws", "--seeds", str(seeds)]
        words += ["--launcher", "local", "--cache", str(self.cache), "--leaderboards", str(self.boards)]
        return subprocess.Popen(
            [sys.executable, str(HERE / "faked_nubench.py"), str(HERE / "fake_command.py"), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "ACTS_AS": acts_as},
        )

    def steps(self) -> list[str]:
        """What all jobs have printed of their steps."""
        logs = sorted((self.cache / "launched" / "logs").glob("summary-features-*.log"))
        return [line for log in logs for line in log.read_text().splitlines() if line.startswith("training: ")]

    def states(self) -> dict[str, int]:
        """How many cells are in which state."""
        found = [status_of(launched, None, now()) for launched in all_launched(self.cache)]
        return dict(counts(one for one in found if one is not None and one.submission.cell is not None))

    def processes(self) -> list[list[str]]:
        """Command lines of all that is still there."""
        words = (process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"]))
        return [line for line in words if any(str(self._folder) in word for word in line)]


def test_ctrl_c_is_one_line_leaves_nothing_and_the_same_command_goes_on(tmp_path: Path) -> None:
    terminal = _Terminal(tmp_path)
    nubench = terminal.start("steps", seeds=2)
    wait_for(lambda: len(terminal.steps()) > 3)
    os.killpg(nubench.pid, signal.SIGINT)
    out, err = nubench.communicate()
    assert (nubench.returncode, err) == (130, INTERRUPTED), out
    assert terminal.processes() == []
    assert terminal.states() == {"cancelled": 1}, "the second one was not started, and is forgotten"
    assert 3 < len(terminal.steps()) < 30

    again = terminal.start("steps", seeds=2)
    out, err = again.communicate()
    assert again.returncode == 0, (out, err)
    assert "waits or runs already" not in out
    assert terminal.states() == {"finished": 2}
    assert sorted(terminal.steps()) == sorted(2 * [f"training: {step}/30" for step in range(30)])


def test_a_second_ctrl_c_ends_what_does_not_stop(tmp_path: Path) -> None:
    terminal = _Terminal(tmp_path)
    nubench = terminal.start("stubborn", seeds=1)
    wait_for(lambda: len(terminal.steps()) > 0)
    os.killpg(nubench.pid, signal.SIGINT)
    assert nubench.stdout is not None
    wait_for(lambda: "jobs keep their work" in (nubench.stdout.readline() if nubench.stdout else ""))
    os.killpg(nubench.pid, signal.SIGINT)
    _, err = nubench.communicate()
    assert (nubench.returncode, err) == (130, INTERRUPTED)
    assert terminal.processes() == []
    assert terminal.states() == {"cancelled": 1}


def test_a_job_that_was_killed_is_named_with_its_log(tmp_path: Path) -> None:
    terminal = _Terminal(tmp_path)
    nubench = terminal.start("killed", seeds=2)
    _, err = nubench.communicate()
    assert nubench.returncode == 1
    lines = err.splitlines()
    assert len(lines) == 2, err
    for seed, line in enumerate(lines):
        assert f"-seed{seed}-" in line
        assert "failed (signal 9): training: 3/30; its output: " in line
        assert Path(line.rpartition("its output: ")[2]).read_text().startswith("training: 3/30")
