"""A shift is a named axis of shift points; a point is a set of detector parameters with a strength."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

NOMINAL = "nominal"

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$", max_length=64)]


class ShiftPoint(BaseModel):
    """One setting of the detector.

    Attributes:
        name: unique within the shift (``throw1``).
        strength: how far the point is from nominal, in the unit that the shift states.
        parameters: the detector parameters that differ from nominal; the others keep their nominal value.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    strength: float
    parameters: dict[str, float | str]


class Shift(BaseModel):
    """A named axis of shift points; nominal is always the first, by definition.

    Attributes:
        name: unique within the data set (``throws``).
        title: one line for listings.
        strength_unit: what ``strength`` measures.
        seed: what drew the parameters, where they were drawn.
        points: the target points, nominal not among them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    title: str
    strength_unit: str
    seed: int | None = None
    points: tuple[ShiftPoint, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_unique(self) -> Shift:
        names = [NOMINAL, *(point.name for point in self.points)]
        if len(set(names)) != len(names):
            raise ValueError(f"shift {self.name!r} has points of the same name, or one called {NOMINAL!r}: {names}")
        return self

    def all_points(self, nominal: dict[str, Any]) -> tuple[ShiftPoint, ...]:
        """Nominal first, then the target points, each with the whole set of parameters written out."""
        points = (ShiftPoint(name=NOMINAL, strength=0.0, parameters={}), *self.points)
        return tuple(p.model_copy(update={"parameters": {**nominal, **p.parameters}}) for p in points)
