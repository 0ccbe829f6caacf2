"""Find an event in a data set or in a file, ready to be drawn."""

from __future__ import annotations

from pathlib import Path

from nubench.containers import LabelledEvents
from nubench.datasets.cards import Split
from nubench.datasets.dataset import FIRST_EVENT_ID, Dataset
from nubench.detectors import Detector
from nubench.display.views import EventView, Hits, Particle, Readout, find_hits, find_particle
from nubench.errors import UsageError
from nubench.evaluation.labels import load_labelled, load_labelled_file
from nubench.events.store import EventAttributes
from nubench.progress import Progress
from nubench.shifts import NOMINAL, Shift, ShiftPoint


def load_view(
    dataset: Dataset, split: Split, event_id: int, shift: Shift | None, point: ShiftPoint | None, progress: Progress
) -> EventView:
    """Take an event out of a data set, at nominal and at one point; what is not built is built.

    Args:
        dataset: where it is.
        split, event_id: which event.
        shift, point: beside which point, as :func:`nubench.display.selection.choose_point` gives them.
        progress: is told of the building.

    Raises:
        UsageError: when the event is in neither file.
        NubenchError: when the data cannot be built or read.
    """
    nominal = ShiftPoint(
        name=NOMINAL, strength=shift.nominal_strength if shift else 0.0, parameters=dict(dataset.card.nominal)
    )
    points = [nominal, point] if point is not None else [nominal]
    name = shift.name if shift is not None else NOMINAL
    dataset.build([split], name, points, progress, [known.name for known in points])
    hits: dict[str, Hits] = {}
    notes = [f"{p.name}: another truth of the same primary ({p.physics_list})" for p in points if p.physics_list]
    particle: Particle | None = None
    for known in points:
        events = load_labelled(dataset, split, name, known)
        found = find_hits(events, event_id)
        if found is None:
            notes.append(f"not at {known.name}: fewer than {dataset.card.minimum_hits} hits there")
            continue
        hits[known.name] = found
        particle = particle or find_particle(events, event_id, dataset.card.class_names)
    if particle is None:
        where = " and ".join(known.name for known in points)
        raise UsageError(
            f"event {event_id} is not among the {split} events of {dataset.card.name!r} at {where}: "
            f"{_missing(dataset, events, event_id)}"
        )
    origin = f"{dataset.card.name}, {split}" + (f", shift {name}" if point is not None else "")
    return EventView(origin, particle, readout_of(dataset.detector), hits, tuple(notes))


def view_from_file(path: Path, number: int, attributes: EventAttributes, detector: Detector) -> EventView:
    """Take an event out of a file of events.

    Args:
        path: the file.
        number: the id of the event; in a file of a data set also its number in the split, counted from 0.
        attributes: of the file.
        detector: the one that made it.

    Raises:
        UsageError: when the event is not in the file.
        DataError: when the file cannot be read.
    """
    events = load_labelled_file(path)
    first = {str(split): first for split, first in FIRST_EVENT_ID.items()}.get(
        attributes.provenance.get("split", ""), 0
    )
    for event_id in (number, first + number):
        hits = find_hits(events, event_id)
        particle = find_particle(events, event_id, attributes.classes)
        if hits is not None and particle is not None:
            readout = Readout.of(detector.name, detector.feature, attributes.voxel_size_cm)
            return EventView(path.name, particle, readout, {attributes.point: hits})
    raise UsageError(f"event {number} is not in {path}, which holds {_range(events)}")


def readout_of(detector: Detector) -> Readout:
    """Units and axes of a detector."""
    return Readout.of(detector.name, detector.feature, detector.voxel_size_cm)


def _missing(dataset: Dataset, events: LabelledEvents, event_id: int) -> str:
    if dataset.card.imported is not None:
        return f"there are {_range(events)}"
    return f"it has fewer than {dataset.card.minimum_hits} hits there; choose another"


def _range(events: LabelledEvents) -> str:
    ids = events.truth.event_id
    return f"{len(ids)} events with ids {ids.min()} to {ids.max()}" if len(ids) else "no events"
