"""Write the numbers of the boards into the pages that quote them.

    python scripts/write_result_tables.py

Numbers are written below a comment that names a board:

- into a table of Markdown, whose rows begin with a method's name as code and whose heads say what a column holds
  (:data:`COLUMNS`, and the names of the points). All other rows, columns and words are left as they stand;
- into a block of text, which becomes what ``nubench leaderboard`` prints of that board.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from rich.console import Console

from nubench.cli.leaderboards import print_tables
from nubench.leaderboard.boards import Board, Row, boards_of
from nubench.leaderboard.columns import in_per_cent, per_cent
from nubench.leaderboard.rows import Spread
from nubench.results.files import SUBMISSIONS, load_results

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
#: Wide enough for every point of the widest board that a page shows.
WIDTH = 160

_COMMENT = r"<!-- (?:Numbers|Board) of (?P<board>\S+), written by scripts/write_result_tables\.py\. -->\n+"
TABLE = re.compile(_COMMENT + r"(?P<body>(?:\|.*\|\n)+)")
BLOCK = re.compile(_COMMENT + r"```text\n(?P<body>.*?)```\n", re.DOTALL)
_NAME = re.compile(r"`([^`]+)`")


def refreshed(page: str, boards: Mapping[str, Board]) -> str:
    """Return a page with the numbers of the boards.

    Args:
        page: Markdown.
        boards: by their folder, as ``lartpc/throws/smoke``.

    Raises:
        KeyError: when a comment names a board that does not exist.
        ValueError: when a table below a comment quotes no row of that board.
    """
    page = TABLE.sub(lambda found: _replaced(found, table(found["body"], boards[found["board"]])), page)
    return BLOCK.sub(lambda found: _replaced(found, printed(boards[found["board"]])), page)


def table(text: str, board: Board) -> str:
    """Return a table of Markdown with the numbers of one board in it."""
    head, rule, *lines = [_cells(line) for line in text.splitlines()]
    rows = {row.label: row for row in board.rows}
    columns = {place: column for place, name in enumerate(head) if (column := column_of(name, board))}
    quoted = 0
    for line in lines:
        names = _NAME.findall(line[0])
        if len(names) == 1 and names[0] in rows:
            quoted += 1
            for place, column in columns.items():
                line[place] = column(rows[names[0]])
    if not (quoted and columns):
        raise ValueError(f"no number of the board {board.folder} stands in the table that begins with {head}")
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, *lines)).replace("\n", f"\n|{'|'.join(rule)}|\n", 1)


def column_of(head: str, board: Board) -> Callable[[Row], str] | None:
    """What a column of this head holds, or None where its cells are no numbers of a board."""
    source = board.example.shift.source
    columns = {
        source: lambda row: with_spread(row, row.at(source)),
        "worst": lambda row: in_per_cent(row.worst[0]),
        "no crosstalk": lambda row: in_per_cent(row.at("level-0.00").mean),
        "lost there": lambda row: in_per_cent(row.at(source).mean - row.at("level-0.00").mean),
        "source validation": lambda row: "" if row.validation is None else in_per_cent(row.validation),
        "core seconds": core_seconds,
    }
    if head in board.points and head != source:
        return lambda row: in_per_cent(row.at(head).mean)
    if head.startswith("mean of"):
        return lambda row: with_spread(row, row.mean)
    return columns.get("worst" if head.startswith("worst ") else head.partition(",")[0])


def with_spread(row: Row, value: Spread) -> str:
    """In per cent, with the spread over seeds of a row that trains a network."""
    return per_cent(value if row.first.backbone else Spread(value.mean, None))


def core_seconds(row: Row) -> str:
    """Processor time of a run: the shortest and the longest of its seeds."""
    found = sorted(round(result.cost.cpu_seconds or 0) for result in row.results)
    return f"{found[0]:,}" if found[0] == found[-1] else f"{found[0]:,} to {found[-1]:,}"


def printed(board: Board) -> str:
    """What ``nubench leaderboard`` prints of a board in a wide terminal."""
    written = io.StringIO()
    print_tables(Console(file=written, width=WIDTH), Path("leaderboards"), [board])
    return "".join(f"{line.rstrip()}\n" for line in written.getvalue().strip("\n").splitlines())


def boards_of_the_repository() -> dict[str, Board]:
    """Every board by its folder."""
    return {str(board.folder): board for board in boards_of(load_results(ROOT / "leaderboards" / SUBMISSIONS))}


def _replaced(found: re.Match[str], body: str) -> str:
    start, end = (place - found.start() for place in found.span("body"))
    return found[0][:start] + body + found[0][end:]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]


def main(pages: Iterable[Path] = PAGES) -> None:
    """Write every page whose numbers changed."""
    boards = boards_of_the_repository()
    for path in pages:
        page = path.read_text(encoding="utf-8")
        new = refreshed(page, boards)
        if new != page:
            path.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
