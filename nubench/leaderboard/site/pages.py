"""Every page of the site, from boards to bytes."""

from __future__ import annotations

import importlib.resources
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

import jinja2
from markupsafe import Markup

from nubench.foreign_text import printable
from nubench.leaderboard.boards import Board
from nubench.leaderboard.charts import Chart
from nubench.leaderboard.columns import Column
from nubench.leaderboard.site import contexts, methods, paths
from nubench.leaderboard.site.paths import relative
from nubench.leaderboard.site.submission import submission_context
from nubench.results.files import result_text
from nubench.results.schema import Result

# Scripts and pictures come from the site's own folder alone; nothing is fetched, framed, sent or evaluated. Styles set
# by scripts are allowed, since plotly.js writes them.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "base-uri 'none'; form-action 'none'"
)
_NAVIGATION: Final = (("Boards", paths.INDEX), ("Across detectors", paths.ACROSS), ("Methods", paths.METHODS))
_ASSETS: Final = ("site.css", "tables.css", "theme.js", "tables.js", "charts.js")


@dataclass(frozen=True)
class ShownBoard:
    """A board with what was drawn of it.

    Attributes:
        charts: those that ``files`` holds as pictures.
        files: by name, to be laid beside the board's page.
    """

    board: Board
    charts: tuple[Chart, ...]
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class ShownSources:
    """The chart of boards of one shift that were trained at different sources, with its pictures.

    Attributes:
        detector, shift: whose page it stands on.
        files: by name; they lie in the folder named after the shift, beside its page.
    """

    detector: str
    shift: str
    chart: Chart
    files: Mapping[str, bytes]


def site_files(
    shown: Sequence[ShownBoard], sources: Sequence[ShownSources] = (), further: Sequence[Column] = ()
) -> dict[PurePosixPath, bytes]:
    """Write the whole site; the same boards give the same bytes.

    Args:
        shown: every board, in their order.
        sources: charts over several boards.
        further: columns that plugins add.

    Returns:
        The files by their place in the site's folder.
    """
    from plotly.offline import get_plotlyjs

    boards = [one.board for one in shown]
    files: dict[PurePosixPath, bytes] = {
        PurePosixPath("assets", name): _asset(f"assets/{name}").encode() for name in _ASSETS
    }
    files[PurePosixPath("assets/plotly.min.js")] = get_plotlyjs().encode()
    render = _Renderer()
    files[paths.INDEX] = render.page("index", paths.INDEX, contexts.index_context(boards, paths.INDEX))
    files[paths.ACROSS] = render.page("across", paths.ACROSS, contexts.across_context(boards, paths.ACROSS))
    files[paths.METHODS] = render.page("methods", paths.METHODS, methods.methods_context(boards, paths.METHODS))
    for (detector, shift), together in _by_shift(boards).items():
        page = paths.shift_page(detector, shift)
        over_sources = [found for found in sources if (found.detector, found.shift) == (detector, shift)]
        charts = [shown_sources.chart for shown_sources in over_sources]
        files[page] = render.page("shift", page, contexts.shift_context(together, charts, page, further))
        for shown_sources in over_sources:
            files |= {page.with_suffix("") / name: content for name, content in shown_sources.files.items()}
    for one in shown:
        page = paths.board_page(one.board)
        files[page] = render.page("board", page, contexts.board_context(one.board, one.charts, page, further))
        files |= {page.parent / name: content for name, content in one.files.items()}
    for name in methods.method_names(boards):
        page = paths.method_page(name)
        files[page] = render.page("method", page, methods.method_context(name, boards, page))
    for result, board in _submissions(boards):
        page = paths.submission_page(result)
        files[page] = render.page("submission", page, submission_context(result, board, page))
        # The folder of the site may be copied away from that of the submissions.
        files[page.with_suffix(".json")] = result_text(result).encode()
    return files


class _Renderer:
    """The templates, with every text escaped and made one visible line."""

    def __init__(self) -> None:
        self._environment = jinja2.Environment(
            loader=jinja2.FunctionLoader(lambda name: _asset(f"templates/{name}")),
            autoescape=True,
            finalize=_visible,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )

    def page(self, template: str, page: PurePosixPath, context: Mapping[str, Any]) -> bytes:
        """Render one page."""
        return (
            self._environment.get_template(f"{template}.html.j2")
            .render(
                policy=_POLICY,
                navigation=_NAVIGATION,
                here=page,
                to=lambda target: relative(target, page),
                has_charts=bool(context.get("charts")),
                **context,
            )
            .encode()
        )


def _visible(value: Any) -> Any:
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _asset(name: str) -> str:
    return importlib.resources.files("nubench.leaderboard.site").joinpath(name).read_text(encoding="utf-8")


def _by_shift(boards: Sequence[Board]) -> Mapping[tuple[str, str], list[Board]]:
    together: dict[tuple[str, str], list[Board]] = defaultdict(list)
    for board in boards:
        together[board.example.dataset.detector, board.example.shift.name].append(board)
    return together


def _submissions(boards: Sequence[Board]) -> list[tuple[Result, Board]]:
    """Every result once, with the first board that it stands on."""
    found: dict[PurePosixPath, tuple[Result, Board]] = {}
    for board in boards:
        for row in board.rows:
            for result in row.results:
                found.setdefault(paths.submission_page(result), (result, board))
    return list(found.values())
