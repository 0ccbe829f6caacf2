"""The pages, tables and figures: right, safe from hostile text, and the same to the byte."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from board_examples import crosstalk_result, example_results, hostile_results, submit
from rich.console import Console

from nubench.cli import main
from nubench.cli.leaderboards import print_tables
from nubench.errors import DataError
from nubench.leaderboard.boards import boards_of
from nubench.leaderboard.compare import compare_methods
from nubench.leaderboard.figure import draw
from nubench.leaderboard.generate import generate_leaderboards
from nubench.leaderboard.markdown import MARKER, escape, index_page, markdown_page
from nubench.leaderboard.plots import CHARTS, accuracy_chart, charts_of
from nubench.leaderboard.table import csv_text
from nubench.leaderboard.terminal import board_table, comparison_table, terminal_tables
from nubench.results.schema import Result
from result_factory import as_version_1, make_result, result_content


def tables_of(page: str) -> list[list[list[str]]]:
    """The cells of each Markdown table."""
    found = re.findall(r"(?:^\|.*\|\n?)+", page, flags=re.MULTILINE)
    return [
        [re.split(r"(?<!\\)\|", line.strip())[1:-1] for line in table.splitlines() if "---" not in line]
        for table in found
    ]


def test_the_page_has_the_numbers_and_the_order() -> None:
    (board,) = boards_of(example_results())
    ranking, apart, *_ = tables_of(markdown_page(board))
    rows = [[cell.strip() for cell in row] for row in ranking]
    head, first, second = rows[:3]
    titles = ["Mean over targets", "95% interval", "Places", "Seeds", "Target events"]
    titles += ["Worst point", "Change from nominal", "Area"]
    assert head == ["Rank", "Method", *titles, "nominal", "throw1", "throw2", "Read-out"]
    assert first[:3] == ["1", "supcon", "82.5 ± 0.0"]
    assert first[5:7] == ["3", "none"]
    # The strengths are 0, 1 and 2, and the accuracies at them 90, 85 and 80.
    assert first[9] == "85.0 ± 0.0"
    assert first[10:] == ["90.0 ± 0.0", "85.0 ± 0.0", "80.0 ± 0.0", "probe"]
    interval = board.rows[1].interval
    between = f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"
    assert second[:9] == ["2", "classifier", "62.0", between, "2", "1 of 3", "none", "54.0 at throw2", "-30.0"]
    assert second[10:] == ["92.0", "70.0", "54.0", "head"]
    assert [row[1] for row in rows[1:]] == ["supcon", "classifier", "summary-features"]
    assert [cell.strip() for cell in apart[1][:2]] == ["", "target-oracle"]


def test_a_page_names_the_source_that_was_trained_on() -> None:
    content = result_content()
    content["points"] = [content["points"][number] for number in (1, 0, 2)]
    content["shift"]["points"] = [point["point"] for point in content["points"]]
    (board,) = boards_of([Result.model_validate(content)])
    page = markdown_page(board)
    assert board.title.startswith("lartpc, throws-from-throw1, smoke")
    assert "trained on the\n`throw1` detector" in page
    assert "| Change from throw1 |" in page


def test_the_csv_has_every_seed_and_point_in_full_precision() -> None:
    (board,) = boards_of(example_results())
    rows = list(csv.DictReader(io.StringIO(csv_text(board))))
    assert len(rows) == 6 * 3
    by_key = {(row["method"], int(row["seed"]), row["point"]): row for row in rows}
    for result in example_results():
        for point in result.points:
            row = by_key[result.method.name, result.seed, point.point]
            assert float(row["accuracy"]) == result.scores(point).accuracy
            assert float(row["nll"]) == result.scores(point).nll
            assert (row["seeds_asked"], row["target_access"], row["sealed"]) == ("3", "none", "true")


def test_boards_that_stand_beside_each_other_never_share_a_title() -> None:
    contents = [result_content(name) for name in "abcde"]
    contents[1]["dataset"]["version"] = "2"
    contents[2]["dataset"]["name"] = "other"
    contents[3]["dataset"]["recipe"] = "f" * 64
    contents[4] = as_version_1(contents[4])
    boards = boards_of(map(Result.model_validate, [*contents, result_content("f", backbone="small")]))
    titles = [board.title for board in boards]
    assert len(set(titles)) == len(boards) == 6
    named = "lartpc, throws, smoke, backbone tiny, data set lartpc-singles 2"
    assert named in titles
    assert [title for title in titles if "conditions" in title and "schema version 1" in title]
    (alone,) = boards_of([make_result()])
    assert alone.title == "lartpc, throws, smoke, backbone tiny, data set lartpc-singles 1"


def test_incomplete_rows_say_so_beside_their_name_and_number() -> None:
    results = [make_result("a"), crosstalk_result("nominal", "a")]
    index, across = tables_of(index_page(boards_of(results)))
    assert [row[6].strip() for row in index[1:]] == ["a (1 of 3 seeds)"] * 2
    # Alike in all: which of them stands first says nothing.
    alike = index_page(boards_of([make_result("b"), make_result("c"), crosstalk_result("nominal", "a")]))
    assert "| b (1 of 3 seeds), shares rank 1 with 1 |" in alike
    assert [cell.strip() for cell in across[1][3:]] == ["82.5 (1 of 3 seeds)", "80.0 (1 of 3 seeds)"]


def test_hostile_text_stays_text() -> None:
    hostile = hostile_results()
    (board,) = boards_of(hostile)
    page = markdown_page(board, [accuracy_chart(board)])
    assert "<script" not in page.replace(MARKER, "")
    assert "\x1b" not in page
    assert not re.search(r"(?<!\\)\$", page)
    for table in tables_of(page):
        assert len({len(row) for row in table}) == 1
    # Neither mathematics nor mark-up is read into labels.
    pictures = draw(accuracy_chart(board))
    ElementTree.fromstring(pictures.svg)
    # Of two packages, so that the labels say which.
    content = hostile[0].model_dump(mode="json")
    content["method"]["distribution"] = "another"
    second = Result.model_validate(content)
    content["method"]["name"] = "other"
    (board,) = boards_of([*hostile, second, Result.model_validate(content)])
    (comparison, *_) = compare_methods([board], ["hostile", "other"])
    shown = io.StringIO()
    console = Console(width=120, file=shown, force_terminal=False)
    for table in (board_table(board), comparison_table(comparison)):
        console.print(table)
    assert "hostile" in shown.getvalue()
    assert "\x1b" not in shown.getvalue()


def test_a_hostile_key_is_named_without_what_a_terminal_obeys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = result_content() | {"\x1b]0;pwned\x07": 1}
    file = tmp_path / "submissions" / "hostile.json"
    file.parent.mkdir()
    file.write_text(json.dumps(content))
    with pytest.raises(SystemExit, match="1"):
        main(["leaderboard", "--leaderboards", str(tmp_path)])
    said = capsys.readouterr().err
    assert "]0;pwned  = 1: Extra inputs are not permitted" in said
    assert "\x1b" not in said
    assert "\x07" not in said


def test_a_terminal_shows_every_point_where_it_is_wide_enough(tmp_path: Path) -> None:
    (board,) = boards_of(example_results())

    def shown(width: int) -> list[str]:
        written = io.StringIO()
        print_tables(Console(width=width, file=written), tmp_path, [board])
        return written.getvalue().splitlines()

    whole = next(len(line) for line in shown(300) if "─" in line)
    widths = range(40, 110)
    shows = [any("throw2" in line and "rank" in line for line in shown(width)) for width in widths]
    first = widths[shows.index(True)]
    assert all(shows[widths.index(first) :])
    # Names may be folded, and nothing is cut.
    assert whole - 15 <= first < whole
    assert not any("…" in line for line in shown(first))


@pytest.mark.parametrize("character", list("\\`*_[]|~$!#<>&"))
def test_every_special_character_is_escaped(character: str) -> None:
    assert escape(f"a{character}b") not in (f"a{character}b", "ab")


@pytest.mark.slow
def test_everything_is_the_same_to_the_byte_also_in_another_process_and_folder(tmp_path: Path) -> None:
    results = example_results()
    submit(tmp_path / "one", *results)
    submit(tmp_path / "two", *reversed(results))
    files = generate_leaderboards(tmp_path / "one")
    code = (
        "from pathlib import Path; from nubench.leaderboard.generate import generate_leaderboards;"
        "generate_leaderboards(Path())"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path / "two")
    assert {path.suffix for path in files} == {".md", ".csv", ".tex", ".png", ".svg", ".html", ".css", ".js", ".json"}
    for path in files:
        twin = tmp_path / "two" / path.relative_to(tmp_path / "one")
        assert path.read_bytes() == twin.read_bytes(), path.name
    assert generate_leaderboards(tmp_path / "one") == files


def written(root: Path) -> set[str]:
    """Names of what is generated, the site left out."""
    files = {str(path.relative_to(root)) for path in generate_leaderboards(root)}
    return {file for file in files if not file.startswith("site/")}


@pytest.mark.usefixtures("no_pictures")
def test_the_layout_and_the_index(tmp_path: Path) -> None:
    submit(tmp_path, *example_results(), make_result(shift="crosstalk"))
    files = written(tmp_path)
    each = {"README.md", "table.csv", "table.tex"}
    # All made-up runs cost the same, which no chart need show.
    each |= {f"{chart}.{ending}" for chart in CHARTS if chart != "cost" for ending in ("png", "svg")}
    folders = ("lartpc/throws/smoke", "lartpc/crosstalk/smoke")
    assert files == {"README.md"} | {f"{folder}/{name}" for folder in folders for name in each}
    index = (tmp_path / "README.md").read_text()
    for folder in folders:
        assert f"({folder}/README.md)" in index
    assert "82.5 ± 0.0" in index


def test_pictures_are_of_their_format() -> None:
    (board,) = boards_of(example_results())
    for chart in charts_of(board):
        pictures = draw(chart, board.title)
        assert pictures.png.startswith(b"\x89PNG")
        assert ElementTree.fromstring(pictures.svg).tag.endswith("svg")


def test_nothing_submitted_is_said(tmp_path: Path) -> None:
    assert written(tmp_path) == {"README.md"}
    assert "No results have been submitted yet." in (tmp_path / "README.md").read_text()
    assert "No results have been submitted yet." in (tmp_path / "site" / "index.html").read_text()


def test_a_board_of_rows_that_are_not_ranked_can_be_shown() -> None:
    boards = boards_of([make_result(ranked=False)])
    assert "None yet." in markdown_page(boards[0])
    assert "(none ranked)" in index_page(boards)


def test_the_index_compares_methods_across_detectors() -> None:
    boards = boards_of([*example_results(), crosstalk_result("nominal"), crosstalk_result("nominal", "dann")])
    across = tables_of(index_page(boards))[-1]
    boards_shown = ["lartpc, throws", "scintillator, crosstalk"]
    assert [cell.strip() for cell in across[0]] == ["Method", "Mean rank", "Normalised score", *boards_shown]
    rows = {row[0].strip(): [cell.strip() for cell in row[1:]] for row in across[1:]}
    assert rows["supcon"] == ["1.00", "1.000", "82.5 ± 0.0", "80.0 (1 of 3 seeds)"]
    assert rows["dann"][:2] == ["", ""]
    assert "target-oracle" not in rows


@pytest.mark.usefixtures("no_pictures")
def test_boards_that_are_gone_are_removed_and_nothing_else(tmp_path: Path) -> None:
    submit(tmp_path, make_result())
    generate_leaderboards(tmp_path)
    old = tmp_path / "lartpc" / "throws" / "smoke"
    note = tmp_path / "lartpc" / "README.md"
    note.write_text("written by hand")
    submit(tmp_path, make_result(backbone="small"))
    generate_leaderboards(tmp_path)
    assert sorted(path.name for path in old.iterdir()) == ["small", "tiny"]
    for path in (tmp_path / "submissions").rglob("*.json"):
        path.unlink()
    generate_leaderboards(tmp_path)
    assert not old.exists()
    assert not list((tmp_path / "site" / "boards").rglob("*"))
    assert note.read_text() == "written by hand"


@pytest.mark.usefixtures("no_pictures")
def test_a_corrupt_submission_changes_nothing(tmp_path: Path) -> None:
    submit(tmp_path, make_result())
    before = {path: path.read_bytes() for path in generate_leaderboards(tmp_path)}
    (tmp_path / "submissions" / "bad.json").write_text("{")
    with pytest.raises(DataError, match=r"bad\.json"):
        generate_leaderboards(tmp_path)
    assert {path: path.read_bytes() for path in before} == before


def test_the_terminal_shows_a_table_for_each_board() -> None:
    console = Console(width=80, file=io.StringIO(), force_terminal=False)
    (narrow,) = terminal_tables(example_results())
    console.print(narrow)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "82.5 ± 0.0" in text
    assert "[probe]" in text
    assert "1 of 3" in text
    # Flat rows have no sign, as on the page.
    assert "-0.0" not in text
    assert "+0.0" not in text
    assert text.index("supcon") < text.index("classifier") < text.index("target-oracle")
    (wide,) = terminal_tables(example_results(), every_point=True)
    assert [str(column.header) for column in wide.columns][3:6] == ["nominal", "throw1", "throw2"]
    assert len(terminal_tables([make_result(), make_result(shift="crosstalk")])) == 2
    assert terminal_tables([]) == []


def test_more_methods_than_colours_can_be_drawn() -> None:
    results = [make_result(f"m{number:02d}", seed=seed) for number in range(12) for seed in range(2)]
    (board,) = boards_of(results)
    (fewer,) = boards_of(results[:20])
    assert draw(accuracy_chart(board)).png != draw(accuracy_chart(fewer)).png


def test_boards_and_tables_import_neither_pandas_nor_matplotlib() -> None:
    code = (
        "import sys; import nubench.results.files, nubench.leaderboard.generate, nubench.leaderboard.table;"
        "slow = {'pandas', 'matplotlib', 'seaborn', 'torch', 'sklearn', 'scipy'} & set(sys.modules);"
        "sys.exit(str(slow) if slow else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
