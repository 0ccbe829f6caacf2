"""Where every page of the site lies, from names that the schema keeps free of anything a path would interpret."""

from __future__ import annotations

import posixpath
from pathlib import Path, PurePosixPath
from typing import Final

from nubench.leaderboard.boards import Board
from nubench.results.files import submission_path
from nubench.results.schema import Result

INDEX: Final = PurePosixPath("index.html")
ACROSS: Final = PurePosixPath("across.html")
METHODS: Final = PurePosixPath("methods.html")

#: Folders that hold one page for each thing that may go again, and the endings of what is written to them.
FOLDERS: Final = ("boards", "shifts", "methods", "submissions")
ENDINGS: Final = (".html", ".json", ".csv", ".tex", ".png", ".svg")


def board_folder(board: Board) -> PurePosixPath:
    """The folder of a board's page and files."""
    return PurePosixPath("boards") / board.folder


def board_page(board: Board) -> PurePosixPath:
    """The page of a board."""
    return board_folder(board) / "index.html"


def shift_page(detector: str, shift: str) -> PurePosixPath:
    """The page of a detector and a shift, with every board of the two."""
    return PurePosixPath("shifts", detector, f"{shift}.html")


def method_page(name: str) -> PurePosixPath:
    """The page of a method."""
    return PurePosixPath("methods", f"{name}.html")


def submission_page(result: Result) -> PurePosixPath:
    """The page of a submission; it lies as the result file lies below the leaderboards."""
    return PurePosixPath(submission_path(Path(), result).with_suffix(".html").as_posix())


def relative(target: PurePosixPath | str, page: PurePosixPath) -> str:
    """How a page names another file of the site.

    Example:
        >>> relative("assets/site.css", PurePosixPath("methods/supcon.html"))
        '../assets/site.css'
    """
    return posixpath.relpath(str(target), str(page.parent))
