"""Write every leaderboard from the submitted result files, and from nothing else."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

from nubench.leaderboard.boards import boards_of
from nubench.leaderboard.figure import draw
from nubench.leaderboard.table import MARKER, csv_text, index_page, markdown_page
from nubench.results import load_results
from nubench.storage import write_atomically

SUBMISSIONS: Final = "submissions"
_PAGE: Final = "README.md"


def generate_leaderboards(root: Path) -> tuple[Path, ...]:
    """Write the page, table and figures of every board, and the index; remove those of boards that are gone.

    The same submissions give the same bytes, whatever was there before.

    Args:
        root: the folder of the leaderboards, with the result files in ``submissions``.

    Returns:
        The files written, sorted.

    Raises:
        DataError: when a submission cannot be read, or two are of the same experiment; nothing is written.
        NubenchError: when a file cannot be written.
    """
    submissions = root / SUBMISSIONS
    boards = boards_of(load_results(submissions) if submissions.exists() else [])
    contents: dict[Path, bytes] = {root / _PAGE: index_page(boards).encode()}
    for board in boards:
        folder = root / board.folder
        contents[folder / _PAGE] = markdown_page(board).encode()
        contents[folder / "table.csv"] = csv_text(board).encode()
        contents[folder / "figure.png"], contents[folder / "figure.svg"] = draw(board)
    for path, content in contents.items():
        write_atomically(path, content)
    _remove_old_boards(root, keep=set(contents))
    return tuple(sorted(contents))


def _remove_old_boards(root: Path, keep: set[Path]) -> None:
    for page in sorted(root.rglob(_PAGE)):
        folder = page.parent
        is_generated = page.read_text(encoding="utf-8", errors="replace").startswith(MARKER)
        if page in keep or not is_generated or root / SUBMISSIONS in page.parents:
            continue
        for name in ("table.csv", "figure.png", "figure.svg", _PAGE):
            (folder / name).unlink(missing_ok=True)
        with suppress(OSError):  # A folder that holds anything else stays.
            while folder != root:
                folder.rmdir()
                folder = folder.parent
