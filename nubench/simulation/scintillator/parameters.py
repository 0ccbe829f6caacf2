"""The settings of the scintillator: how much light there is, where it leaks, and what is recorded of it.

The sources of the nominal values are in the data-set card and in ``docs/physics-scintillator.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Final

from nubench.errors import UsageError, unknown_name
from nubench.simulation.parameter_checks import check_number

_FACES: Final = 6

_BETWEEN: Final = {
    "birks_k": (0.0, 1.0, "cm/MeV"),
    "threshold": (0.0, 1e6, "photoelectrons"),
    "crosstalk": (0.0, 1.0, "of the crosstalk hits"),
}
_MOST_LIGHT: Final = 1e3


@dataclass(frozen=True)
class ScintillatorParameters:
    """One working point of the detector; the defaults are the nominal one.

    Attributes:
        light_yield: photoelectrons a fibre sees for each MeV of quenched energy, all cubes together.
        birks_k: kB of Birks' law, cm/MeV.
        leakage: share of a cube's light that each of its six faces lets through to the neighbour.
        mppc_pixels: pixels of the photosensor at the end of a fibre, which limit what it counts; 0 for no limit.
        threshold: smallest sum over the fibres of a cube that is a hit, photoelectrons.
        crosstalk: share of the crosstalk hits that are kept; 1 keeps all, as a detector would.

    Raises:
        UsageError: when a value is outside its range; the message names it and the range.
    """

    light_yield: float = 28.0
    birks_k: float = 0.0126
    leakage: float = 0.03
    mppc_pixels: float = 2668.0
    threshold: float = 3.0
    crosstalk: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            check_number(field.name, getattr(self, field.name))
        for name, (lowest, highest, unit) in _BETWEEN.items():
            if not lowest <= getattr(self, name) <= highest:
                raise UsageError(f"{name} must be from {lowest:g} to {highest:g} {unit}; got {getattr(self, name)!r}")
        if not 0.0 < self.light_yield <= _MOST_LIGHT:
            raise UsageError(
                f"light_yield must be above 0 and at most {_MOST_LIGHT:g} photoelectrons a MeV and fibre; "
                f"got {self.light_yield!r}"
            )
        if not 0.0 <= self.leakage < 1.0 / _FACES:
            raise UsageError(f"leakage must be 0 or above and below 1/6 a face; got {self.leakage!r}")
        if not (self.mppc_pixels == 0.0 or self.mppc_pixels >= 1.0):
            raise UsageError(f"mppc_pixels must be 0 (no limit) or 1 and above; got {self.mppc_pixels!r}")

    @classmethod
    def from_mapping(cls, values: Mapping[str, float | str]) -> ScintillatorParameters:
        """Build the working point that differs from the nominal one by ``values``.

        Raises:
            UsageError: for a name that is no parameter (with its near misses) or a value out of range.

        Example:
            >>> ScintillatorParameters.from_mapping({"leakage": 0.05}).leakage
            0.05
        """
        known = {field.name for field in fields(cls)}
        for name in values:
            if name not in known:
                raise unknown_name("scintillator parameter", name, known)
        return cls(**dict(values))  # type: ignore[arg-type]  # the values are checked after construction

    def to_mapping(self) -> dict[str, float | str]:
        """Return every parameter by name; the inverse of :meth:`from_mapping`."""
        return asdict(self)
