"""Fit the front end of the LArTPC to events without labels: a method of simulated moments (McFadden 1989).

The parameters p, in widths of their prior from nominal, minimise::

    (m_target - m(p))^T C^-1 (m_target - m(p)) + p^T p

    m(p) = m_source + m_simulated(p) - m_simulated(0)

The moments m are those of :mod:`nubench.simulation.lartpc.moments`. m_source is of all source events; m_simulated of
some of them, simulated again with the same noise whatever p, so that what is peculiar to the chosen few cancels. C is
the covariance of all three, from a bootstrap over events. The second term is the prior, Table I: what the target
does not show stays near nominal.

It holds where the truth of the target is distributed as that of the source, and the source is at nominal.

What cannot be known: an ADC count is slope * charge + offset, and gain, pedestal, v_cm and v_ref make no more than
these two numbers. By convention v_cm and v_ref stay nominal; the gain and the pedestal that are fitted are the
effective ones (:func:`nubench.simulation.lartpc.scale.effective`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from pydantic import BaseModel, ConfigDict

from nubench.containers import Events, Float64, Int64
from nubench.errors import DataError
from nubench.progress import Progress, SilentProgress, Task
from nubench.simulation.lartpc.frontend import ADC_COUNTS
from nubench.simulation.lartpc.moments import LEVELS, RESOLUTION, Tally, covariance
from nubench.simulation.lartpc.parameters import LArTPCParameters
from nubench.simulation.lartpc.scale import Scale, scale_of, with_scale
from nubench.simulation.lartpc.throws import TABLE_I
from nubench.simulation.resimulation import Resimulator

MINIMUM_EVENTS: Final = 50
"""Fewer target or source events give no usable covariance of the moments."""

_CENTRAL: Final = (LEVELS >= 0.2) & (LEVELS <= 0.95)
_SOURCE_EVENTS: Final = 20_000
_MAX_WIDTHS: Final = 6.0
_MAX_STEPS: Final = 6
_SMALL_STEP: Final = 0.2


@dataclass(frozen=True)
class FreeParameter:
    """A parameter to be fitted.

    Attributes:
        name: a field of :class:`LArTPCParameters`.
        width: standard deviation of the prior, relative to the nominal value.
        step: of the numerical derivative, in widths.
    """

    name: str
    width: float
    step: float = 1.0


def _width_of_effective_gain() -> float:
    """The relative spread of gain / (v_ref - v_cm) that Table I means."""
    nominal = LArTPCParameters()
    potentials = np.hypot(TABLE_I["v_ref"] * nominal.v_ref, TABLE_I["v_cm"] * nominal.v_cm)
    return float(np.hypot(TABLE_I["gain"], potentials / (nominal.v_ref - nominal.v_cm)))


def _one_count_of_pedestal() -> float:
    """One ADC count, in widths of the pedestal."""
    nominal = LArTPCParameters()
    counts_per_width = TABLE_I["v_pedestal"] * nominal.v_pedestal * ADC_COUNTS / (nominal.v_ref - nominal.v_cm)
    return 1.0 / counts_per_width


FRONT_END: Final = (
    FreeParameter("gain", _width_of_effective_gain()),
    # A step of one count: a whole one leaves the rounding of all counts as it is.
    FreeParameter("v_pedestal", TABLE_I["v_pedestal"], step=_one_count_of_pedestal()),
    FreeParameter("discriminator_threshold", TABLE_I["discriminator_threshold"]),
    FreeParameter("discriminator_noise", TABLE_I["discriminator_noise"]),
    FreeParameter("uncorrelated_noise", TABLE_I["uncorrelated_noise"]),
    FreeParameter("reset_noise", TABLE_I["reset_noise"]),
    FreeParameter("buffer_risetime", TABLE_I["buffer_risetime"]),
)
"""All that Table I throws, v_cm and v_ref absorbed in gain and pedestal."""


class FittedParameter(BaseModel):
    """A fitted value with its error; ``width`` is the prior's standard deviation, in the unit of the parameter."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    nominal: float
    width: float
    value: float
    error: float

    @property
    def from_prior(self) -> bool:
        """Whether the prior says more about it than the target events do."""
        return self.error > self.width / 2**0.5


class FittedDetector(BaseModel):
    """The result of :func:`fit_detector`; it goes to JSON and back without loss.

    Attributes:
        parameters: the free ones. All others are nominal: by convention, or because nothing was asked of them.
        closed_form: slope and offset from quantiles alone, before anything was simulated.
        closed_form_errors: theirs, as long as nothing but the scale differs.
        chi_squared: what was minimised, at the minimum; where it is far above ``moments``, no detector of this kind
            explains the target.
        moments: their number.
        simulations: how often the chosen events were simulated.
        converged: whether the last step was small against the errors.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    parameters: tuple[FittedParameter, ...]
    closed_form: Scale
    closed_form_errors: Scale
    chi_squared: float
    moments: int
    simulations: int
    converged: bool

    def detector(self, nominal: LArTPCParameters) -> LArTPCParameters:
        """Put the fitted values into the nominal working point."""
        return _changed(nominal, {parameter.name: parameter.value for parameter in self.parameters})


def fit_detector(
    target: Events,
    source: Events,
    resimulator: Resimulator[Any, LArTPCParameters, Events],
    nominal: LArTPCParameters,
    *,
    free: Sequence[FreeParameter] = FRONT_END,
    events: int = 400,
    seed: int = 0,
    progress: Progress | None = None,
) -> FittedDetector:
    """Fit a detector to target events, see the top of this file.

    The start is the closed form of the scale. Derivatives are taken there once, since the moments are close to linear;
    from there Gauss-Newton steps, until one is small or six are done. The best point counts.

    Args:
        target: unlabelled events.
        source: E events at the nominal point.
        resimulator: of the same E events.
        nominal: the working point of ``source``, the mean of the prior.
        free: what to fit.
        events: how many of ``source`` are simulated each time, or all when there are fewer.
        seed: of the choice of events, of their noise and of the bootstrap.
        progress: where to show the simulations done.

    Raises:
        DataError: when there are fewer than 50 events on either side.
    """
    for name, found in (("target", target), ("source", source)):
        if len(found) < MINIMUM_EVENTS:
            raise DataError(f"a fit of the detector needs at least {MINIMUM_EVENTS} {name} events; got {len(found)}")
    rng = np.random.default_rng([seed, 1])
    order = rng.permutation(len(source))
    of_target, of_source = Tally.of(target), Tally.of(source.select(np.sort(order[:_SOURCE_EVENTS])))
    spread = covariance(rng, of_target) + covariance(rng, of_source)
    scale, scale_errors = closed_form(of_target.moments(), of_source.moments(), spread, scale_of(nominal))

    total = 2 + 2 * len(free) + _MAX_STEPS
    with (progress or SilentProgress()).task("fitting the detector", total, "simulations") as task:
        simulate = _Simulation(resimulator, np.sort(order[:events]), nominal, free, seed, task)
        start = simulate.pulls_of(with_scale(nominal, scale))
        at_nominal, at_start = simulate(np.zeros(len(free))), simulate(start)
        spread += covariance(rng, at_start, at_nominal) + np.diag(RESOLUTION**2)
        wanted = of_target.moments() - of_source.moments() + at_nominal.moments()
        slopes = simulate.derivatives(start)
        weighted = np.linalg.solve(spread, slopes).T
        posterior = np.linalg.inv(weighted @ slopes + np.eye(len(free)))
        errors = np.sqrt(np.diag(posterior))

        pulls, residual = start, wanted - at_start.moments()
        best, lowest, converged = pulls, np.inf, False
        for _ in range(_MAX_STEPS):
            move = posterior @ (weighted @ residual - pulls)
            pulls = np.clip(pulls + move, -_MAX_WIDTHS, _MAX_WIDTHS)
            residual = wanted - simulate(pulls).moments()
            chi_squared = float(residual @ np.linalg.solve(spread, residual) + pulls @ pulls)
            if chi_squared < lowest:
                best, lowest = pulls, chi_squared
            if converged := bool(np.all(np.abs(move) < _SMALL_STEP * errors)):
                break
    return FittedDetector(
        parameters=tuple(
            FittedParameter(
                name=parameter.name, nominal=middle, width=width, value=middle + width * pull, error=width * error
            )
            for parameter, middle, width, pull, error in zip(
                free, simulate.middle, simulate.widths, best, errors, strict=True
            )
        ),
        closed_form=scale,
        closed_form_errors=scale_errors,
        chi_squared=lowest,
        moments=len(wanted),
        simulations=simulate.done,
        converged=converged,
    )


def closed_form(target: Float64, source: Float64, spread: Float64, nominal: Scale) -> tuple[Scale, Scale]:
    """Slope and offset from a straight line through the central quantiles of target against source.

    Exact where nothing but the scale differs; a threshold that moves shifts all quantiles a little.

    Args:
        target, source: (M,) moments.
        spread: (M, M) covariance of their difference.
        nominal: the source's scale.

    Returns:
        The target's scale, and its standard errors.
    """
    central = np.flatnonzero(_CENTRAL)
    # The charge, in electrons, at each of the source's quantiles.
    charge = (source[central] - nominal.offset) / nominal.slope
    projection = np.linalg.pinv(np.column_stack([charge, np.ones(len(central))]))
    variances = np.diag(projection @ spread[np.ix_(central, central)] @ projection.T)
    return Scale(*(projection @ target[central]).tolist()), Scale(*np.sqrt(variances).tolist())


class _Simulation:
    """From pulls, in widths of the prior from nominal, to the response of the chosen events."""

    def __init__(
        self,
        resimulator: Resimulator[Any, LArTPCParameters, Events],
        chosen: Int64,
        nominal: LArTPCParameters,
        free: Sequence[FreeParameter],
        seed: int,
        task: Task,
    ) -> None:
        self._resimulator, self._chosen, self._nominal, self._free = resimulator, chosen, nominal, free
        self._seed, self._task = seed, task
        self.done = 0
        self.middle = np.array([getattr(nominal, parameter.name) for parameter in free])
        self.widths = self.middle * [parameter.width for parameter in free]

    def __call__(self, pulls: Float64) -> Tally:
        values = (self.middle + self.widths * pulls).tolist()
        point = _changed(self._nominal, {p.name: value for p, value in zip(self._free, values, strict=True)})
        found = Tally.of(self._resimulator.events(self._chosen, [point] * len(self._chosen), self._seed))
        self.done += 1
        self._task.advance(1)
        return found

    def pulls_of(self, parameters: LArTPCParameters) -> Float64:
        """Where a working point is; what is not free does not count."""
        values = np.array([getattr(parameters, parameter.name) for parameter in self._free])
        pulls: Float64 = np.clip((values - self.middle) / self.widths, -_MAX_WIDTHS, _MAX_WIDTHS)
        return pulls

    def derivatives(self, pulls: Float64) -> Float64:
        """Central differences of the moments (M, P)."""
        columns = []
        for number, parameter in enumerate(self._free):
            step = parameter.step * np.eye(len(self._free))[number]
            columns.append((self(pulls + step).moments() - self(pulls - step).moments()) / (2 * parameter.step))
        return np.column_stack(columns)


def _changed(point: LArTPCParameters, values: dict[str, float]) -> LArTPCParameters:
    return LArTPCParameters.from_mapping({**point.to_mapping(), **values})
