"""Kill nubench at random moments, again and again, until it ends; then compare what it made with an undisturbed run.

Run as a program: ``PYTHONPATH=tests python tests/robustness/killing.py FOLDER --kills 50``. It prints one JSON object.
The program imports everything once and forks for each attempt, so that an attempt does not begin with seconds of
imports; a sealed training is a program of its own all the same. An attempt is a process group, and all of it is killed.

A *round* starts with an empty cache: attempts follow each other, each killed, until one ends by itself. Where a phase
was hit too seldom and is still to come, an attempt is killed in it: after its first sign, at a time that is uniform in
what it took undisturbed. Otherwise the time is uniform in the duration of the whole. So every phase is hit, though some
take milliseconds; one that was over before the signal came is aimed at again, some kills beyond those that were asked
for if need be. Checkpoints are written after every step.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from quick_world import command, open_world

import nubench.runs.runner
import nubench.training.loop
from nubench.cli import main as main_of_nubench
from nubench.plugins.discovery import load_plugins
from nubench.results.files import read_result
from nubench.storage.files import sha256_of
from nubench.training.acceleration import make_fabric

INTERRUPTED = 130
LAST_LINE = "nubench: interrupted; the same command goes on from here"

#: What a command does, in this order, by what is finished meanwhile; see :func:`stage`.
PHASES = {
    "build": ("began", "building"),
    "train": ("built", "training"),
    "evaluate": ("trained", "predicted"),
    "submit": ("scored", "submitted"),
}

#: One kill in so many, at least, is in each phase.
AIMED = 8
#: So many more, where one is still without.
FURTHER = 8

#: What differs between two runs of the same: when, how long, how much.
UNLIKE = ("created", "cost")


def main() -> None:
    """Parse the arguments and print a report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sealed", action="store_true", help="train in a process of its own")
    parser.add_argument("--interrupt", action="store_true", help="interrupt as by Ctrl-C instead of killing")
    parser.add_argument("--pairs", type=int, default=0, help="start two at once, so many times, and kill none")
    arguments = parser.parse_args()
    patch = pytest.MonkeyPatch()
    open_world(arguments.folder, patch)
    patch.setattr(nubench.training.loop, "CHECKPOINT_INTERVAL_SECONDS", 0.0)
    torch.set_num_threads(1)
    # What each attempt would load for itself.
    make_fabric(torch.device("cpu"), "32")
    load_plugins()
    for name in ("sklearn.linear_model", "torch._dynamo"):
        importlib.import_module(name)
    trial = Trial(arguments.folder, sealed=arguments.sealed)
    if arguments.pairs:
        report = trial.pairs(arguments.pairs)
    else:
        report = trial.kills(arguments.kills, arguments.seed, signal.SIGINT if arguments.interrupt else signal.SIGKILL)
    sys.stdout.write(json.dumps(report) + "\n")


class Trial:
    """An undisturbed run, and what others are compared with it."""

    def __init__(self, folder: Path, *, sealed: bool) -> None:
        self.folder, self.log, self.commands = folder, folder / "log.txt", _commands(sealed=sealed)
        # The first one also fills the caches of the system.
        timed = [self._undisturbed(place) for place in (folder / "first", folder / "whole")]
        self.duration, self.lengths = min(timed, key=lambda one: one[0])
        self.expected = fingerprint(folder / "whole")

    def _undisturbed(self, place: Path) -> tuple[float, dict[str, float]]:
        """Seconds that the commands take, and those of each phase."""
        first: dict[str, float] = {}

        def look() -> bool:
            first.setdefault(phase(place), time.monotonic())
            return False

        start = time.monotonic()
        if (code := self.start(place, self.log).wait(begun=look)) != 0:
            raise SystemExit(f"the undisturbed run ended with {code}:\n{self.log.read_text()}")
        end = time.monotonic()
        # One that no look saw takes next to nothing.
        begins = {name: first.get(name) for name in PHASES}
        known = [*(moment for moment in begins.values() if moment is not None), end]
        lengths = {
            name: 0.0 if moment is None else min(later for later in known if later > moment) - moment
            for name, moment in begins.items()
        }
        return end - start, lengths

    def start(self, place: Path, log: Path) -> Attempt:
        """Start the commands with a cache and boards in a folder."""
        return Attempt(lambda: self.commands(place), log)

    def kills(self, kills: int, seed: int, number: signal.Signals) -> dict[str, Any]:
        """Kill so many attempts in rounds.

        Returns:
            ``duration`` of the undisturbed commands in seconds, ``kills``, ``rounds``, the ``phases`` in which it was
            killed and how often, the ``stages`` that were reached then, and ``differences`` from the undisturbed run,
            which should be none.
        """
        draw, done, rounds = random.Random(seed), 0, 0
        differences: list[str] = []
        stages: Counter[str] = Counter()
        phases, missed = Counter(dict.fromkeys(PHASES, 0)), Counter[str]()

        def is_done() -> bool:
            unhit = kills >= len(PHASES) and not all(phases.values())
            return done >= kills + (FURTHER if unhit else 0)

        while not is_done():
            rounds += 1
            place = self.folder / f"round{rounds}"
            while True:
                lacking = [name for name in PHASES if phases[name] < max(1, kills // AIMED)]
                aim = next((name for name in lacking if not _reached(place, name)), None)
                attempt = self.start(place, self.log)
                if is_done() or (lacking and aim is None):
                    # The last round ends undisturbed, so that the number of kills is what was asked for; and one in
                    # which nothing that is lacking is still to come.
                    code = attempt.wait()
                elif aim is not None:
                    # What was missed may take less time than it did undisturbed.
                    moment = draw.uniform(0, self.lengths[aim] / (1 + missed[aim]))
                    code = attempt.wait(moment, number, begun=partial(_reached, place, aim))
                    missed[aim] += phase(place) != aim
                else:
                    code = attempt.wait(draw.uniform(0, self.duration), number)
                said = self.log.read_text()
                if number == signal.SIGINT and code == INTERRUPTED:
                    if said.strip().splitlines()[-1:] != [LAST_LINE] or "Traceback" in said:
                        differences.append(f"round {rounds}: interrupted, it said {said[-2000:]}")
                elif code != -signal.SIGKILL:
                    break
                done += 1
                stages[stage(place)] += 1
                phases[phase(place)] += 1
            if code != 0:
                differences.append(f"round {rounds}: exit code {code}: {said[-2000:]}")
            differences += [f"round {rounds}: {found}" for found in self.differences(place)]
            shutil.rmtree(place, ignore_errors=True)
        found = {"kills": done, "rounds": rounds, "phases": phases, "stages": stages, "differences": differences}
        return {"duration": self.duration, **found}

    def pairs(self, count: int) -> dict[str, Any]:
        """Start two at once in one cache, again and again.

        Returns:
            ``codes``, the exit codes that were seen, and ``differences`` from the undisturbed run.
        """
        codes: set[int] = set()
        differences: list[str] = []
        for number in range(count):
            place = self.folder / f"pair{number}"
            both = [self.start(place, self.folder / f"log{one}.txt") for one in range(2)]
            codes |= {one.wait() for one in both}
            differences += self.differences(place)
        return {"codes": sorted(codes), "differences": differences}

    def differences(self, place: Path) -> list[str]:
        """What is not as the undisturbed run left it."""
        found = fingerprint(place)
        names = sorted({*found, *self.expected})
        return [name for name in names if found.get(name) != self.expected.get(name)]


class Attempt:
    """Something that runs in a process group of its own."""

    def __init__(self, work: Callable[[], int], log: Path) -> None:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        # An interrupt waits until the child is ready for it.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        self._child = os.fork()
        # Both sides make the group: the child may be killed before it did, the parent may come late.
        with suppress(ProcessLookupError, PermissionError):
            os.setpgid(self._child, 0)
        if self._child == 0:
            code = 70
            try:
                os.dup2(output, 1)
                os.dup2(output, 2)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
                code = work()
            except KeyboardInterrupt:
                # It came between two commands, which is the business of whoever gives them.
                code = INTERRUPTED
                sys.stderr.write(LAST_LINE + "\n")
                sys.stderr.flush()
            except BaseException:
                # What no command caught belongs in the report.
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(code)
        os.close(output)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def wait(
        self,
        seconds: float | None = None,
        number: signal.Signals = signal.SIGKILL,
        begun: Callable[[], bool] | None = None,
    ) -> int:
        """Wait for the end, or send a signal to the group; return the exit code.

        Args:
            seconds: after which the signal is sent; None for never.
            number: of the signal.
            begun: asked again and again; the seconds count from the first time that it says yes.
        """
        end = None if seconds is None or begun else time.monotonic() + seconds
        while (ended := os.waitpid(self._child, os.WNOHANG)) == (0, 0):
            if begun is not None and end is None and begun() and seconds is not None:
                end = time.monotonic() + seconds
            if end is not None and time.monotonic() > end:
                # What a terminal sends on Ctrl-C goes to the group as well.
                os.killpg(self._child, number)
                ended = os.waitpid(self._child, 0)
                break
            time.sleep(0.001 if begun else 0.005)
        return os.waitstatus_to_exitcode(ended[1])


def _commands(*, sealed: bool) -> Callable[[Path], int]:
    def run(place: Path) -> int:
        cache, boards = place / "cache", place / "boards"
        more = [] if sealed else ["--no-sealed"]
        code = _invoke(command(cache, boards, *more))
        if code or sealed:
            return code
        return _invoke(["submit", "--all", "--unsealed", "--cache", str(cache), "--leaderboards", str(boards)])

    return run


def _invoke(arguments: Sequence[str]) -> int:
    try:
        main_of_nubench(arguments)
    except SystemExit as ended:
        return int(ended.code or 0)
    except KeyboardInterrupt as interrupt:
        raise AssertionError("the command let an interrupt out") from interrupt
    return 0


def stage(place: Path) -> str:
    """What was finished when it was killed."""
    cache = place / "cache"
    for name, pattern in (
        ("submitted", "boards/submissions/**/*.json"),
        ("scored", "cache/results/*.json"),
        ("predicted", "cache/predictions/*.safetensors"),
        ("trained", "cache/trainings/*/training.json"),
        ("training", "cache/trainings/*/checkpoint.pt"),
        ("built", "cache/trainings/*"),
        ("building", "cache/data/*"),
    ):
        if any(place.glob(pattern)):
            return name
    return "began" if cache.exists() else "nothing"


def phase(place: Path) -> str:
    """What it was about when it was killed; what comes before all signs counts as building."""
    found = stage(place)
    return next((name for name, stages in PHASES.items() if found in stages), "build")


def _reached(place: Path, aim: str) -> bool:
    order = list(PHASES)
    return stage(place) != "nothing" and order.index(phase(place)) >= order.index(aim)


def fingerprint(place: Path) -> dict[str, Any]:
    """All that a run makes, by name, without what differs between two runs of the same."""
    found: dict[str, Any] = {}
    for path in sorted(place.rglob("*")):
        name = path.relative_to(place).as_posix()
        # Locks, and what a killed writer left: no reader opens these.
        if not path.is_file() or path.name.startswith("."):
            continue
        if path.suffix == ".json" and ("/results/" in name or "/submissions/" in name):
            content = read_result(path).model_dump(mode="json")
            del content["training"]["seconds"]
            found[name] = {key: value for key, value in content.items() if key not in UNLIKE}
        elif name.startswith(("cache/predictions/", "cache/data/")) and path.suffix != ".json":
            found[name] = sha256_of(path) if path.suffix == ".safetensors" else "there"
        else:
            found[name] = "there"
    return found


if __name__ == "__main__":
    main()
