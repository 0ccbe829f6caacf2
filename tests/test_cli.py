"""The command line as a user meets it: in a process of its own, by its exit code and what it prints."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nubench.cli import main
from nubench.results.files import load_results


def nubench(*arguments: str | Path, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nubench", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        check=False,
    )


def test_help_and_version_need_nothing_heavy() -> None:
    code = "import sys; sys.argv = ['nubench', '--help']\nfrom nubench.cli import main\n"
    code += "try: main()\nexcept SystemExit: pass"
    heavy = ["torch", "numpy", "pandas", "matplotlib", "seaborn", "sklearn", "h5py", "numba", "plotly"]
    heavy = f"print(sorted(set({heavy}) & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{heavy}"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert nubench("--version").stdout.startswith("nubench 0.")
    assert nubench("--version").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "--shift", "throws"), "--method"),
        (("run", "--method", "supcom", "--shift", "throws"), "unknown method 'supcom'; did you mean 'supcon'"),
        (("run", "--method", "supcon", "--shift", "throw"), "unknown shift 'throw'; did you mean 'throws'"),
        (("run", "--method", "supcon", "--shift", "throws", "--profile", "smok"), "did you mean 'smoke'"),
        (("run", "--method", "supcon", "--shift", "throws", "--dataset", "lartcp"), "did you mean 'lartpc'"),
        (("run", "--method", "supcon", "--shift", "throws", "--engine", "nativ"), "did you mean 'native'"),
        (("run", "--method", "supcon", "--shift", "throws", "--backbone", "tinny"), "did you mean 'tiny'"),
        (("run", "--method", "supcon", "--shift", "throws", "--device", "tpu"), "Known devices: auto, cpu, cuda"),
        (("run", "--method", "supcon", "--shift", "throws", "--set", "alpha=2"), "--set alpha='2' is not accepted"),
        (("run", "--method", "supcon", "--shift", "throws", "--set", "alfa=1"), "did you mean 'alpha'"),
        (("run", "--method", "supcon", "--shift", "throws", "--set", "learning_rate=inf"), "finite"),
        (("run", "--method", "supcon", "--shift", "throws", "--set", "alpha"), "not of the form NAME=VALUE"),
        (("run", "--method", "supcon", "--shift", "throws", "--seeds", "0"), "got '0'"),
        (("run", "--method", "supcon", "--shift", "throws", "--seed", "-1"), "than or equal to 0; got '-1'"),
        (("show", "muon"), "got 'muon'"),
        (("submit", "supcon-seed0-0"), "/results; the path of a result file is accepted as well)"),
        (("select", "supcon-seed0-0"), "/results; the path of a result file is accepted as well)"),
        (("run", "--method", "supcon", "--method", "supcon", "--shift", "throws"), "names a method twice"),
        (("run", "--method", "supcon", "--shift", "throws", "--plugin", "absent.py"), "is not a file"),
        (("list", "method"), "unknown listing 'method'; did you mean 'methods'"),
        (("data", "build", "lartcp"), "unknown data set 'lartcp'"),
        (("data", "remove", "lartpc", "--yes"), "is not built"),
        (("data", "verify", "lartpc"), "is not built"),
        (("leaderboard", "--leaderboards", "nowhere"), "holds no results"),
        (("rum",), "rum"),
    ],
)
def test_a_user_s_mistake_ends_with_one_message(
    arguments: tuple[str, ...],
    message: str,
    shared_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("NUBENCH_CACHE", str(shared_cache))
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    said = capsys.readouterr().err
    assert ended.value.code == 2, said
    assert message in said


def test_a_mistake_is_the_last_word_of_the_process(shared_cache: Path) -> None:
    done = nubench("run", "--method", "supcom", "--shift", "throws", NUBENCH_CACHE=str(shared_cache))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("nubench: unknown method 'supcom'; did you mean 'supcon'")


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("methods", "classifier-augmented"),
        ("shifts", "throw6"),
        ("detectors", "lartpc"),
        ("datasets", "electron, gamma, muon, pion, proton"),
        ("profiles", "laptop"),
        ("backbones", "31,362,048"),
    ],
)
def test_listings(what: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(("list", what))
    assert ended.value.code in (0, None)
    assert expected in capsys.readouterr().out


def _run(plugin: Path, cache: Path, leaderboards: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return nubench(
        *("run", "--plugin", plugin, "--dataset", "tiny", "--shift", "throws", "--leaderboards", leaderboards),
        *("--cache", cache, "--set", "views=640", "--set", "batch_size=32", *more),
    )


@pytest.mark.slow
def test_from_nothing_to_a_leaderboard(tiny_plugin: Path, shared_cache: Path, tmp_path: Path) -> None:
    first = _run(tiny_plugin, shared_cache, tmp_path, "--method", "supcon", "--method", "classifier-augmented")
    assert first.returncode == 0, first.stderr
    assert "supcon" in first.stdout
    assert "throw6" in first.stdout

    results = load_results(tmp_path / "submissions")
    assert {result.method.name for result in results} == {"supcon", "classifier-augmented"}
    supcon = next(result for result in results if result.method.name == "supcon")
    assert [point.point for point in supcon.points] == ["nominal", *(f"throw{i}" for i in range(1, 7))]
    assert supcon.backbone is not None
    assert supcon.backbone.preset == "tiny"
    assert supcon.method.config["views"] == 640
    page = tmp_path / "lartpc" / "throws" / "smoke"
    assert {"README.md", "table.csv", "table.tex", "figure.png", "figure.svg"} <= {path.name for path in page.iterdir()}

    second = _run(tiny_plugin, shared_cache, tmp_path, "--method", "supcon")
    assert second.returncode == 0, second.stderr
    assert "finished before" in second.stdout
    assert load_results(tmp_path / "submissions") == results

    assert nubench("leaderboard", "--leaderboards", tmp_path).returncode == 0
    listed = nubench("data", "list", "--cache", shared_cache)
    assert "tiny-v1-smoke" in listed.stdout
    verified = nubench("data", "verify", "tiny", "--plugin", tiny_plugin, "--cache", shared_cache)
    assert verified.returncode == 0, verified.stderr
    assert "no true kinematics stand in two splits" in verified.stdout


@pytest.mark.slow
def test_the_same_seed_gives_the_same_result_whatever_was_interrupted(
    tiny_plugin: Path, shared_cache: Path, tmp_path: Path
) -> None:
    arguments = ("--method", "classifier", "--seed", "5")
    whole = _run(tiny_plugin, shared_cache, tmp_path / "whole", *arguments)
    assert whole.returncode == 0, whole.stderr

    cache = tmp_path / "cache"
    command = [
        sys.executable,
        "-m",
        "nubench",
        "run",
        "--plugin",
        tiny_plugin,
        "--dataset",
        "tiny",
        "--shift",
        "throws",
    ]
    command += ["--cache", cache, "--leaderboards", tmp_path / "killed", *arguments, "--set", "views=640"]
    for seconds in (3, 7):
        process = subprocess.Popen([*command, "--set", "batch_size=32"], stdout=subprocess.DEVNULL)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
    killed = _run(tiny_plugin, cache, tmp_path / "killed", *arguments)
    assert killed.returncode == 0, killed.stderr

    points = [load_results(tmp_path / name / "submissions")[0].points for name in ("whole", "killed")]
    assert points[0] == points[1]
    assert [path for path in cache.rglob("*.partial") if "standin" not in str(path)] == []


@pytest.mark.slow
def test_an_interrupt_ends_with_one_line_and_130(tiny_plugin: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nubench", "data", "build", "tiny", "--plugin", tiny_plugin, "--cache", tmp_path]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # A shell that puts the tests into the background has them, and what they start, ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not list(tmp_path.rglob("*.partial")) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 130
    assert message.strip() == "nubench: interrupted; the same command goes on from here"


@pytest.mark.slow
def test_an_installed_copy_works_from_any_folder(tmp_path: Path) -> None:
    root = Path(__file__).parent.parent
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(root)]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    code = "import nubench, json, sys; from nubench.plugins.discovery import load_plugins; r = load_plugins();"
    code += "print(json.dumps([nubench.__file__, [m.name for m in r.methods()], [c.name for c in r.cards()]]))"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=elsewhere, check=True,
        env={**os.environ, "PYTHONPATH": str(target)},
    )  # fmt: skip
    file, methods, cards = json.loads(found.stdout)
    assert Path(file).is_relative_to(target)
    assert {"supcon", "classifier", "classifier-augmented", "summary-features"} <= set(methods)
    assert set(cards) == {"lartpc", "scintillator"}


TARGET_METHOD = """
import numpy as np
import nubench
from nubench.methods import Method, Model

class Guess(Model):
    def log_probabilities(self, events):
        return np.full((len(events), 5), np.log(0.2), np.float32)

class Curious(Method):
    name = "curious"
    title = "looks at the target"
    ranked_by = "head"
    uses_backbone = False
    target_access = "{access}"

    def fit(self, data, context):
        (context.directory / "mean.txt").write_text(str(data.target.features.mean()))
        return Guess()

@nubench.hookimpl
def register_methods():
    return [Curious]
"""


@pytest.mark.slow
def test_a_method_that_declares_it_is_fitted_once_for_each_target(
    tiny_plugin: Path, shared_cache: Path, tmp_path: Path
) -> None:
    (tmp_path / "curious.py").write_text(TARGET_METHOD.format(access="unlabelled"))
    arguments = ("run", "--plugin", tiny_plugin, "--plugin", tmp_path / "curious.py", "--method", "curious")
    arguments += ("--dataset", "tiny", "--shift", "throws", "--leaderboards", tmp_path / "boards")
    done = nubench(*arguments, "--cache", shared_cache)
    assert done.returncode == 0, done.stderr
    means = [float(file.read_text()) for file in (shared_cache / "trainings").glob("curious-*/mean.txt")]
    assert len(means) == len(set(means)) == 7
    # throw2 moves the pedestal up by some 60 counts, throw6 down by some 30.
    assert max(means) - min(means) > 70
    (result,) = load_results(tmp_path / "boards" / "submissions")
    assert {"train", "val", "adapt", "test"} == set(result.dataset.events)
    assert result.backbone is None


@pytest.mark.slow
def test_a_method_that_does_not_declare_it_is_named(tiny_plugin: Path, shared_cache: Path, tmp_path: Path) -> None:
    (tmp_path / "curious.py").write_text(TARGET_METHOD.format(access="none"))
    arguments = ("run", "--plugin", tiny_plugin, "--plugin", tmp_path / "curious.py", "--method", "curious")
    arguments += ("--dataset", "tiny", "--shift", "throws", "--leaderboards", tmp_path / "boards")
    done = nubench(*arguments, "--cache", shared_cache)
    assert done.returncode == 1
    assert "method 'curious' reads the target events but declares target_access = 'none'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_plugin_whose_hook_raises_is_named_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "raising.py").write_text(
        "import nubench\n@nubench.hookimpl\ndef register_methods(): raise RuntimeError('no luck')"
    )
    done = nubench("list", "methods", "--plugin", tmp_path / "raising.py")
    assert done.returncode == 0
    assert "plugin 'raising' of file is skipped: RuntimeError: no luck" in done.stderr
    assert "supcon" in done.stdout


def test_a_corrupt_result_file_is_named(tmp_path: Path) -> None:
    submissions = tmp_path / "submissions"
    submissions.mkdir()
    (submissions / "broken.json").write_text('{"schema_version": 1,')
    done = nubench("leaderboard", "--leaderboards", tmp_path)
    assert done.returncode == 1
    assert "broken.json: not a result file" in done.stderr
    assert "Traceback" not in done.stderr
