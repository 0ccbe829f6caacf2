"""Numbers of a set of events that tell how their front end was set, and how far they may be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from nubench.containers import Events, Float64
from nubench.quantiles import mid_quantiles

LEVELS: Final = np.array([0.003, 0.01, 0.02, 0.04, 0.07, 0.1, 0.15, *np.arange(0.2, 0.91, 0.1), 0.95, 0.98])
"""Of the quantiles of ADC. The lowest are the edge that threshold and noise shape, the others mostly show the scale."""

RESOLUTION: Final = np.array([0.05] * len(LEVELS) + [0.005] * 2)
"""What no moment is trusted beyond, in counts and relative: counts are whole numbers, and derivatives are taken once.

With 0.02 counts the errors of fits to small samples were too small by up to a factor of three."""

# The pixel waits 28 ticks after a hit, 1.2 voxels along the drift; later than this it may be another track.
_SECOND_HIT_VOXELS: Final = 5
_REPLICAS: Final = 200


@dataclass(frozen=True)
class Tally:
    """What moments are made of, event by event, so that a bootstrap over events costs little.

    Attributes:
        values: (K,) the distinct ADC counts.
        counts: (E, K) how often each stands in an event.
        second_hits: (E,) hits of an event whose pixel had another one shortly before.
    """

    values: Float64
    counts: Float64
    second_hits: Float64

    @staticmethod
    def of(events: Events) -> Tally:
        """Count the hits of E events of the LArTPC; memory goes with E times the number of distinct counts."""
        event = np.repeat(np.arange(len(events)), events.voxels_per_event)
        values, column = np.unique(events.features[:, 0].astype(np.float64), return_inverse=True)
        counts = np.bincount(event * len(values) + column, minlength=len(events) * len(values))
        drift, *pixel = events.coords.astype(np.int64).T
        order = np.lexsort((drift, *pixel, event))
        same_pixel = np.all([np.diff(key[order]) == 0 for key in (*pixel, event)], axis=0)
        second = same_pixel & (np.diff(drift[order]) <= _SECOND_HIT_VOXELS)
        return Tally(
            values,
            counts.reshape(len(events), len(values)).astype(np.float64),
            np.bincount(event[order][1:][second], minlength=len(events)).astype(np.float64),
        )

    def __len__(self) -> int:
        return len(self.counts)

    def moments(self, weights: Float64 | None = None) -> Float64:
        """Compute the moments (M,).

        They are the mid-quantiles of the ADC counts at :data:`LEVELS`, the logarithm of the mean number of hits, and
        that of the share of second hits.

        Args:
            weights: (E,) how often each event counts; once when None.
        """
        weights = np.ones(len(self)) if weights is None else weights
        counts = weights @ self.counts
        hits = counts.sum()
        # One hit more keeps the logarithm finite where there is none.
        second = (weights @ self.second_hits + 1) / hits
        return np.concatenate(
            [mid_quantiles(self.values, counts, LEVELS), np.log([hits / weights.sum(), second])],
        )


def covariance(rng: np.random.Generator, tally: Tally, minus: Tally | None = None) -> Float64:
    """Bootstrap, over events, the covariance (M, M) of the moments.

    Args:
        rng: what draws the replicas.
        tally: of E events.
        minus: of another response to the same E events; then it is the covariance of the difference.
    """
    replicas = []
    for _ in range(_REPLICAS):
        weights = np.bincount(rng.integers(len(tally), size=len(tally)), minlength=len(tally)).astype(np.float64)
        replicas.append(tally.moments(weights) - (minus.moments(weights) if minus is not None else 0.0))
    return np.cov(np.array(replicas).T)
