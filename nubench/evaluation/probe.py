"""The probe: a linear classifier on frozen embeddings, the same for every method.

StandardScaler and multinomial logistic regression of scikit-learn, fitted on labelled source embeddings to
convergence. (The authors of arXiv 2502.07724 stop the solver saga after 120 to 300 iterations; a converged
optimum does not depend on the solver.) On a GPU, and for large problems, :mod:`nubench.evaluation.probe_torch` finds
the same optimum.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from nubench.containers import Float32, Float64, Int64
from nubench.errors import NubenchError
from nubench.evaluation.metrics import check_labels

#: Inverse strength of the L2 penalty, scikit-learn's default.
INVERSE_PENALTY: Final = 1.0

#: Largest gradient component of the mean loss at which lbfgs stops.
TOLERANCE: Final = 1e-4

#: Embeddings of more numbers than this are fitted by Newton's method on the processor too: it finds the same optimum
#: with a third of the work. Those of the profiles for a processor are far smaller.
LARGE: Final = 2**25

#: Iterations of lbfgs before it gives up. Embeddings of trained networks take 50 to 500.
MAX_ITERATIONS: Final = 3000


@dataclass(frozen=True)
class Probe:
    """A fitted probe.

    Attributes:
        mean, scale: (D,) of the standardisation; a constant feature has scale 1.
        weights: (D, C).
        bias: (C,).
        iterations: that the solver took.
        converged: false when it stopped at the largest number of iterations; to be recorded with the scores.
    """

    mean: Float64
    scale: Float64
    weights: Float64
    bias: Float64
    iterations: int
    converged: bool

    def log_probabilities(self, embeddings: Float32) -> Float64:
        """Return the (E, C) natural logarithms of the class probabilities of (E, D) embeddings.

        Raises:
            ValueError: when the embeddings are not (E, D).
            NubenchError: when some are not finite.
        """
        _check_embeddings(embeddings)
        if embeddings.shape[1] != len(self.mean):
            raise ValueError(f"embeddings must be (E, {len(self.mean)}); got shape {embeddings.shape}")
        standard = (embeddings.astype(np.float64) - self.mean) / self.scale
        return np.asarray(log_softmax(standard @ self.weights + self.bias, axis=1))


def fit_probe(
    embeddings: Float32,
    labels: Int64,
    classes: int | None = None,
    max_iterations: int | None = None,
    device: str = "cpu",
) -> Probe:
    """Fit the probe on labelled source embeddings.

    Args:
        embeddings: (E, D) float32.
        labels: (E,) in [0, C).
        classes: C; by default one more than the largest label.
        max_iterations: of the solver; by default :data:`MAX_ITERATIONS`, or
            :data:`nubench.evaluation.probe_torch.MAX_STEPS` of Newton's method.
        device: ``"cpu"`` for scikit-learn, unless the problem is :data:`LARGE`; else a device of torch for Newton's
            method there.

    Raises:
        ValueError: when the shapes do not fit or a label is out of range.
        NubenchError: when embeddings are not finite, or a class has no event.
    """
    _check_embeddings(embeddings)
    if labels.shape != embeddings.shape[:1] or len(labels) == 0:
        raise ValueError(f"labels must be ({len(embeddings)},), not empty; got shape {labels.shape}")
    classes = int(labels.max()) + 1 if classes is None else classes
    check_labels(labels, classes)
    missing = np.flatnonzero(np.bincount(labels, minlength=classes) == 0)
    if classes < 2 or len(missing):
        raise NubenchError(
            f"the probe needs events of every class and at least 2 classes; got {classes} classes, "
            f"without events: {missing.tolist()}"
        )
    if device == "cpu" and embeddings.size <= LARGE:
        return fit_with_scikit_learn(embeddings, labels, max_iterations or MAX_ITERATIONS)
    return fit_with_torch(embeddings, labels, classes, max_iterations, device)


def fit_with_torch(
    embeddings: Float32, labels: Int64, classes: int, max_iterations: int | None = None, device: str = "cuda"
) -> Probe:
    """Fit the probe by Newton's method on any device of torch; the arguments of :func:`fit_probe`, checked there."""
    # The processor's probe needs no torch.
    from nubench.evaluation.probe_torch import MAX_STEPS, fit_optimum

    optimum = fit_optimum(
        embeddings,
        labels,
        classes,
        inverse_penalty=INVERSE_PENALTY,
        max_steps=max_iterations or MAX_STEPS,
        device=device,
    )
    return Probe(
        mean=optimum.mean,
        scale=optimum.scale,
        weights=_one_column_per_class(optimum.weights.T),
        bias=_one_column_per_class(optimum.bias[:, None])[0],
        iterations=optimum.steps,
        converged=optimum.converged,
    )


def fit_with_scikit_learn(embeddings: Float32, labels: Int64, max_iterations: int = MAX_ITERATIONS) -> Probe:
    """Fit the probe with lbfgs on the processor; the arguments of :func:`fit_probe`, checked there."""
    scaler = StandardScaler().fit(embeddings.astype(np.float64))
    model = LogisticRegression(C=INVERSE_PENALTY, solver="lbfgs", tol=TOLERANCE, max_iter=max_iterations)
    with warnings.catch_warnings():
        # Recorded in ``converged`` instead: a warning scrolls away, a field of the result stays.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(scaler.transform(embeddings.astype(np.float64)), labels)
    iterations = int(np.max(model.n_iter_))
    return Probe(
        mean=scaler.mean_,
        scale=scaler.scale_,
        weights=_one_column_per_class(model.coef_),
        bias=_one_column_per_class(model.intercept_[:, None])[0],
        iterations=iterations,
        converged=iterations < max_iterations,
    )


def _one_column_per_class(rows: Float64) -> Float64:
    # For two classes scikit-learn keeps only the difference of their scores.
    return np.vstack([np.zeros_like(rows), rows]).T if len(rows) == 1 else rows.T


def _check_embeddings(embeddings: npt.NDArray[np.floating]) -> None:
    if embeddings.ndim != 2:
        raise ValueError(f"embeddings must be (E, D); got shape {embeddings.shape}")
    bad = ~np.isfinite(embeddings).all(axis=1)
    if bad.any():
        raise NubenchError(
            f"{int(bad.sum())} of {len(embeddings)} embeddings hold NaN or infinity, the first is event "
            f"{int(np.argmax(bad))}; the training has probably diverged"
        )
