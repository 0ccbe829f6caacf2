"""The settings of the LArTPC: the nine of the front end that are thrown, the physics of the drift, and defects.

Nominal values of the front end are Table I of the benchmark's paper; the physics values are those of larnd-sim (see
``docs/physics.md``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Final

from nubench.errors import UsageError, unknown_name
from nubench.simulation.parameter_checks import check_number

RECOMBINATION_MODELS: Final = ("birks", "box")

_ABOVE_ZERO: Final = (
    "gain",
    "electron_lifetime",
    "birks_a",
    "birks_k",
    "box_alpha",
    "box_beta",
)
_NOT_NEGATIVE: Final = (
    "buffer_risetime",
    "reset_noise",
    "uncorrelated_noise",
    "discriminator_noise",
    "discriminator_threshold",
)
_BETWEEN: Final = {
    # The mobility is a fit that holds for drift fields; far from them its polynomial means nothing.
    "electric_field": (0.2, 10.0, "kV/cm"),
    # Well beyond what is measured: the tables of the induced charge grow with the square of the diffusion width.
    "transverse_diffusion": (0.0, 5e-5, "cm2/us"),
    "longitudinal_diffusion": (0.0, 5e-5, "cm2/us"),
    "dead_group": (1, 1024, "pixels"),
    "noise_hits": (0.0, 500.0, "an event"),
}


@dataclass(frozen=True)
class LArTPCParameters:
    """One working point of the detector; the defaults are the nominal one.

    Attributes:
        gain: uV of signal for each electron.
        buffer_risetime: time constant of the buffer's low pass, us.
        v_cm: lower end of the digitiser's range, mV.
        v_ref: upper end of the digitiser's range, mV; above ``v_cm``.
        v_pedestal: potential without charge, mV.
        reset_noise: width of the charge left by a reset, electrons.
        uncorrelated_noise: width of the noise on each reading of the charge, electrons.
        discriminator_noise: width of the noise on each comparison with the threshold, electrons.
        discriminator_threshold: electrons.
        electric_field: drift field, kV/cm.
        electron_lifetime: of drifting electrons against attachment, us.
        transverse_diffusion, longitudinal_diffusion: diffusion coefficients, cm2/us.
        recombination: ``"birks"`` or ``"box"``.
        birks_a: A_b of Birks' law, without unit.
        birks_k: k_b of Birks' law, (kV/cm)(g/cm2)/MeV.
        box_alpha: alpha of the box model, without unit.
        box_beta: beta of the box model, (kV/cm)(g/cm2)/MeV.
        adc_offset: what an offline calibration adds to the ADC count of every hit, see
            :func:`~nubench.simulation.lartpc.frontend.pedestal_counts`.
        dead_fraction: share of the pixels that are silent, from 0 to below 1; the same ones in every event.
        dead_group: side of the square of pixels that dies as one, a whole number.
        noise_hits: mean number of spurious hits in an event.

    Raises:
        UsageError: when a value is outside its range; the message names it and the range.
    """

    gain: float = 4.0
    buffer_risetime: float = 0.100
    v_cm: float = 288.0
    v_ref: float = 1300.0
    v_pedestal: float = 580.0
    reset_noise: float = 900.0
    uncorrelated_noise: float = 500.0
    discriminator_noise: float = 650.0
    discriminator_threshold: float = 7000.0
    electric_field: float = 0.5
    electron_lifetime: float = 2200.0
    transverse_diffusion: float = 8.8e-6
    longitudinal_diffusion: float = 4.0e-6
    recombination: str = "birks"
    birks_a: float = 0.800
    birks_k: float = 0.0486
    box_alpha: float = 0.93
    box_beta: float = 0.207
    adc_offset: float = 0.0
    dead_fraction: float = 0.0
    dead_group: float = 1.0
    noise_hits: float = 0.0

    def __post_init__(self) -> None:
        if self.recombination not in RECOMBINATION_MODELS:
            raise unknown_name("recombination model", str(self.recombination), RECOMBINATION_MODELS)
        for field in fields(self):
            if field.name != "recombination":
                check_number(field.name, getattr(self, field.name))
        for name in _ABOVE_ZERO:
            if getattr(self, name) <= 0.0:
                raise UsageError(f"{name} must be above 0; got {getattr(self, name)!r}")
        for name in _NOT_NEGATIVE:
            if getattr(self, name) < 0.0:
                raise UsageError(f"{name} must be 0 or above; got {getattr(self, name)!r}")
        for name, (lowest, highest, unit) in _BETWEEN.items():
            if not lowest <= getattr(self, name) <= highest:
                raise UsageError(f"{name} must be from {lowest:g} to {highest:g} {unit}; got {getattr(self, name)!r}")
        if self.v_ref <= self.v_cm:
            raise UsageError(f"v_ref must be above v_cm ({self.v_cm!r} mV); got {self.v_ref!r}")
        if not 0.0 <= self.dead_fraction < 1.0:
            raise UsageError(f"dead_fraction must be from 0 to below 1; got {self.dead_fraction!r}")
        if self.dead_group != int(self.dead_group):
            raise UsageError(f"dead_group must be a whole number; got {self.dead_group!r}")

    @classmethod
    def from_mapping(cls, values: Mapping[str, float | str]) -> LArTPCParameters:
        """Build the working point that differs from the nominal one by ``values``.

        Raises:
            UsageError: for a name that is no parameter (with its near misses) or a value out of range.

        Example:
            >>> LArTPCParameters.from_mapping({"v_pedestal": 600.0}).v_pedestal
            600.0
        """
        known = {field.name for field in fields(cls)}
        for name in values:
            if name not in known:
                raise unknown_name("LArTPC parameter", name, known)
        return cls(**dict(values))  # type: ignore[arg-type]  # the values are checked after construction

    def to_mapping(self) -> dict[str, float | str]:
        """Return every parameter by name; the inverse of :meth:`from_mapping`."""
        return asdict(self)
