"""A damaged data set made whole again: every file is checked, broken ones are removed and made anew."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

from nubench.datasets.cards import SPLITS, Split
from nubench.datasets.dataset import HIDDEN_SPLITS, Dataset
from nubench.datasets.files import MANIFEST_FILE, labels_of, truth_of
from nubench.errors import DataError
from nubench.progress import Progress
from nubench.shifts import ShiftPoint

Outcome = Literal["ok", "rebuilt", "changed", "removed", "lost"]


@dataclass(frozen=True)
class Repair:
    """What became of one file.

    Attributes:
        file: its path in the data set.
        outcome: ``"ok"``, nothing was wrong; ``"rebuilt"``, it was broken and is what it was again; ``"changed"``, it
            was broken and holds other events now, since another version or machine made them; ``"removed"``, it was
            unfinished, or broken and is made again when it is needed; ``"lost"``, it cannot be made here.
        problem: what was wrong; None for ``"ok"``.
    """

    file: str
    outcome: Outcome
    problem: str | None = None


def repair(dataset: Dataset, progress: Progress) -> Iterator[Repair]:
    """Check every file of a data set, and make what is broken anew.

    A file of an imported data set that nothing here can make again is left as it is; no reader takes it.

    Args:
        dataset: which; its folder is there.
        progress: is told of the building.

    Yields:
        What became of each file: those that were unfinished, the whole ones, the broken ones.

    Raises:
        NubenchError: when the simulation fails, or the disk is full; what was repaired before stays.
    """
    with dataset.files.locked(progress):
        for file in dataset.files.remove_unfinished():
            yield Repair(file, "removed", "unfinished")
    try:
        before = dict(dataset.manifest().files)
        broken: dict[str, str] = {}
        for file, problem in dataset.verify():
            if problem is None:
                yield Repair(file, "ok")
            else:
                broken[file] = problem
    except DataError as error:
        # Without the book nothing can be trusted.
        if dataset.card.truth is None:
            yield Repair(MANIFEST_FILE, "lost", str(error))
            return
        yield Repair(MANIFEST_FILE, "rebuilt", str(error))
        before = {}
        broken = dict.fromkeys(dataset.files.on_disk(), f"{MANIFEST_FILE} does not say whether it is what was built")
        with dataset.files.locked(progress):
            dataset.files.start_anew()
    lost = {file for file in broken if not _can_be_made(dataset, file, broken)}
    with dataset.files.locked(progress):
        dataset.files.discard(file for file in broken if file not in lost)
    for file, problem in broken.items():
        outcome: Outcome = "lost" if file in lost else _make(dataset, file, progress)
        if outcome == "rebuilt" and file in before:
            outcome = "rebuilt" if dataset.manifest().files[file].content == before[file].content else "changed"
        yield Repair(file, outcome, problem)


def _can_be_made(dataset: Dataset, file: str, broken: Collection[str]) -> bool:
    if dataset.card.truth is not None:
        return True
    # Of an imported data set, what was simulated from imported deposits.
    place = _place_of(dataset, file)
    truth = truth_of(place[0]) if place else file
    return truth not in broken and truth in dataset.manifest().files


def _make(dataset: Dataset, file: str, progress: Progress) -> Outcome:
    """Make a file that was removed, if the card has it."""
    place = _place_of(dataset, file)
    if place is not None:
        split, shift, point = place
        dataset.build([split], shift, [point], progress, (point.name,))
        return "rebuilt"
    for split in SPLITS:
        if file == truth_of(split):
            dataset.build_truth(split, progress)
            return "rebuilt"
    return "removed"


def _place_of(dataset: Dataset, file: str) -> tuple[Split, str, ShiftPoint] | None:
    """Which events a file holds, or labels of which; None when the card has no such point."""
    card = dataset.card
    for split in SPLITS:
        for shift in card.shifts:
            for point in shift.all_points(card.nominal):
                events = dataset.file_of(split, shift.name, point.name)
                if file == events or (split in HIDDEN_SPLITS and file == labels_of(events)):
                    return split, shift.name, point
    return None
