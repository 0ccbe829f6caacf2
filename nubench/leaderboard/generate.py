"""Write every leaderboard from the submitted result files, and from nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from nubench.leaderboard.boards import Board, boards_of
from nubench.leaderboard.columns import Column
from nubench.leaderboard.figure import draw
from nubench.leaderboard.groups import groups_of_sources
from nubench.leaderboard.latex import latex_table
from nubench.leaderboard.markdown import MARKER, index_page, markdown_page
from nubench.leaderboard.plots import CHARTS, charts_of, sources_chart
from nubench.leaderboard.site import paths
from nubench.leaderboard.site.pages import ShownBoard, ShownSources, site_files
from nubench.leaderboard.table import csv_text
from nubench.results.files import SUBMISSIONS, load_results
from nubench.storage.files import make_folder, write_atomically
from nubench.storage.locking import locked

SITE: Final = "site"
SOURCES: Final = "sources"
_LOCK: Final = ".lock"
_PAGE: Final = "README.md"
#: Everything that a folder of a board may hold; nothing else is ever removed.
_GENERATED: Final = (
    *("table.csv", "table.tex"),
    *(f"{chart}.{ending}" for chart in CHARTS for ending in ("png", "svg")),
    _PAGE,
)


def generate_leaderboards(
    root: Path, columns: Iterable[Column] = (), say: Callable[[str], None] = lambda message: None
) -> tuple[Path, ...]:
    """Write the page, tables and charts of every board, the index and the site; remove what is of boards that are gone.

    The same submissions give the same bytes, whatever was there before. One process at a time does so: of jobs that end
    together each would write tables without the others' results.

    Args:
        root: the folder of the leaderboards, with the result files in ``submissions``.
        columns: what plugins add to the tables.
        say: is told when another process is at it and is waited for.

    Returns:
        The files written, sorted; those of the site lie in ``site``.

    Raises:
        DataError: when a submission cannot be read, or two are of the same experiment; nothing is written.
        PluginError: when a column fails; nothing is written.
        NubenchError: when a file cannot be written.
    """
    make_folder(root)
    with locked(root / _LOCK, say, f"nubench: another process is writing the tables of {root}; waiting for it."):
        return _generate(root, tuple(columns))


def _generate(root: Path, columns: tuple[Column, ...]) -> tuple[Path, ...]:
    submissions = root / SUBMISSIONS
    boards = boards_of(load_results(submissions) if submissions.exists() else [])
    sources = _shown_sources(boards)
    charts = {f"{SOURCES}/{one.detector}-{one.shift}-{one.chart.name}": one.chart for one in sources}
    contents: dict[Path, bytes] = {root / _PAGE: index_page(boards, charts).encode()}
    for one in sources:
        contents |= {root / SOURCES / f"{one.detector}-{one.shift}-{name}": file for name, file in one.files.items()}
    shown = [_shown(board, columns) for board in boards]
    for here in shown:
        page = markdown_page(here.board, here.charts, columns).encode()
        contents |= {root / here.board.folder / name: file for name, file in {_PAGE: page, **here.files}.items()}
    site = site_files(shown, sources, columns)
    contents |= {root / SITE / path: content for path, content in site.items()}
    for path, content in contents.items():
        write_atomically(path, content)
    _remove_old_boards(root, keep=set(contents))
    _remove_old_pages(root / SITE, keep=set(contents))
    for file in (root / SOURCES).glob("*-sources-*"):
        if file not in contents and file.is_file():
            file.unlink()
    return tuple(sorted(contents))


def _shown(board: Board, columns: Iterable[Column]) -> ShownBoard:
    files = {"table.csv": csv_text(board).encode(), "table.tex": latex_table(board, columns).encode()}
    charts = charts_of(board)
    for chart in charts:
        files[f"{chart.name}.png"], files[f"{chart.name}.svg"] = draw(chart, board.title)
    return ShownBoard(board, charts, files)


def _shown_sources(boards: Iterable[Board]) -> list[ShownSources]:
    """The charts of boards that differ in the source alone, where there is more than one."""
    found = []
    for number, together in enumerate(group for group in groups_of_sources(boards) if len(group) > 1):
        chart = sources_chart(together, number)
        if chart is not None:
            shared = together[0].example
            png, svg = draw(chart)
            files = {f"{chart.name}.png": png, f"{chart.name}.svg": svg}
            found.append(ShownSources(shared.dataset.detector, shared.shift.name, chart, files))
    return found


def _remove_old_boards(root: Path, keep: set[Path]) -> None:
    """Remove what an earlier call wrote and this one did not: whatever stands beside a page that is marked."""
    for page in sorted(root.rglob(_PAGE)):
        folder = page.parent
        is_generated = page.read_text(encoding="utf-8", errors="replace").startswith(MARKER)
        if not is_generated or folder == root or {root / SUBMISSIONS, root / SITE} & set(page.parents):
            continue
        for file in (folder / name for name in _GENERATED):
            if file not in keep:
                file.unlink(missing_ok=True)
        with suppress(OSError):  # A folder that holds anything else stays.
            while folder != root:
                folder.rmdir()
                folder = folder.parent


def _remove_old_pages(site: Path, keep: set[Path]) -> None:
    """Remove the pages and files of boards, methods and submissions that are gone."""
    for folder in paths.FOLDERS:
        for path in sorted((site / folder).rglob("*"), reverse=True):
            if path.is_dir():
                with suppress(OSError):  # A folder that holds anything stays.
                    path.rmdir()
            elif path not in keep and path.suffix in paths.ENDINGS:
                path.unlink()
