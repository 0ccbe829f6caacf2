"""A shift is a named axis of shift points; a point is a set of detector parameters with a strength."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from nubench.errors import UsageError

NOMINAL = "nominal"

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$", max_length=64)]


class ShiftPoint(BaseModel):
    """One setting of the detector.

    Attributes:
        name: unique within the shift (``throw1``).
        strength: how far the point is from nominal, in the unit that the shift states.
        parameters: the detector parameters that differ from nominal; the others keep their nominal value.
        physics_list: hadronic physics that Geant4 simulates the truth with, where it is not the card's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: Name
    strength: float
    parameters: dict[str, float | str] = {}
    physics_list: str | None = None

    @property
    def settings(self) -> dict[str, float | str]:
        """All that defines the point: its parameters, and its physics list where it has one of its own."""
        return {**self.parameters, **({"physics_list": self.physics_list} if self.physics_list else {})}


class Shift(BaseModel):
    """A named axis of shift points; nominal is always the first, by definition.

    Attributes:
        name: unique within the data set (``throws``).
        title: one line for listings.
        strength_unit: what ``strength`` measures.
        seed: what drew the parameters, where they were drawn.
        nominal_strength: strength of the nominal point.
        sources: target points that one may train on as well, instead of nominal.
        points: the target points, nominal not among them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: Name
    title: str
    strength_unit: str
    seed: int | None = None
    nominal_strength: float = 0.0
    sources: tuple[Name, ...] = ()
    points: tuple[ShiftPoint, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_unique(self) -> Shift:
        names = [NOMINAL, *(point.name for point in self.points)]
        if len(set(names)) != len(names):
            raise ValueError(f"shift {self.name!r} has points of the same name, or one called {NOMINAL!r}: {names}")
        strangers = set(self.sources) - set(names)
        if strangers:
            raise ValueError(
                f"shift {self.name!r} has sources {sorted(strangers)} that are none of its points: {names}"
            )
        return self

    def all_points(self, nominal: dict[str, Any], source: str = NOMINAL) -> tuple[ShiftPoint, ...]:
        """Every point with the whole set of parameters written out: the source first, then nominal, then the others.

        Raises:
            UsageError: when one may not train at ``source``; the message says where one may.
        """
        accepted = (NOMINAL, *self.sources)
        if source not in accepted:
            raise UsageError(
                f"source {source!r} of shift {self.name!r} is not accepted: training events exist at "
                f"{', '.join(accepted)}"
            )
        points = (ShiftPoint(name=NOMINAL, strength=self.nominal_strength), *self.points)
        ordered = sorted(points, key=lambda point: point.name != source)
        return tuple(p.model_copy(update={"parameters": {**nominal, **p.parameters}}) for p in ordered)


@dataclass(frozen=True)
class ShiftAddition:
    """A shift that a plugin adds to a data set that exists, registered through ``register_shifts``.

    Attributes:
        dataset: name of the card.
        shift: of a name that the card does not have yet; its points move parameters in the card's ``[nominal]``.
    """

    dataset: str
    shift: Shift
