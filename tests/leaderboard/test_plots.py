"""The charts as values, the columns of tables, and LaTeX: the right numbers, and text that stays text."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from board_examples import LEVELS, crosstalk_result, example_results, hostile_results
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb

from nubench.display.rendering import style
from nubench.errors import PluginError
from nubench.leaderboard.boards import boards_of
from nubench.leaderboard.charts import Chart, Panel, Series, log_range
from nubench.leaderboard.columns import Column, cell, cells, per_cent, ranking_columns
from nubench.leaderboard.displacements import on_one_line
from nubench.leaderboard.figure import _figure
from nubench.leaderboard.latex import escape, latex_table
from nubench.leaderboard.plots import (
    accuracy_chart,
    calibration_chart,
    charts_of,
    cost_chart,
    difference_chart,
    joined_rows,
    overview_chart,
    sources_chart,
    strength_chart,
)
from nubench.leaderboard.rows import Spread
from nubench.results.schema import PointResult, Result
from result_factory import as_version_1, make_result, result_content


def test_bars_are_accuracies_and_their_change() -> None:
    (board,) = boards_of(example_results())
    above, below = accuracy_chart(board).panels
    for row, bars, changes in zip(board.rows, above.series, below.series, strict=True):
        source = 100 * row.at("nominal").mean
        assert bars.y == pytest.approx([100 * row.at(point).mean for point in board.points])
        assert changes.y == pytest.approx([height - source for height in bars.y], abs=1e-9)
        assert bars.apart == (row.rank is None)
    assert above.lines_y[0][0] == pytest.approx(100 / 3)


def test_cells_are_accuracies_in_the_order_of_the_ranking_and_the_mean_stands_apart() -> None:
    (board,) = boards_of(example_results())
    (panel,) = overview_chart(board).panels
    assert panel.categories == ("mean of 2 targets", "", "nominal", "throw1", "throw2")
    assert panel.ticks_y == tuple(one.name for one in panel.series)
    assert [one.number for one in panel.series] == list(range(len(board.rows)))
    for row, one in zip(board.rows, panel.series, strict=True):
        assert one.name == (row.label if row.rank else f"{row.label} (not ranked)")
        mean, *at_points = one.y
        assert at_points == pytest.approx([100 * row.at(point).mean for point in board.points])
        assert mean == pytest.approx(sum(at_points[1:]) / 2)
    # Guessing among three classes is where the colours begin.
    assert panel.range_shades == pytest.approx((100 / 3, 100))


def test_every_number_of_the_cells_is_read_on_its_colour() -> None:
    values = tuple(float(value) for value in range(0, 101, 4))
    names = tuple(f"point {value:.0f}" for value in values)
    one = Series("row", names, values, 0, "cells")
    panel = Panel("", "", "", (one,), categories=names, ticks_y=("row",), range_shades=(20, 100))
    with style():
        (axes,) = _figure(Chart("overview", "", "", (panel,)), "").axes
    assert [text.get_text() for text in axes.texts] == [f"{value:.0f}" for value in values]
    for text, cell_drawn in zip(axes.texts, axes.patches, strict=True):
        ink, colour = (relative_luminance(to_rgb(c)) for c in (text.get_color(), cell_drawn.get_facecolor()))
        # What WCAG 2 asks of large text; most cells have far more.
        assert (max(ink, colour) + 0.05) / (min(ink, colour) + 0.05) > 4.2


def relative_luminance(colour: tuple[float, float, float]) -> float:
    """That of WCAG 2, from the channels of sRGB."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_lines_over_strength_are_ordered_by_it_whatever_the_source() -> None:
    boards = [boards_of([crosstalk_result(source)])[0] for source in ("nominal", "x2")]
    chart = sources_chart(boards, 0)
    assert chart is not None
    for board, panel in zip(boards, chart.panels, strict=True):
        (line,) = panel.series
        assert line.x == tuple(sorted(LEVELS.values()))
        at_source = line.x.index(LEVELS[board.example.shift.source])
        assert max(line.y) == line.y[at_source]
        assert line.notes == tuple(LEVELS)
    assert len({panel.range_y for panel in chart.panels}) == 1


def test_without_strengths_nothing_is_drawn_over_them() -> None:
    (board,) = boards_of([Result.model_validate(as_version_1(result_content()))])
    assert strength_chart(board) is None
    assert sources_chart([board], 0) is None
    assert [chart.name for chart in charts_of(board)] == ["overview", "figure", "differences", "calibration"]


def scattered_result() -> Result:
    """Points whose displacements do not lie on one line, two of them of one strength."""
    content = result_content()
    content["shift"]["strength_unit"] = "sigma (root mean square of the nine)"
    for point, gain, strength in zip(content["points"], (1.0, 1.2, 0.9), (0.0, 1.0, 1.0), strict=True):
        point["parameters"]["gain"], point["strength"] = gain, strength
    return Result.model_validate(content)


def test_points_in_several_directions_are_not_joined_and_have_no_area() -> None:
    (board,) = boards_of([scattered_result()])
    chart = strength_chart(board)
    assert chart is not None
    assert {one.kind for one in chart.panels[0].series} == {"marks"}
    assert "no line joins them" in chart.caption
    # Neither cut by the picture nor by a narrow page.
    assert chart.panels[0].x_title == "strength: sigma (root mean\nsquare of the nine)"
    assert board.rows[0].area is None
    assert "area" not in {column.name for column in ranking_columns(board)}
    (straight,) = boards_of([make_result()])
    chart = strength_chart(straight)
    assert chart is not None
    assert {one.kind for one in chart.panels[0].series} == {"lines"}
    assert "no line" not in chart.caption
    assert "area" in {column.name for column in ranking_columns(straight)}


def points_at(strengths: list[float], *parameters: list[float | str]) -> tuple[PointResult, ...]:
    (template, *_) = make_result().points
    return tuple(
        template.model_copy(
            update={"strength": strength, "parameters": {str(k): value for k, value in enumerate(values)}}
        )
        for strength, *values in zip(strengths, *parameters, strict=True)
    )


@pytest.mark.parametrize(
    ("strengths", "parameters", "expected"),
    [
        ([0, 1, 2], [[5.0, 6.0, 9.0]], True),
        ([2, 1, 0], [[5.0, 6.0, 9.0]], True),
        ([0, 1, 1], [[5.0, 6.0, 4.0]], False),
        ([0, 1, 2], [[5.0, 6.0, 4.0]], False),
        ([0, 1, 1], [[5.0, 6.0, 6.0]], True),
        # Each measured by its own displacement, and rounded.
        ([0, 1, 2], [[1.0, 1.1, 1.2], [1e9, 2e9, 3e9]], True),
        ([0, 1, 2], [[1.0, 1.1001, 1.2], [0.0, -0.5, -1.0]], True),
        ([0, 1, 2], [[1.0, 1.1, 1.2], [0.0, 1.0, 4.0]], False),
        ([0, 1, 1], [[1.0, 1.1, 1.0], [0.0, 0.0, 4.0]], False),
        ([0, 1, 2], [["birks", "box", "box"], [0.0, 1.0, 2.0]], False),
        ([0, 1, 2], [[3.0, 3.0, 3.0]], True),
        ([0, 1, 2], [[-1.7e308, 0.0, 1.7e308], [5e-324, 0.0, -5e-324]], True),
        ([0, 1, 2], [[1.0, 1.0 + 2**-52, 1.5], [0.0, 1.0, 2.0]], False),
    ],
)
def test_points_follow_each_other_on_one_line_or_not(
    strengths: list[float], parameters: list[list[float | str]], expected: bool
) -> None:
    assert on_one_line(points_at(strengths, *parameters)) == expected


def test_points_without_strengths_have_no_order() -> None:
    (old, *_) = Result.model_validate(as_version_1(result_content())).points
    moved = old.model_copy(update={"parameters": {"gain": 2.0}})
    with pytest.raises(ValueError, match="every point must have a strength"):
        on_one_line([old.model_copy(update={"parameters": {"gain": 1.0}}), moved])


def test_bars_join_rows_that_are_not_clearly_different_and_no_others() -> None:
    accuracies = {"a": 0.80, "b": 0.795, "c": 0.79, "far": 0.5}
    (board,) = boards_of(
        [make_result(name, dict.fromkeys(("nominal", "throw1", "throw2"), value)) for name, value in accuracies.items()]
    )
    rows = list(board.rows)
    runs = joined_rows(board, rows)
    assert all(first < last < rows.index(next(row for row in rows if row.label == "far")) for first, last in runs)
    for first, last in runs:
        for one in range(first, last + 1):
            for other in range(one + 1, last + 1):
                interval = board.difference(rows[one], rows[other])
                assert interval.low <= 0 <= interval.high
    chart = difference_chart(board)
    assert chart is not None
    assert chart.panels[0].ticks_y == tuple(row.label for row in rows)


def test_calibration_is_that_of_the_results() -> None:
    (board,) = boards_of(example_results())
    error, likelihood = calibration_chart(board).panels
    assert set(error.series[0].y) == {2.0}
    assert set(likelihood.series[0].y) == {0.5}


def result_of_cost(name: str, seed: int = 0, **cost: float | None) -> Result:
    content = result_content(name, seed=seed)
    content["cost"] |= cost
    return Result.model_validate(content)


def test_costs_are_medians_over_the_seeds_and_processor_time_stands_first() -> None:
    slow = [
        result_of_cost("slow", seed, wall_seconds=wall, cpu_seconds=900.0) for seed, wall in enumerate((10, 20, 900))
    ]
    (board,) = boards_of([*slow, result_of_cost("quick", wall_seconds=5.0, cpu_seconds=50.0, parameters=1000)])
    chart = cost_chart(board)
    assert chart is not None
    assert [panel.x_title for panel in chart.panels] == [
        "processor time of a run (s)",
        "wall time of a run (s)",
        "trained parameters",
    ]
    costs = [{one.name: one.x for one in panel.series} for panel in chart.panels]
    assert costs == [
        {"slow": (900.0,), "quick": (50.0,)},
        {"slow": (20.0,), "quick": (5.0,)},
        {"slow": (350_000.0,), "quick": (1000.0,)},
    ]


def test_a_cost_that_nobody_has_or_all_share_is_left_out() -> None:
    costs = [{"cpu_seconds": 100.0, "parameters": 1000}, {"cpu_seconds": 102.0, "parameters": 1009}]
    results = [result_of_cost(name, flops_per_event=None, **cost) for name, cost in zip("ab", costs, strict=True)]
    results.append(result_of_cost("none", cpu_seconds=100.0, parameters=0, flops_per_event=None))
    chart = cost_chart(boards_of(results)[0])
    assert chart is not None
    assert [panel.x_title for panel in chart.panels] == ["processor time of a run (s)"]
    assert cost_chart(boards_of([make_result("a"), make_result("b")])[0]) is None


@given(st.lists(st.floats(1e-6, 1e15), min_size=1, max_size=9))
def test_a_logarithmic_axis_holds_its_values_and_spans_a_decade(values: list[float]) -> None:
    low, high = log_range(values)
    assert low < min(values) <= max(values) < high
    assert high / low > 9.999


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1], True])
def test_a_column_may_not_give_what_no_table_can_hold(value: object) -> None:
    (board,) = boards_of([make_result()])
    with pytest.raises(PluginError, match="column 'odd' must give"):
        cell(Column("odd", "Odd", lambda row: value), board.rows[0])  # type: ignore[arg-type,return-value]


def test_a_column_that_fails_is_named_with_its_row() -> None:
    (board,) = boards_of([make_result()])
    with pytest.raises(PluginError, match=r"column 'odd' failed at row 'supcon': division by zero"):
        cell(Column("odd", "Odd", lambda row: 1 / 0), board.rows[0])


def test_columns_give_what_is_sorted_by_and_what_is_read() -> None:
    (board,) = boards_of(example_results())
    columns = ranking_columns(board)
    found = {column.name: one for column, one in zip(columns, cells(columns, board.rows[0]), strict=True)}
    assert len(found) == len(columns)
    assert found["mean"].sort == board.rows[0].mean.mean
    assert found["seeds"].text == "3"
    assert found["at-throw1"].text == "85.0 ± 0.0"


def test_there_is_no_negative_zero() -> None:
    assert per_cent(Spread(-0.0001, None), signed=True) == "0.0"
    assert per_cent(Spread(0.0001, 0.01), signed=True) == "0.0 ± 1.0"
    assert per_cent(Spread(-0.0001, None)) == "0.0"


SPECIAL = "\\{}$&#%_^~<>|\"`'-±…"


@pytest.mark.parametrize("character", SPECIAL)
def test_every_special_character_of_latex_is_escaped(character: str) -> None:
    assert escape(character) != character


@given(st.text())
def test_no_text_can_be_a_command_of_latex(text: str) -> None:
    written = escape(text)
    # What is left after the replacements that this package makes holds none of TeX's special characters.
    commands = r"\\text[a-z]+\{\}|\\ldots\{\}|\\[{}$&#%_]|\{-\}|\$\\pm\$"
    assert not set(re.sub(commands, "", written)) & set("\\{}$&#%_^~")
    assert "\n" not in written


def test_the_table_for_latex_has_one_line_for_each_row() -> None:
    (board,) = boards_of(example_results())
    lines = latex_table(board).splitlines()
    head = next(line for line in lines if line.startswith("Rank"))
    body = [line for line in lines if line.endswith(r"\\") and line != head]
    assert len(body) == len(board.rows)
    assert {line.count(" & ") for line in [head, *body]} == {len(ranking_columns(board)) - 1}
    assert body[0].startswith(r"1 & supcon & 82.5 $\pm$ 0.0 &")
    assert lines.count(r"\midrule") == 2


def test_hostile_text_is_no_command_of_latex() -> None:
    (board,) = boards_of(hostile_results())
    table = latex_table(board)
    assert "\\frac" not in table.replace("\\textbackslash{}", "")
    assert all(not line.startswith("[") for line in table.splitlines())


def test_no_two_of_thirty_ranked_rows_have_the_same_bars_or_marks() -> None:
    rows = [Series(f"row {number}", (), (), number, "bars") for number in range(30)]
    assert len({(one.colour, one.filling) for one in rows}) == len({(one.colour, one.symbol) for one in rows}) == 30
    assert not {one.filling for one in rows} & {replace(rows[0], apart=True).filling}


def test_a_long_legend_is_not_cut() -> None:
    rows = tuple(Series(f"row {number}", (1.0,), (float(number),), number, "marks") for number in range(40))
    chart = Chart("cost", "Many rows", "", (Panel("", "", "", rows),))
    with style():
        figure = _figure(chart, "")
        figure.draw_without_rendering()
        (legend,) = figure.legends
        assert legend.get_window_extent().y0 > 0
