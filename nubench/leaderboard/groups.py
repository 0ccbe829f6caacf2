"""Boards that belong together: those of one shift trained at different sources, and those of one budget."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from nubench.leaderboard.boards import Board
from nubench.results.files import canonical, compared_settings, experiment, shift_folder
from nubench.results.schema import SCHEMA_VERSION


@dataclass(frozen=True)
class AcrossGroup:
    """Boards that methods may be compared over: of one profile with its settings, backbone and schema.

    Attributes:
        title: one line that names it.
        boards: one for each detector and shift (with its source), in the order of their folders.
        left_out: boards of older versions of a data set, or of conditions that fewer rows share.
    """

    title: str
    boards: tuple[Board, ...]
    left_out: tuple[Board, ...]

    @property
    def detectors(self) -> tuple[str, ...]:
        """Names of the detectors, sorted."""
        return tuple(sorted({board.example.dataset.detector for board in self.boards}))


def groups_across(boards: Iterable[Board]) -> tuple[AcrossGroup, ...]:
    """Sort boards into groups that may be compared across detectors; those of most detectors first.

    Where several boards of a group are of one detector and shift, the newest version of the data set counts, and of one
    version the board of most rows.
    """
    together: dict[str, list[Board]] = defaultdict(list)
    for board in boards:
        shared = board.example
        budget = canonical([shared.profile.name, compared_settings(shared.profile), board.backbone])
        together[f"{shared.schema_version} {budget}"].append(board)
    groups = [_group(found) for _, found in sorted(together.items())]
    return tuple(sorted(groups, key=lambda group: (-len(group.detectors), -len(group.boards), group.title)))


def groups_of_sources(boards: Iterable[Board]) -> tuple[tuple[Board, ...], ...]:
    """Sort boards into groups that differ in the source alone, by the strength of the source."""
    together: dict[str, list[Board]] = defaultdict(list)
    for board in boards:
        together[canonical([_all_but_source(board), board.backbone])].append(board)
    return tuple(
        tuple(sorted(found, key=lambda board: (board.example.points[0].strength or 0.0, board.folder)))
        for _, found in sorted(together.items())
    )


def _group(boards: list[Board]) -> AcrossGroup:
    chosen: dict[tuple[str, str], Board] = {}
    for board in sorted(boards, key=lambda board: (_version(board), len(board.rows), board.folder)):
        chosen[board.example.dataset.detector, shift_folder(board.example)] = board
    shared = boards[0].example
    schema = "" if shared.schema_version == SCHEMA_VERSION else f", schema version {shared.schema_version}"
    kept = sorted(chosen.values(), key=lambda board: board.folder)
    return AcrossGroup(
        f"{shared.profile.name}, backbone {boards[0].backbone}{schema}",
        tuple(kept),
        tuple(board for board in boards if board not in kept),
    )


def _version(board: Board) -> list[tuple[int, str]]:
    """Versions in the order that people mean: 2 before 10."""
    parts = board.example.dataset.version.replace("-", ".").split(".")
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _all_but_source(board: Board) -> dict[str, Any]:
    shared = experiment(board.example)
    shift, points = shared["shift"]
    del shared["method"], shared["backbone"], shared["seed"]
    return shared | {"shift": [shift, sorted(map(canonical, points))], "schema": board.example.schema_version}
