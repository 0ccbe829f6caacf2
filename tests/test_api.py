"""nubench from Python: the same answers as the command line, labels for source events alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nubench
from nubench.cache import cache_folder
from nubench.containers import Events, LabelledEvents
from nubench.errors import DataError, UsageError
from nubench.results.files import submission_path, write_result
from result_factory import make_result


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = ["torch", "numpy", "pandas", "pydantic", "rich", "h5py", "numba", "nubench.api"]
    code = f"import sys, nubench; print(sorted(set({heavy}) & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there_and_has_a_docstring() -> None:
    for name in set(nubench.__all__) - {"__version__", "hookimpl"}:
        assert name in dir(nubench)
        assert getattr(nubench, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'load_event'"):
        nubench.load_event  # noqa: B018


def test_the_package_says_that_it_is_typed() -> None:
    assert (files("nubench") / "py.typed").is_file()


def test_the_cache_is_what_is_named_then_what_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUBENCH_CACHE", str(tmp_path / "environment"))
    assert cache_folder() == tmp_path / "environment"
    assert cache_folder(tmp_path / "named") == tmp_path / "named"
    assert (tmp_path / "named").is_dir()
    monkeypatch.delenv("NUBENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert tmp_path / "home" in cache_folder().parents


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dataset": "lartcp"}, "unknown data set 'lartcp'; did you mean 'lartpc'"),
        ({"split": "trian"}, "unknown split 'trian'; did you mean 'train'"),
        ({"profile": "smok"}, "did you mean 'smoke'"),
        ({"point": "throw1"}, "point 'throw1' needs a shift: one of throws"),
        ({"shift": "throw"}, "did you mean 'throws'"),
        ({"shift": "throws", "point": "throw9", "split": "test"}, "unknown point 'throw9'"),
        ({"shift": "throws", "point": "throw1", "split": "train"}, "no events at point 'throw1'.*but at nominal"),
        ({"dataset": "scintillator", "shift": "crosstalk", "point": "level-9", "split": "val"}, "unknown point"),
    ],
)
def test_events_that_do_not_exist_are_refused_with_what_does(
    arguments: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        nubench.load_events(**arguments, cache=tmp_path)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("seeds", [0, -1, [], [1, 1], [-1]])
def test_seeds_must_be_different_and_not_negative(seeds: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="seeds="):
        nubench.run("supcon", "throws", seeds=seeds, cache=tmp_path)


def test_a_mistake_in_a_run_is_found_before_anything_is_built(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'alpha'"):
        nubench.run("supcon", "throws", settings={"alfa": 1}, cache=tmp_path)
    assert not (tmp_path / "data").exists()


def test_what_is_not_sealed_cannot_be_submitted(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="leaderboards is given with sealed=False"):
        nubench.run("supcon", "throws", sealed=False, leaderboards=tmp_path / "boards", cache=tmp_path)
    assert not (tmp_path / "boards").exists()


def test_a_plugin_that_fails_is_named_in_a_warning(tmp_path: Path) -> None:
    (tmp_path / "unlucky.py").write_text(
        "import nubench\n@nubench.hookimpl\ndef register_methods(): raise RuntimeError('no luck')"
    )
    with pytest.warns(UserWarning, match="plugin 'unlucky' of file is skipped: RuntimeError: no luck"):
        names = nubench.listing("methods", plugins=[tmp_path / "unlucky.py"], cache=tmp_path)["method"]
    assert {"supcon", "classifier"} <= set(names)


def test_an_unknown_listing_is_refused() -> None:
    with pytest.raises(UsageError, match="did you mean 'methods'"):
        nubench.listing("method")


def _submit(folder: Path, *results: Any) -> None:
    for result in results:
        write_result(result, submission_path(folder, result))


def test_a_leaderboard_holds_the_rows_and_accuracies_of_its_results(tmp_path: Path) -> None:
    strong = {"nominal": 0.9, "throw1": 0.8, "throw2": 0.7}
    weak = {"nominal": 0.9, "throw1": 0.5, "throw2": 0.4}
    _submit(
        tmp_path,
        *(make_result("strong", strong, seed) for seed in range(3)),
        make_result("weak", weak),
        make_result("oracle", strong, ranked=False),
    )
    board = nubench.Leaderboard.from_directory(tmp_path)

    table = board.to_pandas().set_index("method")
    assert set(table["board"]) == {"lartpc/throws/smoke"}
    assert table["rank"].dropna().to_dict() == {"strong": 1, "weak": 2}
    assert "oracle" in table.index
    row = table.loc["strong"]
    assert row["seeds"] == 3
    assert row["targets"] == pytest.approx(0.75, abs=1e-3)
    assert row["change"] == pytest.approx(-0.15, abs=1e-3)
    assert row["low"] < row["targets"] < row["high"]
    assert (row["worst_point"], row["readout"]) == ("throw2", "probe")
    assert np.isnan(table.loc["weak", "deviation"])

    accuracies = board.accuracies()
    assert len(accuracies) == 5 * 3
    assert accuracies[accuracies["is_source"]]["point"].unique().tolist() == ["nominal"]
    targets = accuracies[~accuracies["is_source"]].groupby("method")["accuracy"].mean()
    assert targets["strong"] == pytest.approx(row["targets"])


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        nubench.Leaderboard.from_directory(tmp_path / "absent")


@pytest.mark.slow
def test_labels_come_with_source_events_alone(tiny_plugin: Path, shared_cache: Path) -> None:
    load: Callable[..., Any] = nubench.load_events
    here = {"dataset": "tiny", "plugins": [tiny_plugin], "cache": shared_cache}
    val = load(split="val", **here)
    assert isinstance(val, LabelledEvents)
    assert set(val.labels) <= set(range(5))
    nominal, moved = load(split="test", **here), load(split="test", shift="throws", point="throw2", **here)
    assert isinstance(nominal, Events)
    assert isinstance(moved, Events)
    # throw2 moves the pedestal up by some 60 counts.
    assert 40 < np.median(moved.features) - np.median(nominal.features) < 80


@pytest.mark.slow
def test_a_run_returns_what_the_command_line_finds_again(tiny_plugin: Path, shared_cache: Path, tmp_path: Path) -> None:
    (result,) = nubench.run(
        "summary-features-shape-only",
        "throws",
        dataset="tiny",
        seeds=[4],
        plugins=[tiny_plugin],
        leaderboards=tmp_path,
        cache=shared_cache,
    )
    assert result.seed == 4
    assert (tmp_path / "lartpc" / "throws" / "smoke" / "table.csv").is_file()
    arguments = ["run", "--method", "summary-features-shape-only", "--shift", "throws", "--dataset", "tiny"]
    arguments += ["--plugin", str(tiny_plugin), "--seed", "4", "--cache", str(shared_cache)]
    command = [sys.executable, "-m", "nubench", *arguments, "--leaderboards", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "finished before" in done.stdout
