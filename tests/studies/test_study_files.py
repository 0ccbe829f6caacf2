"""Study files: what they ask to be run, what they refuse, and which submissions count as their cells."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nubench.datasets.catalogue import card_called
from nubench.errors import DataError, NubenchError
from nubench.plugins.discovery import load_plugins
from nubench.plugins.registry import PluginRegistry
from nubench.profiles import PROFILES
from nubench.results.files import submission_path, write_result
from nubench.results.schema import Result
from nubench.runs.request import Request, make_config
from nubench.studies.collected import Collection
from nubench.studies.grid_of_study import all_requests, check_names, requests_of
from nubench.studies.report import FigureReport, report_files
from nubench.studies.study_file import Study, read_study
from result_factory import make_result

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
    method = registry.method(request.method).thing
    config = make_config(method, PROFILES[request.profile], request.settings or {}).model_dump(mode="json")
    points: Mapping[str, float] = {request.source: 0.8, "a": 0.7, "b": 0.6}
    made = make_result(
        *(request.method, points, seed),
        shift=request.shift,
        profile=request.profile,
        config={**config, **changes.pop("config", {})},
        version=method.version,
        backbone="tiny" if method.uses_backbone else None,
        readout=method.ranked_by,
    )
    dataset = made.dataset.model_copy(update={"name": request.dataset})
    result = made.model_copy(update={"dataset": dataset, **changes})
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
    _submit(registry, boards, supcon, 1, config={"alpha": 0.25})
    found = Collection(boards, registry).cells([supcon, summary], study.all_seeds)
    assert [cell.result for cell in found] == [first, None, None, on_gpu]


def test_nothing_is_there_before_anything_was_run(registry: PluginRegistry, tmp_path: Path) -> None:
    study = _study(tmp_path)
    found = Collection(tmp_path / "boards", registry).cells(all_requests(study, registry), study.all_seeds)
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
    collection = Collection(boards, registry)
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
    cells = Collection(tmp_path, registry).cells(requests_of(study, study.figures[0], registry), study.all_seeds)
    files = report_files(study, [FigureReport.of(study.figures[0], cells)])
    assert list(files) == ["README.md"]
    assert b"0 of 4 runs are there" in files["README.md"]
    assert b"- `supcon` trained at nominal: seeds 0, 1" in files["README.md"]


def test_a_damaged_submission_is_named(registry: PluginRegistry, tmp_path: Path) -> None:
    (tmp_path / "submissions").mkdir()
    (tmp_path / "submissions" / "broken.json").write_text("{")
    with pytest.raises(DataError, match=r"broken\.json"):
        Collection(tmp_path, registry)
