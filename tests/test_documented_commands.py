"""What the documents show is run: every nubench command and every block of Python, in a world that is small."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import chdir
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nubench.cli import app
from nubench.containers import LabelledEvents
from nubench.events.store import EventAttributes, write_events
from nubench.results.files import submission_path, write_result
from pages import ROOT, Block, blocks, commands_in, names_of_commands, runnable
from result_factory import make_result
from small_world import foreign_files, shrink

#: Commands that no test runs, and why.
NOT_RUN = {
    "nubench run --method supcon --shift throws --profile paper --devices 4": "tests/launching does the same with two",
    "nubench data fetch segmented-cube": "downloads a data set from outside; test_archives.py tests what it does",
    "nubench study estimate studies/smoke.toml": "measures this machine for minutes; tests/studies tests it",
    "nubench study run studies/paper.toml --launcher slurm --slurm partition=gpu": "needs a cluster",
    "nubench study run studies/smoke.toml --launcher local --jobs 2": "tests/launching does the same",
    "nubench study run studies/smoke.toml --leaderboards smoke-study": "trains a grid; tests/studies runs a small one",
}
#: Events of which the usual share makes a batch of `supcon`.
ENOUGH = 200
#: Words that stand for a name of the reader's choice.
PLACEHOLDERS = {"PATH": "segments.h5"}
#: Pages whose blocks of Python have a test of their own.
TESTED_ELSEWHERE = {"docs/tutorial.md": "test_tutorial.py"}
SHELL = ("sh", "bash")


def _nubench_commands(block: Block) -> list[str]:
    """The nubench commands of a block as the shell would start them."""
    lines = (re.sub(r"^(?:[A-Z_]+=\S+ )+", "", line).removesuffix(" &") for line in commands_in(block.text))
    return [line for line in lines if line.startswith("nubench ") and line not in NOT_RUN]


def _cheap(line: str) -> list[str]:
    """The arguments of a command, such that it takes seconds.

    One seed stands for several. What asks for a GPU is resolved to the last name, but not trained. Trainings run in
    this process, which has torch loaded; sealed ones are tested with the evaluation.
    """
    line = re.sub(r"--seeds \d+", "--seeds 1", line.replace("$SLURM_ARRAY_TASK_ID", "1"))
    arguments = [PLACEHOLDERS.get(word, word) for word in shlex.split(line)[1:]]
    if arguments[0] == "run" and "--dry-run" not in arguments:
        arguments.append("--dry-run" if {"standard", "paper"} & set(arguments) else "--no-sealed")
    if arguments == ["submit", "--all"]:
        arguments.append("--unsealed")
    return arguments


def _pages(*kinds: str, holds: Callable[[Block], object]) -> list[str]:
    found = dict.fromkeys(block.page for block in blocks(*kinds) if holds(block))
    return [page for page in found if kinds != ("python",) or page not in TESTED_ELSEWHERE]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which names mean small things, with one cache for all pages."""
    folder = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        shrink(folder, patch)
        yield folder


@pytest.fixture
def desk(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder in which one page's reader works, with the files that the documents take for granted."""
    shutil.rmtree(world / "cache" / "imported", ignore_errors=True)
    for result_file in (world / "cache" / "results").glob("*.json"):
        if json.loads(result_file.read_text())["dataset"]["name"] not in ("lartpc", "scintillator"):
            result_file.unlink()  # of an imported data set that another page made
    writers = foreign_files()
    writers.write_segments(tmp_path / "segments.h5", writers.segment_columns(writers.muons_and_protons(ENOUGH, 12)))
    in_cubes = writers.segment_columns(writers.muons_and_protons(10))
    for end in ("start", "end"):
        in_cubes[end] = in_cubes[end] - [0.0, 0.0, 640.0]  # the liquid argon begins 6 m from the centre of the cubes
    writers.write_segments(tmp_path / "cube-segments.h5", in_cubes)
    method = runnable("smoothed.py")
    (tmp_path / "smoothed.py").write_text(method)
    (tmp_path / "my_method.py").write_text(method.replace('"smoothed"', '"my-method"'))
    result = make_result()
    write_result(result, submission_path(tmp_path / "elsewhere", result))
    for folder in ("leaderboards", "studies"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    monkeypatch.setattr("webbrowser.open", lambda *address: True)
    with chdir(tmp_path):
        yield tmp_path


def _prepare(arguments: list[str], desk: Path, synthetic_events: Callable[..., LabelledEvents]) -> None:
    """What a command reads and the page says is there."""
    writers = foreign_files()
    if arguments[0] == "new":  # what the page then writes, the desk has from the start
        (desk / f"{arguments[1].replace('-', '_')}.py").unlink(missing_ok=True)
    if "folder" in arguments:
        folder = desk / "folder"
        shutil.rmtree(folder, ignore_errors=True)
        kind = arguments[arguments.index("--format") + 1]
        if kind == "larnd-sim-npz":
            writers.write_larndsim_folder(folder, {"train": 40, "val": 6, "test": 12})
        elif kind == "scintillator-dicts":
            writers.write_cube_folder(folder, ENOUGH // 2)
        else:
            for name, code in (("muon", 13), ("proton", 2212)):
                tracks = [(event, code, 60) for event in range(30)]
                writers.write_segments(folder / name / "segments.h5", writers.segment_columns(tracks))
    if "--file" in arguments:
        attributes = EventAttributes("lartpc", ("electron", "muon", "proton"), 0.38, "nominal", "nominal", {}, {})
        write_events(desk / arguments[arguments.index("--file") + 1], [synthetic_events(5, 1)], attributes)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("page", _pages(*SHELL, holds=_nubench_commands))
def test_the_commands_of_a_page_run(page: str, desk: Path, synthetic_events: Callable[..., LabelledEvents]) -> None:
    for block in blocks(*SHELL):
        for line in _nubench_commands(block) if block.page == page else ():
            arguments = _cheap(line)
            _prepare(arguments, desk, synthetic_events)
            done = CliRunner().invoke(app, arguments, catch_exceptions=False)
            refused = [said for said in done.output.splitlines() if "refused" in said]
            assert done.exit_code == 0, "\n".join([f"{page}: {line}", *refused, done.output[-3000:]])


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread", "desk")
@pytest.mark.parametrize("page", _pages("python", holds=bool))
def test_the_python_of_a_page_runs(page: str) -> None:
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks("python"):
        if block.page == page:
            exec(compile(block.text, f"{page}: {block.first_line}", "exec"), names)


def test_every_make_target_that_is_shown_resolves() -> None:
    shown = {line for block in blocks(*SHELL) for line in commands_in(block.text) if line.startswith("make ")}
    for line in sorted(shown):
        words = shlex.split(line)
        done = subprocess.run([*words, "--dry-run"], capture_output=True, text=True, cwd=ROOT, check=False)
        assert done.returncode == 0, f"{line}: {done.stderr}"


def test_what_is_not_run_is_shown_somewhere() -> None:
    """A reason that no longer has its command is removed from the list."""
    shown = {line for block in blocks(*SHELL) for line in commands_in(block.text)}
    assert set(NOT_RUN) - shown == set()
    assert all((ROOT / page).is_file() and (ROOT / "tests" / test).is_file() for page, test in TESTED_ELSEWHERE.items())


def test_commands_in_the_text_name_what_exists() -> None:
    """Commands in a sentence, `nubench data list`: the command exists, and so do its options."""
    known = names_of_commands()
    unknown = []
    for page in sorted({block.page for block in blocks()}):
        text = (ROOT / page).read_text(encoding="utf-8")
        for code in re.findall(r"`(nubench [a-z][^`\n]*)`", text):
            words = [word for word in code.split()[1:] if re.fullmatch(r"[a-z-]+|--[a-z-]+", word)]
            name = next((name for name in (" ".join(words[:2]), words[0] if words else "") if name in known), None)
            options = {word for word in words if word.startswith("--")}
            if name is None or not options <= known[name]:
                unknown.append(f"{page}: {code}")
    assert unknown == []
