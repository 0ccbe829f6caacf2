"""`nubench check` as a function: what keeps the contract passes, and what breaks it is caught by the check for it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import faulty_methods as faulty
import numpy as np
import pytest

from nubench.authoring import CheckResult, check_method, failures_of
from nubench.authoring.checks import CHECKS
from nubench.authoring.synthetic import CLASSES, draw_tracks, edge_events, resimulator_of
from nubench.authoring.targets import find_methods
from nubench.errors import UsageError
from nubench.methods import Method
from nubench.plugins.discovery import load_plugins


def by_name(results: list[CheckResult]) -> dict[str, CheckResult]:
    return {result.name: result for result in results}


def test_a_sound_method_passes_every_check() -> None:
    results = check_method(faulty.Sound, seconds=math.inf)
    assert [result.name for result in results] == [check.name for check in CHECKS]
    assert failures_of(results) == []
    found = by_name(results)
    assert "to the last bit" in found["determinism"].detail
    assert "killed 2 times" in found["resume"].detail
    assert "never reads" not in found["target access"].detail


BROKEN: list[tuple[str, type[Method], str, str]] = [
    ("settings", faulty.Loose, "accepts settings that it does not have", "model_config"),
    ("settings", faulty.Foreign, "no subclass of nubench.methods.MethodConfig", "derive Config"),
    ("settings", faulty.MisspeltProfile, "['smok']; the profiles are smoke", "profiles"),
    ("settings", faulty.BadProfile, "'paper'", "profiles"),
    ("settings", faulty.RankedOracle, "labels of the target and is ranked", "ranked = False"),
    ("fit", faulty.Crashing, "ZeroDivisionError: no luck (faulty_methods.py, line", "correct fit"),
    ("fit", faulty.Nothing, "fit returned NoneType", "return a nubench.methods.Model"),
    ("target access", faulty.Peeking, "reads data.target and declares", "target_access = 'unlabelled'"),
    ("target access", faulty.Greedy, "reads data.target_labels", "target_access = 'labelled'"),
    ("inputs", faulty.Scribbling, "fit changed", "copy"),
    (
        "inputs",
        faulty.with_model(lambda model, events, rows: (np.negative(events.features, out=events.features), rows)[1]),
        "the model changed",
        "copy",
    ),
    ("outputs", faulty.WrongReadOut, "embed returns None", "override embed"),
    ("outputs", faulty.with_model(lambda model, events, rows: rows.astype(np.float64)), "float64", "astype"),
    ("outputs", faulty.with_model(lambda model, events, rows: rows[:, 0]), "of shape (39,)", "log_probabilities"),
    ("outputs", faulty.with_model(lambda model, events, rows: rows[:, :2]), "2 columns for 3", "len(data.classes)"),
    ("outputs", faulty.with_model(lambda model, events, rows: np.exp(rows)), "sum to", "log_softmax"),
    ("outputs", faulty.with_model(lambda model, events, rows: rows * np.float32("nan")), "not finite", "correct"),
    (
        "events",
        faulty.with_model(lambda model, events, rows: rows[events.voxels_per_event > 1]),
        "38 rows for 39 events",
        "single voxel",
    ),
    (
        "batch independence",
        faulty.with_model(lambda model, events, rows: faulty.log_softmax(rows - rows.mean(axis=0)).astype(np.float32)),
        "each alone differs",
        "each event by itself",
    ),
    ("determinism", faulty.Restless, "same seed differ by up to", "step.generator"),
    ("device", faulty.Astray, "2 of 2 tensors of the model are not on", ".to(context.device)"),
    ("resume", faulty.Forgetful, "killed 2 times and continued differs", "build modules"),
]


@pytest.mark.parametrize(
    ("check", "method", "detail", "advice"), BROKEN, ids=[f"{name}: {detail}" for name, _, detail, _ in BROKEN]
)
def test_a_broken_contract_is_caught_and_says_what_to_change(
    check: str, method: type[Method], detail: str, advice: str
) -> None:
    found = by_name(check_method(method, seconds=math.inf))[check]
    assert found.verdict == "FAILED"
    assert detail in found.detail
    assert advice in found.advice
    assert str(found).startswith(f"{check}: FAILED: ")


def test_what_cannot_be_tried_after_a_failed_fit_is_skipped() -> None:
    found = by_name(check_method(faulty.Crashing))
    assert found["settings"].verdict == "ok"
    assert {found[name].verdict for name in ("outputs", "determinism", "resume", "cost")} == {"skipped"}


def test_access_that_is_declared_but_not_used_is_mentioned() -> None:
    found = by_name(check_method(faulty.Idle))["target access"]
    assert found.verdict == "ok"
    assert "never reads data.target" in found.detail


def test_trainings_that_would_take_too_long_are_skipped() -> None:
    found = by_name(check_method(faulty.Sound, seconds=0.0))
    assert found["fit"].verdict == "ok"
    assert "make them shorter" in found["determinism"].detail
    assert found["resume"].verdict == "skipped"


def test_a_setting_that_does_not_exist_is_the_users_mistake() -> None:
    with pytest.raises(UsageError, match=r"unknown sound setting '.*Known sound settings: "):
        check_method(faulty.Sound, {"learning_rat": 1})


METHODS = [registered.name for registered in load_plugins().methods()]
CHEAP = ("moment-alignment", "summary-features-voxel-count", "supcon")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in CHEAP else pytest.mark.slow) for name in METHODS]
)
def test_the_reference_methods_pass(name: str) -> None:
    results = check_method(load_plugins().method(name).thing, {"views": 128} if name in CHEAP[:1] else {})
    assert failures_of(results) == []


def test_targets_are_files_or_installed_names(tmp_path: Path) -> None:
    loaded, found = find_methods("supcon")
    assert (loaded.verdict, [registered.name for registered in found]) == ("ok", ["supcon"])
    with pytest.raises(UsageError, match="unknown method 'supcom'; did you mean 'supcon'"):
        find_methods("supcom")
    with pytest.raises(UsageError, match="is not a file"):
        find_methods(str(tmp_path / "absent.py"))


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("def x(:", "SyntaxError: invalid syntax (wrong.py, line 1)"),
        ("x = 1", "no function of it is marked"),
        ("import nubench\n@nubench.hookimpl\ndef register_methods(registry): return []", "registry"),
        ("import nubench\n@nubench.hookimpl\ndef register_methods(): return [3]", "must return subclasses"),
        ("import nubench\n@nubench.hookimpl\ndef register_methods(): return []", "returned no method"),
    ],
)
def test_a_file_that_cannot_be_loaded_fails_the_first_check(tmp_path: Path, text: str, detail: str) -> None:
    file = tmp_path / "wrong.py"
    file.write_text(text)
    loaded, found = find_methods(str(file))
    assert (loaded.name, loaded.verdict, found) == ("hooks", "FAILED", [])
    assert detail in loaded.detail
    assert "register_methods()" in loaded.advice


def test_synthetic_tracks_have_every_class_and_the_edges_are_extreme() -> None:
    tracks = draw_tracks(30, 1)
    assert np.bincount(tracks.labels).tolist() == [10] * len(CLASSES)
    sizes = tracks.events.voxels_per_event
    assert 10 <= sizes.min() <= sizes.max() < 80
    assert [sizes[tracks.labels == label].mean() for label in range(3)] == sorted(
        sizes[tracks.labels == label].mean() for label in range(3)
    )
    assert edge_events().voxels_per_event[:2].tolist() == [1, 2]
    again: Any = draw_tracks(30, 1).events
    assert np.array_equal(again.coords, tracks.events.coords)
    more = draw_tracks(30, 1, charge=1.2, offset=4.0).events.features
    assert np.allclose(more, 74 + 4 + 1.2 * (tracks.events.features - 74), atol=1e-4)


@pytest.mark.slow
def test_synthetic_tracks_can_be_simulated_again() -> None:
    tracks = draw_tracks(6, 1)
    first, second = resimulator_of(tracks).draws(np.arange(6), 0, 0)
    assert (first.voxels_per_event > 0).all()
    assert not np.array_equal(first.features, second.features)
