"""Sum up what is built of a data set along a shift."""

from __future__ import annotations

from nubench.datasets.cards import Split
from nubench.datasets.dataset import Dataset
from nubench.display.dataset_page import DatasetPage, sorted_by_strength
from nubench.display.spectra import PointSummary, summarise
from nubench.errors import DataError
from nubench.evaluation.labels import load_labelled
from nubench.shifts import NOMINAL, Shift

_SPLIT: Split = "test"


def summarise_shift(dataset: Dataset, shift: Shift) -> tuple[DatasetPage | None, list[str]]:
    """Read the test events at the points that are built, one point at a time; nothing is built.

    Returns:
        The page, None where nominal or every other point is missing; and the names of the points that are not built.

    Raises:
        DataError: when a file is not the one that was built, or there is no event at nominal.
    """
    finished = dataset.manifest().files
    nominal = dataset.card.nominal
    summaries: list[PointSummary] = []
    missing: list[str] = []
    for point in shift.all_points(nominal):
        record = finished.get(dataset.file_of(_SPLIT, shift.name, point.name))
        if record is None:
            missing.append(point.name)
            continue
        moved = tuple(name for name, value in point.settings.items() if nominal.get(name) != value)
        events = load_labelled(dataset, _SPLIT, shift.name, point)
        summaries.append(summarise(events, point.name, point.strength, moved, record.dropped))
    if NOMINAL in missing or len(summaries) < 2:
        return None, missing
    if not all(summary.events for summary in summaries if summary.point == NOMINAL):
        raise DataError(f"data set {dataset.card.name!r} holds no {_SPLIT} event at nominal: there is nothing to plot")
    page = DatasetPage(
        title=f"data set {dataset.card.name}, profile {dataset.profile}, {_SPLIT} events",
        shift=shift.name,
        strength_unit=shift.strength_unit,
        feature=dataset.detector.feature,
        classes=dataset.card.class_names,
        points=sorted_by_strength(summaries),
    )
    return page, missing
