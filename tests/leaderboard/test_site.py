"""The site: which pages exist, that every link leads to one of them, and that no text of a submission is mark-up."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board_examples import HOSTILE, example_results, submit

from nubench.foreign_text import printable
from nubench.leaderboard.boards import boards_of
from nubench.leaderboard.charts import COLOURS
from nubench.leaderboard.columns import Column
from nubench.leaderboard.generate import generate_leaderboards
from nubench.leaderboard.plots import accuracy_chart, charts_of, overview_chart
from nubench.leaderboard.site.interactive import plotly_chart
from nubench.results.files import read_result
from nubench.results.schema import Result
from result_factory import as_version_1, make_result, result_content

ADDRESSES = ("href", "src", "action", "data", "srcset")


class Page(HTMLParser):
    """The elements of a page, its text, and the content of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self._inside: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        (self.scripts if self._inside[-1:] == ["script"] else self.words).append(data)

    def addresses(self) -> list[str]:
        """Everything that the page names: links, scripts, styles, pictures."""
        return [
            value
            for _, attributes in self.elements
            for name, value in attributes.items()
            if name in ADDRESSES and value
        ]


def pages_of(site: Path) -> dict[str, Page]:
    return {path.relative_to(site).as_posix(): Page(path.read_text()) for path in sorted(site.rglob("*.html"))}


def test_there_is_a_page_for_everything(site: Path) -> None:
    pages = set(pages_of(site))
    assert {"index.html", "across.html", "methods.html"} <= pages
    assert {"shifts/lartpc/throws.html", "shifts/scintillator/crosstalk.html"} <= pages
    assert {"boards/scintillator/crosstalk-from-x2/smoke/index.html"} <= pages
    methods = ("supcon", "dann", "classifier", "target-oracle", "summary-features", "hostile")
    assert {f"methods/{name}.html" for name in methods} <= pages
    submissions = sorted((site.parent / "submissions").rglob("*.json"))
    for path in submissions:
        assert path.relative_to(site.parent).with_suffix(".html").as_posix() in pages
    assert len([page for page in pages if page.startswith("submissions/")]) == len(submissions)


def assert_addresses_are_files(site: Path) -> None:
    for name, page in pages_of(site).items():
        for address in page.addresses():
            if address == "data:,":
                continue
            assert re.fullmatch(r"[A-Za-z0-9_.+!/-]+", address), f"{name}: {address}"
            found = (site / name).parent.joinpath(address).resolve()
            assert found.is_file(), f"{name}: {address}"
            assert found.is_relative_to(site.resolve()), f"{name}: {address}"


def test_every_address_is_relative_and_is_a_file_of_the_site(site: Path) -> None:
    assert_addresses_are_files(site)


@pytest.fixture
def mixed_site(tmp_path: Path, no_pictures: None) -> Path:
    """A board with a method name that two distributions bring, one of them incomplete, and one board of version 1."""
    for seed in range(3):
        submit(tmp_path, make_result(seed=seed))
    content = result_content(accuracies={"nominal": 0.95, "throw1": 0.95, "throw2": 0.95})
    content["method"]["distribution"] = "elsewhere"
    old = as_version_1(result_content(profile="laptop"))
    submit(tmp_path, Result.model_validate(content), Result.model_validate(old))
    generate_leaderboards(tmp_path)
    return tmp_path / "site"


def test_every_address_holds_where_two_distributions_bring_a_method_of_one_name(mixed_site: Path) -> None:
    assert_addresses_are_files(mixed_site)
    links = re.findall(
        r'<a href="([^"]*)">((?:elsewhere|nubench):supcon)</a>', (mixed_site / "across.html").read_text()
    )
    assert sorted(links) == [("methods/supcon.html", f"{name}:supcon") for name in ("elsewhere", "nubench")]


def test_the_first_page_says_how_well_the_best_row_of_a_board_is_known(mixed_site: Path) -> None:
    table = words_of_rows(Page((mixed_site / "index.html").read_text()))
    assert table["lartpc, throws, smoke, tiny"][1] == "supcon (from elsewhere) (1 of 3 seeds)"
    low, high = map(float, table["lartpc, throws, smoke, tiny"][3].split(" to "))
    assert low < 95.0 < high
    assert "lartpc, throws, laptop, tiny, schema version 1" in table


def test_the_result_file_lies_beside_the_page_of_a_submission(site: Path) -> None:
    for path in sorted((site.parent / "submissions").rglob("*.json")):
        assert (site / path.relative_to(site.parent)).read_bytes() == path.read_bytes()


def test_a_result_of_version_1_lies_there_too(mixed_site: Path) -> None:
    (path,) = (mixed_site / "submissions/lartpc/throws/laptop").glob("*.json")
    assert read_result(path).schema_version == 1


def words_of_rows(page: Page) -> dict[str, list[str]]:
    """The cells of all tables of a page, by the first of their row."""
    text = "\n".join(line.strip() for line in "".join(page.words).splitlines())
    rows = [[line for line in part.split("\n") if line] for part in re.split(r"\n\n+", text)]
    return {row[0]: row for row in rows if row}


def test_every_page_is_reached_from_the_first(site: Path) -> None:
    pages = pages_of(site)
    reached, waiting = set(), ["index.html"]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            links = ((site / name).parent.joinpath(address).resolve() for address in pages[name].addresses())
            waiting += [
                link.relative_to(site.resolve()).as_posix()
                for link in links
                if link.suffix == ".html" and link.is_relative_to(site.resolve())
            ]
    assert reached == set(pages)


def test_hostile_text_is_shown_as_text_and_nothing_else(site: Path) -> None:
    pages = pages_of(site)
    shown = 0
    for name, page in pages.items():
        for tag, attributes in page.elements:
            assert not [attribute for attribute in attributes if attribute.startswith("on") or attribute == "style"]
            if tag == "script":
                assert attributes.get("type") == "application/json" or attributes.get("src"), name
        assert "img" not in {tag for tag, attributes in page.elements if attributes.get("src") == "x"}
        assert "\x1b" not in "".join(page.words)
        for script in page.scripts:
            json.loads(script)
            assert "<" not in script
        shown += printable(HOSTILE) in "".join(page.words)
    assert shown >= 4


def test_the_policy_of_every_page_allows_the_folder_alone(site: Path) -> None:
    for page in pages_of(site).values():
        (policy,) = [
            attributes["content"] or ""
            for tag, attributes in page.elements
            if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
        ]
        rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
        assert rules["default-src"] == "'none'"
        assert rules["script-src"] == "'self'"
        assert "http" not in policy
        assert "*" not in policy


def test_own_scripts_and_styles_ask_nobody(site: Path) -> None:
    for path in (site / "assets").iterdir():
        if path.name != "plotly.min.js":
            text = path.read_text()
            assert not re.search(
                r"https?:|//[a-z]|fetch\(|XMLHttpRequest|WebSocket|innerHTML|eval\(|@import|url\(", text
            )
            assert len(text.splitlines()) < 260


def test_the_confusion_matrices_of_a_submission_count_every_event(site: Path) -> None:
    result = example_results()[0]
    path = next((site / "submissions/lartpc/throws/smoke").glob("supcon-seed0-*.html"))
    matrices = re.findall(r'<table class="confusion">.*?</table>', path.read_text(), re.DOTALL)
    assert len(matrices) == len(result.points)
    for matrix, point in zip(matrices, result.points, strict=True):
        counts = [int(number.replace(",", "")) for number in re.findall(r'shade-\d+">([\d,]+)<', matrix)]
        assert counts == [count for row in result.scores(point).confusion for count in row]


def test_boards_of_different_sources_are_drawn_together_on_the_page_of_their_shift(site: Path) -> None:
    page = Page((site / "shifts/scintillator/crosstalk.html").read_text())
    (content,) = map(json.loads, page.scripts)
    titles = [panel["layout"]["title"]["text"] for panel in content["panels"]]
    assert titles == ["trained at nominal", "trained at x2"]
    assert {tuple(panel["layout"]["yaxis"]["range"]) for panel in content["panels"]} != set()
    for panel in content["panels"]:
        for trace in panel["data"]:
            assert trace["x"] == [0.0, 1.0, 2.5, 4.0]
    assert {path.name for path in (site / "shifts/scintillator/crosstalk").iterdir()} == {
        "sources-0.png",
        "sources-0.svg",
    }


def test_the_page_of_a_method_draws_its_accuracy_on_every_board(site: Path) -> None:
    page = Page((site / "methods/dann.html").read_text())
    (content,) = map(json.loads, page.scripts)
    (panel,) = content["panels"]
    source, targets = panel["data"]
    assert panel["layout"]["yaxis"]["ticktext"] == [
        "scintillator, crosstalk,<br>smoke, tiny",
        "scintillator, crosstalk-<br>from-x2, smoke, tiny",
    ]
    # The levels lie at 0, 1, 2.5 and 4, and each costs four points of accuracy.
    assert source["x"] == pytest.approx([90.0, 90.0], abs=0.05)
    assert targets["x"] == pytest.approx([80.0, 90 - 4 * (2.5 + 1.5 + 1.5) / 3], abs=0.05)
    assert all(length > 0 for length in targets["error_x"]["array"])
    assert [entry["name"] for entry in content["legend"]] == ["mean over the targets, 95% interval", "source"]
    table = words_of_rows(page)["scintillator, crosstalk, smoke, tiny"]
    assert re.fullmatch(r"7\d\.\d to 8\d\.\d", table[6])


def test_markdown_shows_sources_together_and_methods_across_detectors(site: Path) -> None:
    index = (site.parent / "README.md").read_text()
    assert "## Across detectors: smoke, backbone tiny" in index
    # It misses the board of hostile names, so that it is listed and not compared.
    (across,) = re.findall(r"^\| supcon \|.*$", index, re.MULTILINE)
    assert across.startswith("| supcon |  |  |  | 82.5 ± 0.0 |")
    pictures = re.findall(r"\]\((sources/[^)]*)\)", index)
    assert pictures == [f"sources/scintillator-crosstalk-sources-0.{ending}" for ending in ("svg", "png")]
    assert all((site.parent / picture).is_file() for picture in pictures)


def test_the_page_across_detectors_shows_each_board_and_misses_none(site: Path) -> None:
    words = " ".join("".join(Page((site / "across.html").read_text()).words).split())
    for name in ("lartpc, throws", "scintillator, crosstalk", "scintillator, crosstalk-from-x2"):
        assert name in words
    assert "supcon" in words


@pytest.mark.usefixtures("no_pictures")
def test_columns_of_plugins_stand_in_every_table(tmp_path: Path) -> None:
    submit(tmp_path, *example_results())
    generate_leaderboards(tmp_path, [Column("letters", "Letters <b>", lambda row: float(len(row.label)))])
    for file in ("README.md", "table.tex"):
        text = (tmp_path / "lartpc/throws/smoke" / file).read_text()
        assert "Letters" in text
    page = (tmp_path / "site/boards/lartpc/throws/smoke/index.html").read_text()
    assert "Letters &lt;b&gt;" in page
    assert 'data-sort="6.0">6<' in page


def test_rows_that_are_not_ranked_have_a_table_of_their_own(site: Path) -> None:
    text = (site / "boards/lartpc/throws/smoke/index.html").read_text()
    assert text.index("Not ranked</h3>") < text.index("methods/target-oracle.html")
    assert "1 of 3" in text


def _plain(value: Any) -> bool:
    return json.loads(json.dumps(value, allow_nan=False)) == value


def test_interactive_charts_say_what_the_pictures_say() -> None:
    (board,) = boards_of(example_results())
    for chart in charts_of(board):
        content = plotly_chart(chart)
        assert _plain(content)
        assert len(content["panels"]) == len(chart.panels)
        if chart.name == "overview":
            continue
        for drawn, panel in zip(content["panels"], chart.panels, strict=True):
            assert [(trace["x"], trace["y"]) for trace in drawn["data"]] == [
                (list(one.x), list(one.y)) for one in panel.series
            ]


def test_cells_stand_below_their_point_and_beside_their_row() -> None:
    (board,) = boards_of(example_results())
    chart = overview_chart(board)
    (drawn,) = plotly_chart(chart)["panels"]
    trace, texts = drawn["data"]
    axis = drawn["layout"]["xaxis"]
    assert axis["ticktext"] == ["mean of 2<br>targets", *board.points]
    # Of each column the heads know the middle, the cells both ends; the narrow one between holds nothing.
    ends = list(zip(trace["x"], trace["x"][1:], strict=False))
    columns = [next(n for n, (left, right) in enumerate(ends) if left < tick < right) for tick in axis["tickvals"]]
    assert columns == [0, 2, 3, 4]
    assert all(of_row[1] is None for of_row in trace["z"])
    written = {(x, y): text for x, y, text in zip(texts["x"], texts["y"], texts["text"], strict=True)}
    assert set(texts["textfont"]["color"]) <= {"white", "black"}
    for place, of_row in zip(trace["y"], trace["z"], strict=True):
        row = board.rows[place]
        assert drawn["layout"]["yaxis"]["ticktext"][place].startswith(row.label)
        numbers = [100 * row.mean.mean, *(100 * row.at(point).mean for point in board.points)]
        assert [of_row[column] for column in columns] == pytest.approx(numbers)
        assert [written[tick, place] for tick in axis["tickvals"]] == [f"{number:.0f}" for number in numbers]


def test_panels_above_each_other_begin_and_end_at_the_same_places() -> None:
    (board,) = boards_of(example_results())
    stacked = [plotly_chart(chart) for chart in charts_of(board) if chart.stacked]
    assert stacked
    for content in stacked:
        sides = {(p["layout"]["margin"]["l"], p["layout"]["margin"]["r"]) for p in content["panels"]}
        assert len(sides) == 1
        assert not any(panel["layout"]["yaxis"]["automargin"] for panel in content["panels"])


def test_the_legend_shows_bars_as_they_are_filled() -> None:
    names = [f"method{number:02}" for number in range(len(COLOURS) + 1)]
    results = [
        make_result(name, dict.fromkeys(("nominal", "throw1", "throw2"), 0.9 - 0.01 * place))
        for place, name in enumerate(names)
    ]
    (board,) = boards_of([*results, make_result("apart", ranked=False)])
    content = plotly_chart(accuracy_chart(board))
    looks = {entry["name"]: entry["look"] for entry in content["legend"]}
    assert looks == dict.fromkeys(names[:-1], "bar") | {names[-1]: "bar dots", "apart (not ranked)": "bar strokes"}
    fillings = [trace["marker"]["pattern"]["shape"] for trace in content["panels"][0]["data"]]
    assert fillings == ["", "", "", "", "", "", "", "", ".", "/"]
    assert content["rules"] == ["guessing (33%)"]


def test_labels_are_escaped_for_plotly_too() -> None:
    boards = boards_of([make_result(config={"a": "<b>bold</b>"}), make_result(config={"a": "x"})])
    for chart in charts_of(boards[0]):
        for panel in plotly_chart(chart)["panels"]:
            assert "<b>" not in json.dumps(panel)
        assert "&lt;" not in json.dumps(plotly_chart(chart)["legend"])


def test_the_colours_can_be_told_apart_on_both_pages() -> None:
    assert len(set(COLOURS)) == len(COLOURS)
    for colour in COLOURS:
        for page in ("#ffffff", "#1c2026"):
            assert contrast(colour, page) > 2.0, (colour, page)


#: What is left of linear RGB for people without one kind of cone: Machado, Oliveira and Fernandes, "A
#: physiologically-based model for simulation of color vision deficiency", IEEE TVCG 15 (2009) 1291, severity 1.
VISIONS: Mapping[str, Any] = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
}


@pytest.mark.parametrize("vision", VISIONS)
def test_neighbours_are_told_apart_without_one_kind_of_cone(vision: str) -> None:
    seen = [cielab(np.array(VISIONS[vision]) @ linear_rgb(colour)) for colour in COLOURS]
    # From one round of the colours to the next the marks and fillings differ as well.
    for one, other in zip(COLOURS, (*COLOURS[1:], COLOURS[0]), strict=True):
        assert np.linalg.norm(seen[COLOURS.index(one)] - seen[COLOURS.index(other)]) > 20, (one, other)
    for one, other in combinations(range(len(COLOURS)), 2):
        assert np.linalg.norm(seen[one] - seen[other]) > 10, (COLOURS[one], COLOURS[other])


def test_the_distance_of_colours_is_that_of_cielab() -> None:
    assert cielab(linear_rgb("#ffffff")) == pytest.approx([100.0, 0.0, 0.0], abs=0.01)
    # As tables of sRGB in CIELAB under D65 have it.
    assert cielab(linear_rgb("#ff0000")) == pytest.approx([53.24, 80.09, 67.20], abs=0.05)


def cielab(linear: Any) -> Any:
    """(L*, a*, b*) of linear sRGB under D65, after CIE 15; their Euclidean distance is the colour difference ΔE*ab."""
    xyz_of_rgb = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    ratio = xyz_of_rgb @ np.clip(linear, 0, 1) / xyz_of_rgb.sum(axis=1)
    x, y, z = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours after WCAG 2.2."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    return float(linear_rgb(colour) @ [0.2126, 0.7152, 0.0722])


def linear_rgb(colour: str) -> Any:
    channels = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
