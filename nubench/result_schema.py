"""The content of a result file: everything one run measured, and everything needed to repeat it.

One file is one training with one seed, read at every point of one shift. The models check themselves: a
number that another number contradicts, a NaN or a field that nobody declared is refused, when a result is
made as well as when it is read.
"""

from __future__ import annotations

import math
from datetime import UTC
from typing import Annotated, Any, Final, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    JsonValue,
    StringConstraints,
    model_validator,
)

from nubench.containers import Int64
from nubench.evaluation import metrics

SCHEMA_VERSION: Final = 1

#: Settings of a profile that do not tell its results apart: names, the number of seeds (told apart by row), and
#: the backbone (told apart by its preset).
NOT_COMPARED: Final = frozenset({"name", "title", "seeds", "backbone"})

#: How far a stored number may be from the same number computed from its confusion matrix.
TOLERANCE: Final = 1e-9

# Names become parts of paths, so they hold nothing that a file system or a web page would interpret: lower
# case, digits, hyphens and single dots between them.
Name = Annotated[str, StringConstraints(pattern=r"\A[a-z0-9]+((\.|-+)[a-z0-9]+)*-*\z", max_length=64)]
Version = Annotated[str, StringConstraints(pattern=r"\A[0-9A-Za-z][0-9A-Za-z.+!-]*\z", max_length=64)]
Text = Annotated[str, StringConstraints(max_length=400)]
Digest = Annotated[str, StringConstraints(pattern=r"\A[0-9a-f]{64}\z")]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
# JSON readers of other languages hold whole numbers in double precision.
Count = Annotated[int, Field(ge=0, le=2**53)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
ReadoutName = Literal["head", "probe"]
TargetAccess = Literal["none", "unlabelled", "labelled"]


def _all_finite(value: JsonValue) -> JsonValue:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"settings must be finite; got {value}")
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _all_finite(inner)
    return value


Settings = dict[str, Annotated[JsonValue, AfterValidator(_all_finite)]]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Method(_Record):
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


class Dataset(_Record):
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


class Shift(_Record):
    """The named axis that the detector was moved along.

    Attributes:
        points: every point, the source point first, in the order of tables.
    """

    name: Name
    points: Annotated[tuple[Name, ...], Field(min_length=2)]

    @model_validator(mode="after")
    def _points_are_unique(self) -> Self:
        _refuse_repeats("points", self.points)
        return self

    @property
    def source(self) -> str:
        """The point that the method was trained on; all others are targets."""
        return self.points[0]


class Backbone(_Record):
    """The shared network; ``embedding_size`` is D, ``parameters`` counts trainable numbers."""

    preset: Name
    parameters: Count
    embedding_size: Count


class Profile(_Record):
    """The budget. ``settings`` holds only what makes results comparable, not threads or devices.

    Results of other settings stand on another leaderboard, except for :data:`NOT_COMPARED`.
    """

    name: Name
    settings: Settings


class Scores(_Record):
    """Metrics of one read-out at one shift point; see :mod:`nubench.evaluation.metrics`.

    Attributes:
        efficiency: (C,) fractions, None for a class without events.
        purity: (C,) fractions, None for a class that was never predicted.
        confusion: (C, C) counts, rows true.
        nll: mean negative log-likelihood, nats.
    """

    accuracy: Fraction
    balanced_accuracy: Fraction
    efficiency: tuple[Fraction | None, ...]
    purity: tuple[Fraction | None, ...]
    confusion: tuple[tuple[Count, ...], ...]
    nll: Amount
    calibration_error: Fraction

    @classmethod
    def measure(cls, labels: Int64, log_probabilities: npt.NDArray[np.floating]) -> Self:
        """Compute every metric.

        Args:
            labels: (E,) true classes.
            log_probabilities: (E, C) natural logarithms, normalised.

        Raises:
            ValueError: see :func:`nubench.evaluation.metrics.check_predictions`.

        Example:
            >>> Scores.measure(np.array([0, 1]), np.log([[0.9, 0.1], [0.6, 0.4]])).accuracy
            0.5
        """
        return cls(
            **_from_confusion(metrics.confusion_matrix(labels, log_probabilities)),
            nll=metrics.negative_log_likelihood(labels, log_probabilities),
            calibration_error=metrics.calibration_error(labels, log_probabilities),
        )

    @model_validator(mode="after")
    def _agrees_with_its_confusion_matrix(self) -> Self:
        size = len(self.confusion)
        if size < 2 or any(len(row) != size for row in self.confusion):
            raise ValueError("confusion must be square with at least 2 classes")
        if not any(map(sum, self.confusion)):
            raise ValueError("confusion must count at least one event")
        for name, value in _from_confusion(np.array(self.confusion, dtype=np.int64)).items():
            if name != "confusion" and not _agree(value, getattr(self, name)):
                raise ValueError(f"{name} {getattr(self, name)} contradicts the confusion matrix, which gives {value}")
        return self


class Readouts(_Record):
    """The scores of each read-out; None for one that the method does not have."""

    head: Scores | None = None
    probe: Scores | None = None

    def get(self, name: ReadoutName) -> Scores | None:
        """Return the scores of a read-out by its name."""
        return self.head if name == "head" else self.probe


class PointResult(_Record):
    """One shift point.

    Attributes:
        parameters: the detector parameters that define it, in the units of the data-set card.
        events: number of test events E.
    """

    point: Name
    parameters: dict[Text, FiniteFloat | Text]
    events: Annotated[int, Field(ge=1)]
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


class Validation(_Record):
    """Accuracy on the source validation events, by read-out; None where there is no such read-out."""

    head: Fraction | None = None
    probe: Fraction | None = None


class Progress(_Record):
    """Numbers seen during training at one step, by name (``loss``, ``validation_accuracy``)."""

    step: Count
    values: dict[Text, FiniteFloat]


class Training(_Record):
    """How long it was trained; ``history`` is thinned to what a plot needs."""

    steps: Count
    events_seen: Count
    seconds: Amount
    history: Annotated[tuple[Progress, ...], Field(max_length=1000)] = ()


class Cost(_Record):
    """What the whole run took; ``device_seconds`` is None without an accelerator, memory is in MiB."""

    wall_seconds: Amount
    cpu_seconds: Amount
    device_seconds: Amount | None
    peak_memory_mb: Amount
    parameters: Count


class Environment(_Record):
    """Where it ran. ``git_revision`` is None outside a git checkout."""

    python: Text
    platform: Text
    processor: Text
    cpu_count: Count
    device: Text
    packages: dict[Text, Text]
    git_revision: Text | None
    nubench: Text


class Result(_Record):
    """One run: one method, one seed, every point of one shift.

    Attributes:
        backbone: None for a method that does not use the shared network.
        engine: the sparse convolution engine, None without a backbone.
        created: end of the run, UTC.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
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
    repeated = sorted({value for value in values if values.count(value) > 1})
    if repeated:
        raise ValueError(f"{name} must be unique; {repeated} stand more than once")


def _from_confusion(confusion: Int64) -> dict[str, Any]:
    return {
        "accuracy": metrics.accuracy(confusion),
        "balanced_accuracy": metrics.balanced_accuracy(confusion),
        "efficiency": _defined(metrics.efficiency(confusion)),
        "purity": _defined(metrics.purity(confusion)),
        "confusion": tuple(map(tuple, confusion.tolist())),
    }


def _defined(values: npt.NDArray[np.float64]) -> tuple[float | None, ...]:
    return tuple(None if math.isnan(value) else value for value in values.tolist())


def _agree(expected: Any, found: Any) -> bool:
    if isinstance(expected, tuple):
        return len(expected) == len(found) and all(map(_agree, expected, found))
    if expected is None or found is None:
        return expected is found
    return bool(abs(expected - found) <= TOLERANCE)
