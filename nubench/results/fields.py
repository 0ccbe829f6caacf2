"""The types of the fields of a result file: what a name, a digest, a fraction or a count may be."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, StringConstraints

# Names become parts of paths, so they hold nothing that a file system or a web page would interpret: lower
# case, digits, hyphens and single dots between them.
Name = Annotated[str, StringConstraints(pattern=r"\A[a-z0-9]+((\.|-+)[a-z0-9]+)*-*\z", max_length=64)]
Version = Annotated[str, StringConstraints(pattern=r"\A[0-9A-Za-z][0-9A-Za-z.+!-]*\z", max_length=64)]
Text = Annotated[str, StringConstraints(max_length=400)]
Digest = Annotated[str, StringConstraints(pattern=r"\A[0-9a-f]{64}\z")]
#: Truth values of the test events, see :mod:`nubench.results.bits`; a million events take 167 kB.
Bits = Annotated[str, StringConstraints(pattern=r"\A[0-9A-Za-z+/]*={0,2}\z", max_length=2_000_000)]
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


class Record(BaseModel):
    """A part of a result file: it cannot be changed, and holds no field that nobody declared."""

    model_config = ConfigDict(frozen=True, extra="forbid")
