"""The content of a result file: everything one run measured, and everything needed to repeat it.

One file is one training with one seed, read at every point of one shift. The models check themselves: a
number that another number contradicts, a NaN or a field that nobody declared is refused, when a result is
made as well as when it is read.

Version 2 added what intervals need (which test events were judged right, one bit each), the digest of the predictions,
the strength of the points, what the run cost beyond the training, and whether it was sealed. Files of version 1 are
read as they are, and keep their number: the two never share a board.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC
from typing import Annotated, Any, Final, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, AwareDatetime, Field, FiniteFloat, model_validator

from nubench.results.bits import unpack
from nubench.results.fields import (
    Amount,
    Bits,
    Count,
    Digest,
    Fraction,
    Name,
    ReadoutName,
    Record,
    Settings,
    TargetAccess,
    Text,
    Version,
)
from nubench.results.scores import Readouts, Scores

SCHEMA_VERSION: Final = 2

#: Settings of a profile that do not tell its results apart: names, the number of seeds (told apart by row), and
#: the backbone (told apart by its preset).
NOT_COMPARED: Final = frozenset({"name", "title", "seeds", "backbone"})


class Method(Record):
    """Who was trained.

    Attributes:
        name: unique for every variant (``classifier``, ``classifier-augmented``).
        version: of the method; raise it when its numbers change.
        distribution: the installed package, or the file, that it came from, without a version.
        title: one line for people.
        target_access: what of the target it may see in training.
        config: every setting of the method, defaults included; not the seed.
        ranked_by: the read-out that its place on a leaderboard is taken from.
        ranked: false for rows that stand apart for orientation, such as an oracle.
    """

    name: Name
    version: Version
    distribution: Text
    title: Text
    target_access: TargetAccess
    config: Settings
    ranked_by: ReadoutName
    ranked: bool

    @model_validator(mode="after")
    def _an_oracle_is_never_ranked(self) -> Self:
        if self.ranked and self.target_access == "labelled":
            raise ValueError("a method with target_access 'labelled' cannot be ranked")
        return self


class Dataset(Record):
    """What it was trained and tested on.

    Attributes:
        classes: C names in the order of the labels.
        recipe: SHA-256 of all that decides the events: card, sizes, seeds, Geant4's data, versions of the simulation.
            Results with the same recipe are compared.
        checksums: SHA-256 of the events of every file used, by the file. Machines may round a last bit differently, so
            they tell whether two results used the very same events, not whether they may be compared.
        events: number of events by split.
    """

    name: Name
    version: Version
    detector: Name
    classes: Annotated[tuple[Text, ...], Field(min_length=2)]
    recipe: Digest
    checksums: dict[Text, Digest]
    events: dict[Name, Count]

    @model_validator(mode="after")
    def _classes_are_unique(self) -> Self:
        _refuse_repeats("classes", self.classes)
        return self


class Shift(Record):
    """The named axis that the detector was moved along.

    Attributes:
        points: every point, the source point first, in the order of tables.
        strength_unit: what the strengths of the points measure; None in version 1.
    """

    name: Name
    points: Annotated[tuple[Name, ...], Field(min_length=2)]
    strength_unit: Text | None = None

    @model_validator(mode="after")
    def _points_are_unique(self) -> Self:
        _refuse_repeats("points", self.points)
        return self

    @property
    def source(self) -> str:
        """The point that the method was trained on; all others are targets."""
        return self.points[0]


class Backbone(Record):
    """The shared network; ``embedding_size`` is D, ``parameters`` counts trainable numbers."""

    preset: Name
    parameters: Count
    embedding_size: Count


class Profile(Record):
    """The budget. ``settings`` holds only what makes results comparable, not threads or devices.

    Results of other settings stand on another leaderboard, except for :data:`NOT_COMPARED`.
    """

    name: Name
    settings: Settings


class PointResult(Record):
    """One shift point.

    Attributes:
        parameters: the detector parameters that define it, in the units of the data-set card.
        events: number of test events E.
        strength: how far from nominal, in the unit of the shift; None in version 1.
        present: which of the U test events have enough hits here, E of them; None in version 1.
    """

    point: Name
    parameters: dict[Text, FiniteFloat | Text]
    events: Annotated[int, Field(ge=1)]
    strength: FiniteFloat | None = None
    present: Bits | None = None
    readouts: Readouts

    @model_validator(mode="after")
    def _every_event_is_counted(self) -> Self:
        present = [scores for scores in (self.readouts.head, self.readouts.probe) if scores is not None]
        for scores in present:
            counted = sum(map(sum, scores.confusion))
            if counted != self.events:
                raise ValueError(f"point {self.point!r} has {self.events} events; its confusion counts {counted}")
        if len({tuple(map(sum, scores.confusion)) for scores in present}) > 1:
            raise ValueError(f"the read-outs of point {self.point!r} disagree on the events of each class")
        return self


class Validation(Record):
    """Accuracy on the source validation events, by read-out; None where there is no such read-out."""

    head: Fraction | None = None
    probe: Fraction | None = None


class Progress(Record):
    """Numbers seen during training, by name (``loss``); ``step`` counts the views until then, not optimiser steps."""

    step: Count
    values: dict[Text, FiniteFloat]


class Training(Record):
    """How long it was trained; ``history`` is thinned to what a plot needs."""

    steps: Count
    events_seen: Count
    seconds: Amount
    history: Annotated[tuple[Progress, ...], Field(max_length=1000)] = ()


class Cost(Record):
    """What the whole run took; memory is in MiB.

    Attributes:
        device_seconds: in training and inference on an accelerator, None without one.
        simulation_seconds: in building data for this run, and in simulating training events again; None in version 1.
        parameters: trained numbers, backbone included.
        flops_per_event: operations of the backbone for a mean event, forwards; None without one, and in version 1.
    """

    wall_seconds: Amount
    cpu_seconds: Amount
    device_seconds: Amount | None
    peak_memory_mb: Amount
    parameters: Count
    simulation_seconds: Amount | None = None
    flops_per_event: Amount | None = None


class Environment(Record):
    """Where it ran.

    Attributes:
        devices: shared each training.
        confined: whether the system kept a sealed plugin from the files of the cache; None where it was not sealed, and
            in files written before this was recorded.
        threads: that torch computed with on the processor: another number rounds otherwise, and a training ends in
            another network. None in files written before this was recorded.
        git_revision: None outside a git checkout.
    """

    python: Text
    platform: Text
    processor: Text
    cpu_count: Count
    device: Text
    devices: Annotated[int, Field(ge=1)] = 1
    confined: bool | None = None
    threads: Annotated[int, Field(ge=1)] | None = None
    packages: dict[Text, Text]
    git_revision: Text | None
    nubench: Text


class Result(Record):
    """One run: one method, one seed, every point of one shift.

    Attributes:
        backbone: None for a method that does not use the shared network.
        engine: the sparse convolution engine, None without a backbone.
        created: end of the run, UTC.
        sealed: whether the plugin ran in a process of its own that was given no label of the target or the test.
        predictions: SHA-256 of the file of predictions that the scores were computed from.
        test_events: number U of different test events over all points; event u is the u-th in the order of the ids.
    """

    schema_version: Literal[1, 2]
    method: Method
    dataset: Dataset
    shift: Shift
    backbone: Backbone | None
    engine: Name | None
    profile: Profile
    seed: Count
    points: tuple[PointResult, ...]
    validation: Validation
    training: Training
    cost: Cost
    environment: Environment
    created: Annotated[AwareDatetime, AfterValidator(lambda moment: moment.astimezone(UTC))]
    sealed: bool | None = None
    predictions: Digest | None = None
    test_events: Annotated[int, Field(ge=1, le=10**7)] | None = None

    @model_validator(mode="after")
    def _the_points_are_those_of_the_shift(self) -> Self:
        found = tuple(point.point for point in self.points)
        if found != self.shift.points:
            raise ValueError(f"points must be those of the shift, {list(self.shift.points)}; got {list(found)}")
        for point in self.points:
            if point.readouts.get(self.method.ranked_by) is None:
                raise ValueError(f"point {point.point!r} lacks the read-out {self.method.ranked_by!r} that ranks it")
            for scores in (point.readouts.head, point.readouts.probe):
                if scores is not None and len(scores.confusion) != len(self.dataset.classes):
                    raise ValueError(
                        f"point {point.point!r} scores {len(scores.confusion)} classes; "
                        f"the data set has {len(self.dataset.classes)}"
                    )
        return self

    @model_validator(mode="after")
    def _holds_what_its_version_has(self) -> Self:
        scores = [found for point in self.points for found in (point.readouts.head, point.readouts.probe) if found]
        added: dict[str, list[Any]] = {
            "sealed": [self.sealed],
            "predictions": [self.predictions],
            "test_events": [self.test_events],
            "strength_unit": [self.shift.strength_unit],
            "strength": [point.strength for point in self.points],
            "present": [point.present for point in self.points],
            "right": [found.right for found in scores],
            "simulation_seconds": [self.cost.simulation_seconds],
        }
        for name, values in added.items():
            expected = self.schema_version >= 2
            if any((value is not None) != expected for value in values):
                raise ValueError(f"{name} must {'stand' if expected else 'not stand'} in version {self.schema_version}")
        return self

    @model_validator(mode="after")
    def _the_bits_agree_with_the_counts(self) -> Self:
        if self.test_events is None:
            return self
        seen = np.zeros(self.test_events, dtype=bool)
        for point in self.points:
            present = _unpacked(f"present of point {point.point!r}", point.present, self.test_events)
            if np.count_nonzero(present) != point.events:
                raise ValueError(f"point {point.point!r} has {point.events} events; present marks {present.sum()}")
            seen |= present
            for name in ("head", "probe"):
                scores = getattr(point.readouts, name)
                if scores is None:
                    continue
                right = _unpacked(f"right of {name} at point {point.point!r}", scores.right, self.test_events)
                diagonal = sum(row[k] for k, row in enumerate(scores.confusion))
                if (right & ~present).any() or np.count_nonzero(right) != diagonal:
                    raise ValueError(
                        f"{name} at point {point.point!r} is right about {diagonal} events by its confusion matrix; "
                        f"right marks {right.sum()}, {np.count_nonzero(right & ~present)} of them not present"
                    )
        if not seen.all():
            raise ValueError(f"test_events is {self.test_events}, but only {seen.sum()} are present at any point")
        return self

    @property
    def target_points(self) -> tuple[PointResult, ...]:
        """Every point but the source."""
        return self.points[1:]

    def scores(self, point: PointResult) -> Scores:
        """Return the scores of the read-out that ranks the method."""
        scores = point.readouts.get(self.method.ranked_by)
        assert scores is not None, "checked when the result was made"
        return scores


def _refuse_repeats(name: str, values: tuple[str, ...]) -> None:
    repeated = sorted(value for value, times in Counter(values).items() if times > 1)
    if repeated:
        raise ValueError(f"{name} must be unique; {repeated} stand more than once")


def _unpacked(what: str, text: str | None, count: int) -> npt.NDArray[np.bool_]:
    try:
        return unpack(text or "", count)
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error
