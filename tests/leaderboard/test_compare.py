"""Two methods side by side, groups of boards, and what the terminal shows of them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from board_examples import crosstalk_result, example_results, submit
from rich.console import Console
from typer.testing import CliRunner

from nubench.cli import app
from nubench.errors import UsageError
from nubench.leaderboard.across import standings
from nubench.leaderboard.boards import boards_of
from nubench.leaderboard.compare import compare_methods
from nubench.leaderboard.groups import groups_across, groups_of_sources
from nubench.leaderboard.terminal import across_table, comparison_table
from nubench.results.bits import unpack
from nubench.results.schema import Result
from result_factory import as_version_1, make_result, result_content


def text_of(table: object) -> str:
    console = Console(width=140, file=io.StringIO(), force_terminal=False)
    console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_the_differences_are_those_of_the_accuracies_and_turn_with_the_order() -> None:
    boards = boards_of(example_results())
    (one,) = compare_methods(boards, ["supcon", "classifier"])
    (other,) = compare_methods(boards, ["classifier", "supcon"])
    assert one.paired
    assert one.over_targets.estimate == pytest.approx(one.first.mean.mean - one.second.mean.mean)
    for point, at, back in zip(one.board.points, one.at_points, other.at_points, strict=True):
        assert at.estimate == pytest.approx(one.first.at(point).mean - one.second.at(point).mean)
        assert at.low <= at.estimate <= at.high
        assert back.estimate == pytest.approx(-at.estimate)
        assert (back.low, back.high) == pytest.approx((-at.high, -at.low), abs=2e-3)


def test_the_interval_at_a_point_is_that_of_paired_events() -> None:
    results = [make_result("a", seed=0), make_result("b", {"nominal": 0.85, "throw1": 0.8, "throw2": 0.7}, seed=0)]
    (comparison,) = compare_methods(boards_of(results), ["a", "b"])
    first, second = (unpack(str(r.scores(r.points[1]).right), r.test_events or 0).astype(float) for r in results)
    # With one training each, what is left to resample are the events: the normal interval of their mean difference.
    difference = first - second
    half = 1.96 * difference.std(ddof=1) / np.sqrt(len(difference))
    interval = comparison.at_points[1]
    assert interval.high - interval.low == pytest.approx(2 * half, rel=0.12)
    independent = 1.96 * np.sqrt((first.var() + second.var()) / len(first))
    assert half < 0.8 * independent


@pytest.mark.parametrize("version", [1, 2])
def test_rows_of_one_seed_are_given_the_spread_of_the_others_at_each_point(version: int) -> None:
    points = ("nominal", "throw1", "throw2")
    # Three trainings that differ at the first target alone.
    several = [
        result_content("three", dict(zip(points, (0.9, 0.7 + 0.05 * seed, 0.8), strict=True)), seed)
        for seed in range(3)
    ]
    pair = [result_content(name, dict.fromkeys(points, value)) for name, value in (("a", 0.81), ("b", 0.8))]
    contents = [as_version_1(content) if version == 1 else content for content in [*several, *pair]]
    (comparison,) = compare_methods(boards_of(map(Result.model_validate, contents)), ["a", "b"])
    assert comparison.paired == (version == 2)
    nominal, first, second = (interval.high - interval.low for interval in comparison.at_points)
    assert nominal == pytest.approx(second, rel=0.2)
    assert first**2 - second**2 == pytest.approx((2 * 1.96) ** 2 * 2 * 0.05**2, rel=0.15)


def test_results_that_do_not_say_which_were_right_are_compared_by_their_intervals() -> None:
    results = [
        Result.model_validate(as_version_1(result_content(name, {"nominal": 0.9, "throw1": value, "throw2": value})))
        for name, value in (("a", 0.8), ("b", 0.6))
    ]
    (comparison,) = compare_methods(boards_of(results), ["a", "b"])
    assert not comparison.paired
    assert comparison.at_points[1].low > 0 > comparison.at_points[0].low
    assert "compared by their intervals alone" in text_of(comparison_table(comparison))


def test_names_that_cannot_be_compared_are_refused() -> None:
    boards = boards_of([*example_results(), make_result("elsewhere", shift="crosstalk")])
    with pytest.raises(UsageError, match=r"unknown method 'supcom'; did you mean 'supcon'"):
        compare_methods(boards, ["supcom", "classifier"])
    with pytest.raises(UsageError, match="two different methods"):
        compare_methods(boards, ["supcon"])
    with pytest.raises(UsageError, match="two different methods"):
        compare_methods(boards, ["supcon", "supcon"])
    with pytest.raises(UsageError, match=r"no board has two.*elsewhere on lartpc/crosstalk/smoke"):
        compare_methods(boards, ["supcon", "elsewhere"])


def test_a_folder_without_results_is_named_and_no_method_called_unknown(tmp_path: Path) -> None:
    (tmp_path / "submissions").mkdir()
    done = CliRunner().invoke(app, ["compare", "supcon", "classifier", "--leaderboards", str(tmp_path)])
    assert done.exit_code == 2
    assert f"--leaderboards '{tmp_path}' holds no results" in done.output


def test_variants_are_compared_each() -> None:
    results = [make_result(config={"size": size}) for size in (1, 2)]
    found = compare_methods(boards_of([*results, make_result("other")]), ["supcon", "other"])
    assert [one.first.label for one in found] == ["supcon (size=1)", "supcon (size=2)"]


def test_a_table_says_where_the_difference_is_clear() -> None:
    (comparison,) = compare_methods(boards_of(example_results()), ["supcon", "classifier"])
    text = text_of(comparison_table(comparison))
    assert "supcon minus classifier" in text
    assert "event by event" in text
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert lines["throw2"].rstrip().endswith("better")
    assert lines["nominal"].rstrip().endswith("worse")


def test_sources_of_one_shift_belong_together_and_nothing_else_does() -> None:
    results = [crosstalk_result(source) for source in ("x2", "nominal")]
    other_profile = crosstalk_result("x2", profile="paper")
    groups = groups_of_sources(boards_of([*results, other_profile, *example_results()]))
    together = [[board.example.shift.source for board in group] for group in groups if len(group) > 1]
    assert together == [["nominal", "x2"]]
    assert sum(map(len, groups)) == 4


def test_profiles_and_backbones_and_schemas_are_never_compared_across() -> None:
    old = Result.model_validate(as_version_1(result_content("supcon", seed=7)))
    results = [*example_results(), crosstalk_result("nominal"), make_result(profile="paper"), old]
    results.append(make_result(backbone="small"))
    groups = groups_across(boards_of(results))
    assert groups[0].detectors == ("lartpc", "scintillator")
    for group in groups:
        shared = {(b.example.profile.name, b.backbone, b.example.schema_version) for b in group.boards}
        assert len(shared) == 1
    assert len({group.title for group in groups}) == len(groups)


def test_of_two_versions_of_a_data_set_the_newer_counts() -> None:
    contents = [result_content(), result_content()]
    contents[0]["dataset"]["version"], contents[1]["dataset"]["version"] = "10", "9"
    (group,) = groups_across(boards_of(map(Result.model_validate, contents)))
    assert [board.example.dataset.version for board in group.boards] == ["10"]
    assert [board.example.dataset.version for board in group.left_out] == ["9"]


def test_the_table_across_detectors_shows_the_methods_asked_for() -> None:
    results = [*example_results(), crosstalk_result("nominal"), crosstalk_result("nominal", "dann")]
    (group,) = groups_across(boards_of(results))
    text = text_of(across_table(group))
    assert "supcon" in text
    assert "dann" in text
    assert "dann" not in text_of(across_table(group, ["supcon"]))


def test_methods_of_one_name_from_two_packages_are_asked_for_by_that_name() -> None:
    contents = [result_content("a"), result_content("a"), result_content("b")]
    contents[1]["method"]["distribution"] = "other"
    (group,) = groups_across(boards_of([*map(Result.model_validate, contents)]))
    text = text_of(across_table(group, ["a"]))
    assert "nubench:a" in text
    assert "other:a" in text
    assert len(standings(group.boards)) == 3


@pytest.mark.usefixtures("no_pictures")
def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submit(tmp_path, *example_results(), crosstalk_result("nominal"))
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)
    options = ["--leaderboards", str(tmp_path)]
    run = CliRunner().invoke(app, ["leaderboard", *options, "--open", "--detectors", "all"])
    assert run.exit_code == 0, run.output
    assert "across detectors: smoke, backbone tiny" in run.output
    assert opened == [(tmp_path / "site" / "index.html").as_uri()]
    run = CliRunner().invoke(app, ["compare", "supcon", "classifier", *options, "--detectors", "lartpc"])
    assert run.exit_code == 0, run.output
    assert "supcon minus classifier" in run.output
    assert "scintillator" not in run.output
    run = CliRunner().invoke(app, ["compare", "supcon", "classifier", *options, "--detectors", "cubes"])
    assert run.exit_code == 2
    assert "unknown detector 'cubes'" in run.output
