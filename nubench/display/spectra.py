"""What a physicist checks in a data set: charge spectra, hits per event, and events lost, at each shift point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from nubench.containers import Float64, Int64, LabelledEvents

_MOST_BINS: Final = 90
#: Spectra end where less than this part of the hits of every point lies beyond.
_TAIL: Final = 1e-4
_LONG_TAIL: Final = 20
#: A quantile of fewer events than this is not drawn.
FEWEST_EVENTS: Final = 5
_QUANTILES: Final = (0.16, 0.5, 0.84)


@dataclass(frozen=True)
class PointSummary:
    """The events of one split at one shift point, summed up.

    Attributes:
        point: its name.
        strength: how far it is from nominal, in the unit of the shift.
        moved: names of the parameters that differ from nominal.
        dropped: events with too few hits to be in the file.
        charges, hits_of_charge: (U,) float64 and (U,) int64, each charge that occurs and the number of hits with it.
        hits: (E,) int64 number of hits of each event.
        labels: (E,) int64 class.
        kinetic_energy: (E,) float64, MeV.
    """

    point: str
    strength: float
    moved: tuple[str, ...]
    dropped: int
    charges: Float64
    hits_of_charge: Int64
    hits: Int64
    labels: Int64
    kinetic_energy: Float64

    @property
    def events(self) -> int:
        """Number of events in the file."""
        return len(self.hits)

    @property
    def mean_charge(self) -> float:
        """Mean charge of a hit; not a number where there is no hit."""
        hits = int(self.hits_of_charge.sum())
        return float(self.charges @ self.hits_of_charge) / hits if hits else float("nan")

    @property
    def hit_quantiles(self) -> tuple[float, float, float]:
        """The 16%, 50% and 84% quantiles of the hits of an event; not numbers where there is no event."""
        low, median, high = np.quantile(self.hits, _QUANTILES) if self.events else (np.nan,) * 3
        return float(low), float(median), float(high)


def summarise(
    events: LabelledEvents, point: str, strength: float, moved: tuple[str, ...], dropped: int
) -> PointSummary:
    """Sum up the events at a point; their voxels may then be forgotten."""
    charges, counts = np.unique(events.events.features[:, 0].astype(np.float64), return_counts=True)
    return PointSummary(
        point=point,
        strength=strength,
        moved=moved,
        dropped=dropped,
        charges=charges,
        hits_of_charge=counts.astype(np.int64),
        hits=events.events.voxels_per_event,
        labels=events.labels,
        kinetic_energy=events.truth.kinetic_energy.astype(np.float64),
    )


def charge_bins(summaries: Sequence[PointSummary]) -> tuple[Float64, bool]:
    """Edges (B + 1,) of the bins of the charge, the same for all points, at most 90 bins, and whether they are for a
    logarithmic axis.

    They end where hardly a hit is left. Their width grows with the charge where its tail is 20 times the median or more
    at every point. Bins of a charge that comes in whole numbers hold a whole number of these, since others would draw
    combs.

    Raises:
        ValueError: when no point has a hit.
    """
    filled = [summary for summary in summaries if len(summary.charges)]
    if not filled:
        raise ValueError("charge bins of no hits at all")
    low = min(float(summary.charges[0]) for summary in filled)
    high = max(_charge_below(summary, 1 - _TAIL) for summary in filled)
    whole = all(np.all(summary.charges == np.rint(summary.charges)) for summary in filled)
    ratios = [_charge_below(summary, 1 - _TAIL) / max(_charge_below(summary, 0.5), 1e-9) for summary in filled]
    if low > 0 and min(ratios) >= _LONG_TAIL:
        edges = np.geomspace(low, high + 1, _MOST_BINS + 1)
        return (np.unique(np.rint(edges)) - 0.5 if whole else edges), True
    if whole:
        width = float(np.ceil((high - low + 1) / _MOST_BINS))
        return low - 0.5 + width * np.arange(np.ceil((high - low + 1) / width) + 1), False
    return np.linspace(low, max(high, low + 1), _MOST_BINS + 1), False


def charge_spectrum(summary: PointSummary, edges: Float64) -> Float64:
    """Mean number of hits per event and unit of charge in each bin (B,); zeros where there is no event."""
    return hits_in_bins(summary, edges) / max(summary.events, 1) / np.diff(edges)


def hits_in_bins(summary: PointSummary, edges: Float64) -> Float64:
    """Number of hits in each bin (B,) of the charge."""
    counts, _ = np.histogram(summary.charges, edges, weights=summary.hits_of_charge)
    return np.asarray(counts, np.float64)


def hits_by_energy(summary: PointSummary, label: int) -> tuple[Float64, Float64]:
    """Hits of an event of a class against its true kinetic energy.

    The energy is cut into up to 10 bins that hold equally many events.

    Returns:
        The median energy of each bin (B,), MeV, and the 16%, 50% and 84% quantiles (3, B) of the hits of its events;
        no bin where the class has fewer than 5 events.
    """
    of_class = summary.labels == label
    energy, hits = summary.kinetic_energy[of_class], summary.hits[of_class]
    bins = min(len(energy) // (2 * FEWEST_EVENTS), 10) or int(len(energy) >= FEWEST_EVENTS)
    parts = np.array_split(np.argsort(energy, kind="stable"), bins) if bins else []
    centres = [np.median(energy[part]) for part in parts]
    quantiles = [np.quantile(hits[part], _QUANTILES) for part in parts]
    return np.array(centres), np.array(quantiles).reshape(-1, 3).T


def by_parameter(summaries: Sequence[PointSummary]) -> dict[str, list[PointSummary]] | None:
    """Sort points by the one parameter that each moves; None where some point moves more than one.

    A point that moves none, as nominal does, stands with none of them.
    """
    if any(len(summary.moved) > 1 for summary in summaries):
        return None
    parameters = dict.fromkeys(name for summary in summaries for name in summary.moved)
    return {name: [summary for summary in summaries if summary.moved == (name,)] for name in parameters}


def _charge_below(summary: PointSummary, share: float) -> float:
    """The smallest charge that at least this share of the hits does not exceed."""
    cumulative = np.cumsum(summary.hits_of_charge)
    return float(summary.charges[np.searchsorted(cumulative, share * cumulative[-1])])
