"""The example plugins as a third party uses them: installed into a fresh environment, found by their entry points."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
PACKAGES = ("nubench-brier", "nubench-ganged-pixels", "nubench-vicreg")

# They take a build and several processes.
pytestmark = pytest.mark.slow

TINY = '''
"""The data set of the example with a handful of events."""
from pathlib import Path
import nubench

@nubench.hookimpl
def register_datasets():
    return [Path(__file__).with_name("tiny-ganged.toml")]
'''


class Environment:
    """A fresh virtual environment that sees what is installed here, so that nothing large is fetched again."""

    def __init__(self, folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        self.folder = folder
        self.python = folder / "bin" / "python"
        site = Path(self.run("-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])").stdout.strip())
        host = dict.fromkeys(sysconfig.get_paths()[name] for name in ("purelib", "platlib"))
        (site / "host.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in host))

    def run(
        self, *arguments: str | Path, cwd: Path | None = None, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run this environment's Python; a failure shows what it printed."""
        done = subprocess.run(
            [self.python, *map(str, arguments)],
            cwd=cwd or self.folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done

    def nubench(self, *arguments: str | Path, **variables: str) -> str:
        """What a command prints, with room for its tables."""
        return self.run("-m", "nubench", *arguments, NUBENCH_CACHE=str(self.folder / "cache"), **variables).stdout


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """All examples built and installed, offline."""
    pytest.importorskip("setuptools", "77", reason="the examples are built with setuptools 77 or newer")
    folder = tmp_path_factory.mktemp("third-party")
    made = Environment(folder / "venv")
    # A build leaves files in the folder that it builds.
    copies = [shutil.copytree(EXAMPLES / name, folder / name) for name in PACKAGES]
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check", "--quiet"]
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", made.python, "install", *options, *copies], check=True, cwd=folder
    )
    for copy in copies:
        shutil.rmtree(copy / "src")
    return made


def test_the_plugins_are_seen_by_their_entry_points(environment: Environment) -> None:
    lines = environment.nubench("plugins").splitlines()
    brought = {line.split()[0]: line for line in lines if line and not line.startswith(" ")}
    assert "1 metric, 1 column" in brought["brier"] or "1 column, 1 metric" in brought["brier"]
    assert "nubench-ganged-pixels" in brought["ganged-pixels"]
    assert "1.0.0" in brought["vicreg"]
    assert "1 method" in brought["vicreg"]
    assert str(environment.folder.parent)[:20] in brought["vicreg"]
    assert "skipped:" not in lines


def test_the_plugins_can_be_kept_out(environment: Environment) -> None:
    listed = environment.nubench("plugins", NUBENCH_PLUGINS="nubench-brier")
    assert "brier" in listed
    assert "vicreg" not in listed


def test_their_shifts_are_listed(environment: Environment) -> None:
    shifts = environment.nubench("list", "shifts")
    assert "gangs" in shifts
    assert "pedestal-drift" in shifts


def test_their_own_tests_pass(environment: Environment) -> None:
    # What is installed is tested, not the sources beside the tests, which are gone.
    options = ["-q", "-p", "no:cacheprovider", "-o", "pythonpath="]
    folders = [f"{package}/tests" for package in PACKAGES]
    printed = environment.run("-m", "pytest", *options, *folders, cwd=environment.folder.parent).stdout
    assert re.search(r"^9 passed", printed, re.MULTILINE), printed


def test_an_installed_method_is_checked_by_its_name(environment: Environment) -> None:
    printed = environment.nubench("check", "vicreg", "--set", "views=128")
    assert "brings vicreg" in printed
    assert "FAILED" not in printed


def test_a_run_with_all_three(environment: Environment, tmp_path: Path) -> None:
    card = (EXAMPLES / "nubench-ganged-pixels/src/nubench_ganged_pixels/ganged-lartpc.toml").read_text()
    card = card.replace('name = "ganged-lartpc"', 'name = "tiny-ganged"', 1).replace("1000.0]", "200.0]")
    for old, new in (("train = 1200", "train = 20"), ("val = 100", "val = 4"), ("test = 200", "test = 6")):
        card = card.replace(old, new, 1)
    (tmp_path / "tiny-ganged.toml").write_text(card)
    plugin = tmp_path / "tiny.py"
    plugin.write_text(TINY)
    leaderboards = tmp_path / "leaderboards"

    environment.nubench(
        "run", "--plugin", plugin, "--dataset", "tiny-ganged", "--shift", "gangs", "--method", "vicreg",
        "--set", "views=128", "--set", "batch_size=16", "--leaderboards", leaderboards,
    )  # fmt: skip

    (file,) = (leaderboards / "submissions").rglob("*seed0*.json")
    result = json.loads(file.read_text())
    assert [point["parameters"]["gang"] for point in result["points"]] == [1.0, 2.0, 3.0, 4.0]
    assert result["method"]["distribution"] == "nubench-vicreg"
    scores = [point["readouts"]["probe"]["further"]["brier"] for point in result["points"]]
    assert all(0 < score < 2 for score in scores)
    (board,) = leaderboards.rglob("gangs/**/README.md")
    assert "Brier score" in board.read_text()
