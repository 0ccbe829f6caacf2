"""Study files: what they ask to be run, what they refuse, and which submissions count as their cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nubench.datasets.catalogue import card_called, find_card, open_dataset
from nubench.errors import DataError, NubenchError
from nubench.plugins.discovery import load_plugins
from nubench.plugins.registry import PluginRegistry
from nubench.profiles import PROFILES
from nubench.results.files import submission_path, write_result
from nubench.results.schema import PointResult, Profile, Result
from nubench.runs.records import method_record, profile_record
from nubench.runs.request import Request, make_config
from nubench.studies.collected import GEANT4_DATA, Collection
from nubench.studies.grid_of_study import all_requests, check_names, requests_of
from nubench.studies.report import FigureReport, report_files
from nubench.studies.study_file import Study, read_study
from result_factory import result_content, scores, with_bits

STUDIES = Path(__file__).parents[2] / "studies"
LEVELS = ("level-0.00", "level-0.25", "level-0.50", "level-0.75", "nominal")
SMALL = """
title = "t"
profile = "smoke"
seeds = 2
settings = { views = 640 }
[[figures]]
name = "bars"
title = "b"
kind = "bars"
dataset = "lartpc"
shift = "throws"
methods = ["supcon", "summary-features"]
settings.supcon.alpha = 0.5
"""


@pytest.fixture(scope="module")
def registry() -> PluginRegistry:
    """The installed plugins."""
    return load_plugins()


def _study(folder: Path, text: str = SMALL) -> Study:
    (folder / "small.toml").write_text(text)
    return read_study(folder / "small.toml")


@pytest.mark.parametrize("name", ["paper", "smoke"])
def test_the_studies_that_come_along_have_the_shape_of_the_paper(
    name: str, registry: PluginRegistry, tmp_path: Path
) -> None:
    study = read_study(STUDIES / f"{name}.toml")
    check_names(study, registry, tmp_path)
    figures = {figure.name: figure for figure in study.figures}
    assert list(figures) == ["figure-3", "figure-4", "figure-5"]
    assert len(figures["figure-3"].methods) == 4
    assert len(card_called(registry, tmp_path, "lartpc").shift("throws").points) == 6
    assert figures["figure-5"].sources == figures["figure-4"].sources == LEVELS
    assert len(figures["figure-5"].methods) == 6
    assert set(figures["figure-4"].methods) < set(figures["figure-5"].methods)
    crosstalk = card_called(registry, tmp_path, "scintillator").shift("crosstalk")
    assert 1 + len(crosstalk.points) == 13
    requests = all_requests(study, registry)
    assert len(requests) == 4 + 6 * 5
    assert len(study.all_seeds) == (1 if name == "smoke" else PROFILES["paper"].seeds)


def test_settings_go_to_the_methods_that_have_them(registry: PluginRegistry, tmp_path: Path) -> None:
    study = _study(tmp_path)
    supcon, summary = requests_of(study, study.figures[0], registry)
    assert supcon == Request("supcon", "throws", "smoke", "lartpc", "nominal", {"views": "640", "alpha": "0.5"})
    assert summary.settings == {}
    assert list(study.all_seeds) == [0, 1]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seeds = 2", "seed = 2", r"small\.toml: unknown key 'seed'; did you mean 'seeds'.*Known keys: .*profile"),
        ("shift = ", "shft = ", r"small\.toml: unknown figure key 'shft'; did you mean 'shift'\? Known figure keys: "),
        ("seeds = 2", "seeds = 0", "seeds = 0: Input should be greater than or equal to 1"),
        ('"supcon", ', '"supcon", "supcon", ', "methods names one twice"),
        ("settings.supcon.alpha", "settings.dann.alpha", "settings of dann, which is not among its methods"),
        ('profile = "smoke"', 'profile = "smok"', "did you mean 'smoke'"),
        ('title = "t"', "title =", "not valid TOML"),
        ('kind = "bars"', 'kind = "pie"', "'bars' or 'lines'"),
        ('"summary-features"', '"sumary-features"', "did you mean 'summary-features'"),
        ('shift = "throws"', 'shift = "throw"', "did you mean 'throws'"),
        ('shift = "throws"', 'shift = "throws"\nsources = ["throw1"]', "training events exist at nominal"),
        ("alpha = 0.5", "alpha = 2.5", "--set alpha='2.5' is not accepted"),
        ("views = 640", "view = 640", "did you mean 'views'"),
    ],
)
def test_a_slip_is_named(old: str, new: str, message: str, registry: PluginRegistry, tmp_path: Path) -> None:
    with pytest.raises(NubenchError, match=message):
        check_names(_study(tmp_path, SMALL.replace(old, new, 1)), registry, tmp_path)


def test_a_study_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NubenchError, match=r"study .*absent\.toml' cannot be read: .*no such file"):
        read_study(tmp_path / "absent.toml")


def _submit(registry: PluginRegistry, leaderboards: Path, request: Request, seed: int, **changes: Any) -> Result:
    """Put a result on the boards as a run of today would: of the card, its points and the sizes of the profile."""
    method, profile = registry.method(request.method), PROFILES[request.profile]
    config = make_config(method.thing, profile, {**(request.settings or {}), **changes.pop("settings", {})})
    cache = leaderboards.parent
    card = find_card(registry, cache, request.dataset, request.shift)
    shift = card.shift(request.shift)
    points = shift.all_points(card.nominal, request.source)
    record = method_record(method, config)
    content = result_content(
        *(record.name, {point.name: 0.8 - 0.001 * place for place, point in enumerate(points)}, seed),
        shift=shift.name,
        profile=profile.name,
        backbone=profile.backbone if method.thing.uses_backbone else None,
        readout=record.ranked_by,
    )
    recipe = open_dataset(registry, cache, card, profile.name).recipe_digest
    content["method"] = record.model_dump(mode="json")
    content["dataset"] |= {"name": card.name, "version": str(card.version), "detector": card.detector}
    content["dataset"] |= {"classes": list(card.class_names), "recipe": recipe}
    content["profile"] = profile_record(profile, card).model_dump(mode="json")
    for made, point in zip(content["points"], points, strict=True):
        accuracy = made["readouts"][record.ranked_by]["accuracy"]
        made["readouts"] |= {"head": None, "probe": None}
        made["readouts"][record.ranked_by] = scores(accuracy, classes=len(card.classes))
        made["parameters"] = dict(point.settings)
    result = Result.model_validate(with_bits(content)).model_copy(update=changes)
    write_result(result, submission_path(leaderboards, result))
    return result


def test_the_submission_of_a_cell_is_found_whatever_it_was_run_on(registry: PluginRegistry, tmp_path: Path) -> None:
    study = _study(tmp_path)
    supcon, summary = requests_of(study, study.figures[0], registry)
    boards = tmp_path / "boards"
    first = _submit(registry, boards, supcon, 0)
    elsewhere = first.environment.model_copy(update={"device": "cuda"})
    on_gpu = _submit(
        registry, tmp_path / "boards", summary, 1, environment=elsewhere, created=datetime(2026, 1, 1, tzinfo=UTC)
    )
    _submit(registry, boards, supcon, 1, settings={"alpha": "0.25"})
    found = Collection(boards, registry, tmp_path).cells([supcon, summary], study.all_seeds)
    assert [cell.result for cell in found] == [first, None, None, on_gpu]


def test_a_data_set_may_be_named_with_its_plugin(registry: PluginRegistry, tmp_path: Path) -> None:
    first = requests_of(study := _study(tmp_path), study.figures[0], registry)[0]
    submitted = _submit(registry, tmp_path / "boards", first, 0)
    study = _study(tmp_path, SMALL.replace('dataset = "lartpc"', 'dataset = "nubench:lartpc"'))
    check_names(study, registry, tmp_path)
    qualified = requests_of(study, study.figures[0], registry)
    assert qualified[0].dataset == "nubench:lartpc"
    (cell,) = Collection(tmp_path / "boards", registry, tmp_path).cells(qualified[:1], [0])
    assert (cell.result, cell.request) == (submitted, first)


@pytest.mark.parametrize(
    "change",
    [
        lambda result: {"dataset": result.dataset.model_copy(update={"version": "99"})},
        lambda result: {"dataset": result.dataset.model_copy(update={"recipe": "b" * 64})},
        lambda result: {"profile": _with_settings(result, views=79_999)},
        lambda result: {"profile": _with_settings(result, sizes={"train": 1, "val": 1, "adapt": 1, "test": 1})},
        lambda result: {"method": result.method.model_copy(update={"version": "99"})},
        lambda result: {"method": result.method.model_copy(update={"distribution": "another"})},
        lambda result: {"backbone": result.backbone.model_copy(update={"preset": "small"})},
        lambda result: {"points": _moved(result)},
    ],
    ids=["version", "recipe", "budget", "sizes", "method", "plugin", "backbone", "points"],
)
def test_a_result_that_would_stand_on_another_board_is_no_cell(
    change: Callable[[Result], dict[str, Any]], registry: PluginRegistry, tmp_path: Path
) -> None:
    study = _study(tmp_path)
    supcon, _ = requests_of(study, study.figures[0], registry)
    ours = _submit(registry, tmp_path / "ours", supcon, 0)
    other = ours.model_copy(update=change(ours))
    write_result(other, submission_path(tmp_path / "boards", other))
    assert Collection(tmp_path / "boards", registry, tmp_path).cells([supcon], [0])[0].result is None
    assert Collection(tmp_path / "ours", registry, tmp_path).cells([supcon], [0])[0].result == ours


def test_a_report_takes_results_of_other_geant4_data_where_there_are_more(
    registry: PluginRegistry, tmp_path: Path
) -> None:
    study = _study(tmp_path)
    requests = requests_of(study, study.figures[0], registry)
    boards, card = tmp_path / "boards", find_card(registry, tmp_path, "lartpc", "throws")
    here = open_dataset(registry, tmp_path, card, "smoke")
    (elsewhere,) = (data for data in GEANT4_DATA if data.mode != here.data.mode)
    _submit(registry, boards, requests[0], 0)
    for request in requests:
        result = _submit(registry, tmp_path / "made", request, 1)
        recipe = replace(here, data=elsewhere).recipe_digest
        moved = result.model_copy(update={"dataset": result.dataset.model_copy(update={"recipe": recipe})})
        write_result(moved, submission_path(boards, moved))
    collection = Collection(boards, registry, tmp_path)
    run = [cell.result is not None for cell in collection.cells(requests, study.all_seeds)]
    drawn = [cell.result is not None for cell in collection.most_cells(requests, study.all_seeds)]
    assert (run, drawn) == ([True, False, False, False], [False, True, False, True])


def _with_settings(result: Result, **settings: Any) -> Profile:
    return result.profile.model_copy(update={"settings": {**result.profile.settings, **settings}})


def _moved(result: Result) -> tuple[PointResult, ...]:
    """The last point with a parameter that was the same at all of them."""
    *others, last = result.points
    return (*others, last.model_copy(update={"parameters": {**last.parameters, "dead_fraction": 0.1}}))


def test_nothing_is_there_before_anything_was_run(registry: PluginRegistry, tmp_path: Path) -> None:
    study = _study(tmp_path)
    collection = Collection(tmp_path / "boards", registry, tmp_path)
    found = collection.cells(all_requests(study, registry), study.all_seeds)
    assert [cell.result for cell in found] == [None] * 4


@pytest.mark.slow
def test_a_report_draws_what_is_there_and_names_what_is_not(registry: PluginRegistry, tmp_path: Path) -> None:
    text = SMALL + SMALL[SMALL.index("[[figures]]") :].replace('"bars"', '"lines"').replace("lartpc", "scintillator")
    text = text.replace('dataset = "scintillator"\nshift = "throws"', 'dataset = "scintillator"\nshift = "crosstalk"')
    study = _study(tmp_path, text + 'sources = ["nominal", "level-0.25"]\n'.join(["", ""]))
    boards = tmp_path / "boards"
    for request in all_requests(study, registry):
        for seed in study.all_seeds:
            if (request.method, seed) != ("supcon", 1):
                _submit(registry, boards, request, seed)
    collection = Collection(boards, registry, tmp_path)
    reports = [
        FigureReport.of(figure, collection.cells(requests_of(study, figure, registry), study.all_seeds))
        for figure in study.figures
    ]
    files = report_files(study, reports)
    assert set(files) == {"README.md", "bars.png", "bars.svg", "lines.png", "lines.svg"}
    page = files["README.md"].decode()
    assert "3 of 4 runs are there" in page
    assert "- `supcon` trained at nominal: seed 1" in page
    assert "| summary-features | 2 | 80.0 ± 0.0 |" in page
    assert files["lines.png"].startswith(b"\x89PNG")


def test_a_report_of_nothing_says_so(registry: PluginRegistry, tmp_path: Path) -> None:
    study = _study(tmp_path)
    cells = Collection(tmp_path, registry, tmp_path).cells(
        requests_of(study, study.figures[0], registry), study.all_seeds
    )
    files = report_files(study, [FigureReport.of(study.figures[0], cells)])
    assert list(files) == ["README.md"]
    assert b"0 of 4 runs are there" in files["README.md"]
    assert b"- `supcon` trained at nominal: seeds 0, 1" in files["README.md"]


def test_a_damaged_submission_is_named(registry: PluginRegistry, tmp_path: Path) -> None:
    (tmp_path / "submissions").mkdir()
    (tmp_path / "submissions" / "broken.json").write_text("{")
    with pytest.raises(DataError, match=r"broken\.json"):
        Collection(tmp_path, registry, tmp_path)
