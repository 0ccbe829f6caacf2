"""Numbers that pages quote are those of the boards."""

from __future__ import annotations

from pathlib import Path

import pytest

from nubench.leaderboard.boards import Board, boards_of
from pages import PAGES, load_script, name_of
from result_factory import make_result

TABLES = load_script("write_result_tables")
COMMENT = "<!-- Numbers of lartpc/throws/smoke, written by scripts/write_result_tables.py. -->\n\n"


@pytest.fixture(scope="module")
def committed() -> dict[str, Board]:
    return dict(TABLES.boards_of_the_repository())


@pytest.fixture(scope="module")
def example() -> dict[str, Board]:
    falling = {"nominal": 0.9, "throw1": 0.8, "throw2": 0.6}
    results = [make_result("a", falling, seed) for seed in range(3)]
    (board,) = boards_of([*results, make_result("b", falling, backbone=None)])
    return {str(board.folder): board}


@pytest.mark.parametrize("page", [page for page in PAGES if page in TABLES.PAGES], ids=name_of)
def test_the_numbers_of_a_page_are_fresh(page: Path, committed: dict[str, Board]) -> None:
    text = page.read_text(encoding="utf-8")
    assert text == TABLES.refreshed(text, committed), "run: python scripts/write_result_tables.py"


def test_numbers_are_written_into_their_cells_and_all_else_stays(example: dict[str, Board]) -> None:
    page = f"""Before.

{COMMENT}| row | budget | nominal | mean of the throws | worst throw | throw1 | remark |
|---|---|---|---|---|---:|---|
| `a`, thrice | smoke | 1 | 2 | 3 | 4 | 5 of 6 |
| [`b`](b.md) | smoke | | | | | |
| `a`, `size=2` | smoke | 1 | 2 | 3 | 4 | 5 |
| `unknown` | smoke | 1 | 2 | 3 | 4 | 5 |

After | all.
"""
    expected = page.replace("| 1 | 2 | 3 | 4 | 5 of 6 |", "| 90.0 ± 0.0 | 70.0 ± 0.0 | 60.0 | 80.0 | 5 of 6 |").replace(
        "| | | | | |", "| 90.0 | 70.0 | 60.0 | 80.0 |  |"
    )
    assert TABLES.refreshed(page, example) == expected
    assert TABLES.refreshed(expected, example) == expected


def test_a_board_is_printed_as_the_terminal_shows_it(example: dict[str, Board]) -> None:
    page = f"{COMMENT.replace('Numbers', 'Board')}```text\nold\n```\n\n```text\nstays\n```\n"
    shown = TABLES.refreshed(page, example)
    assert "old" not in shown
    assert "stays" in shown
    assert "Table:  leaderboards/lartpc/throws/smoke/README.md" in shown
    assert all(line == line.rstrip() for line in shown.splitlines())


def test_what_cannot_be_filled_is_an_error(example: dict[str, Board]) -> None:
    table = "| row | nominal |\n|---|---|\n| `a` | 1 |\n"
    with pytest.raises(KeyError, match="lartpc/throws/paper"):
        TABLES.refreshed(COMMENT.replace("smoke", "paper") + table, example)
    for empty in (table.replace("`a`", "`z`"), table.replace("nominal", "remark")):
        with pytest.raises(ValueError, match="no number of the board lartpc/throws/smoke stands in the table"):
            TABLES.refreshed(COMMENT + empty, example)
