"""The Brier score, Monthly Weather Review 78 (1950) 1, as a metric and as a column of the leaderboards.

BS = (1/E) sum_i sum_c (p_ic - [c = y_i])^2        from 0 to 2, lower is better
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

import nubench
from nubench.evaluation.metrics import Metric
from nubench.leaderboard.columns import Column
from nubench.leaderboard.rows import Row

NAME = "brier"


def brier_score(labels: npt.NDArray[np.int64], log_probabilities: npt.NDArray[np.floating]) -> float:
    """Mean squared distance between probabilities and truth.

    Args:
        labels: (E,) true classes.
        log_probabilities: (E, C) natural logarithms.

    Example:
        >>> brier_score(np.array([0, 1]), np.log(np.array([[0.5, 0.5], [0.25, 0.75]])))
        0.3125
    """
    distances = np.exp(log_probabilities.astype(np.float64))
    distances[np.arange(len(labels)), labels] -= 1
    return float(np.square(distances).sum(axis=1).mean())


def mean_over_targets(row: Row) -> float | None:
    """Mean over seeds and target points, of the read-out that ranks the method; None where a result has none."""
    found = [result.scores(point).further.get(NAME) for result in row.results for point in result.target_points]
    known = [value for value in found if value is not None]
    return float(np.mean(known)) if known and len(known) == len(found) else None


@nubench.hookimpl
def register_metrics() -> Iterable[Metric]:
    """Compute it for every result from now on."""
    return [Metric(NAME, "Brier score, from 0 to 2", False, brier_score)]


@nubench.hookimpl
def register_columns() -> Iterable[Column]:
    """Show it on the leaderboards."""
    return [Column(NAME, "Brier score", mean_over_targets)]
