"""The optimum of the probe by Newton's method in torch: the same function as scikit-learn's, on a GPU as well.

The mean cross entropy of multinomial logistic regression plus |W|^2 / (2 C n), biases not penalised; with two classes
only the difference of their scores is a parameter, as in scikit-learn. The function is strictly convex in W, so its
optimum does not depend on the solver.

Each Newton step solves H d = -g by conjugate gradients without forming H (Martens, ICML 2010), preconditioned by the
second moments of the features, which all classes share; a backtracking line search makes every step a descent. In
double precision, and the same from run to run on one device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import torch

from nubench.containers import Float32, Float64, Int64

#: The solver stops after a full Newton step that changes no coefficient by more: the next would change it far less.
COEFFICIENT_TOLERANCE: Final = 1e-5

#: Newton steps before it gives up; 5 to 20 are usual.
MAX_STEPS: Final = 100

#: Conjugate-gradient steps in one Newton step.
_MAX_INNER: Final = 500

#: Share of the predicted decrease that a step must give (Armijo), and how often it may be halved until it does.
_DECREASE: Final = 1e-4
_MAX_HALVINGS: Final = 40

#: Rounding of the value, relative: close to the optimum a good step changes it by less.
_ROUNDING: Final = 1e-14


@dataclass(frozen=True)
class Optimum:
    """Where the solver stopped.

    Attributes:
        mean, scale: (D,) of the standardisation.
        weights: (D, K), of standardised features; K is the number of classes, or 1 for two classes.
        bias: (K,), summing to 0 for more than two classes.
        steps: Newton steps taken.
        converged: false when it stopped at the largest number of steps.
    """

    mean: Float64
    scale: Float64
    weights: Float64
    bias: Float64
    steps: int
    converged: bool


def fit_optimum(
    embeddings: Float32,
    labels: Int64,
    classes: int,
    *,
    inverse_penalty: float,
    max_steps: int = MAX_STEPS,
    device: str | torch.device = "cpu",
) -> Optimum:
    """Standardise features and fit multinomial logistic regression on them.

    Args:
        embeddings: (n, D), finite.
        labels: (n,) in [0, ``classes``), every class among them.
        classes: at least 2.
        inverse_penalty: C of scikit-learn.
        max_steps: Newton steps at most.
        device: of torch.
    """
    mean, scale, features = _standardised(torch.as_tensor(embeddings, device=device).double())
    problem = _Problem.of(features, torch.as_tensor(labels, device=device), classes, inverse_penalty)
    coefficients = torch.zeros_like(problem.targets[:1]).repeat(features.shape[1], 1)
    state = problem.at(coefficients)
    converged, step = False, 0
    while not converged and step < max_steps:
        step += 1
        direction = problem.newton_direction(state)
        length, state = problem.line_search(coefficients, state, direction)
        coefficients = coefficients + length * direction
        # A search that finds no decrease has reached the limit of double precision.
        converged = length == 0.0 or (length == 1.0 and float(direction.abs().max()) <= COEFFICIENT_TOLERANCE)
    found = coefficients.cpu().numpy()
    bias = found[-1]
    # The same number added to the bias of every class changes nothing.
    centred = bias - bias.mean() if len(bias) > 1 else bias
    return Optimum(mean.cpu().numpy(), scale.cpu().numpy(), found[:-1], centred, step, converged)


def _standardised(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The mean and scale of each column, as StandardScaler takes them, and the columns with one of 1 beside them."""
    rows, size = values.shape
    mean = values.mean(dim=0)
    features = torch.ones(rows, size + 1, dtype=torch.float64, device=values.device)
    features[:, :size] = values - mean
    variance = features[:, :size].square().mean(dim=0)
    precision = torch.finfo(torch.float64).eps
    # What rounding may leave of a constant column; such a column has scale 1.
    rounding = rows * precision * variance + (rows * mean * precision).square()
    scale = torch.where(variance <= rounding, 1.0, variance.sqrt())
    features[:, :size] /= scale
    return mean, scale, features


class _State(NamedTuple):
    value: float
    gradient: torch.Tensor  # (D + 1, K)
    probabilities: torch.Tensor  # (n, K)


@dataclass(frozen=True)
class _Problem:
    """The function to minimise. The last of the D + 1 features is 1, its coefficients are the biases."""

    features: torch.Tensor  # (n, D + 1)
    targets: torch.Tensor  # (n, K), 1 at the true class; (n, 1) for two classes, 1 for the second
    penalty: torch.Tensor  # (D + 1, 1)
    moments: torch.Tensor  # (D + 1,) eigenvalues of the second moments of the features
    axes: torch.Tensor  # (D + 1, D + 1) their eigenvectors

    @staticmethod
    def of(features: torch.Tensor, labels: torch.Tensor, classes: int, inverse_penalty: float) -> _Problem:
        rows, size = features.shape
        targets = labels[:, None] if classes == 2 else torch.nn.functional.one_hot(labels, classes)
        penalty = torch.full((size, 1), 1.0 / (inverse_penalty * rows), dtype=torch.float64, device=features.device)
        penalty[-1] = 0.0
        moments, axes = torch.linalg.eigh(features.T @ features / rows)
        return _Problem(features, targets.double(), penalty, moments.clamp(min=0.0), axes)

    def at(self, coefficients: torch.Tensor) -> _State:
        """The value, the gradient (D + 1, K) and the probabilities (n, K) at some coefficients."""
        scores = self.features @ coefficients
        if scores.shape[1] == 1:
            losses = torch.nn.functional.softplus(scores) - self.targets * scores
            probabilities = torch.sigmoid(scores)
        else:
            logarithms = torch.log_softmax(scores, dim=1)
            losses = -(self.targets * logarithms).sum(dim=1)
            probabilities = logarithms.exp()
        value = losses.mean() + 0.5 * (self.penalty * coefficients.square()).sum()
        slope = self._gathered(probabilities - self.targets)
        return _State(float(value), slope + self.penalty * coefficients, probabilities)

    def curvature(self, state: _State, direction: torch.Tensor) -> torch.Tensor:
        """The product of the Hessian and a direction, (D + 1, K)."""
        weighted = state.probabilities * (self.features @ direction)
        if weighted.shape[1] == 1:
            weighted = weighted * (1.0 - state.probabilities)
        else:
            weighted = weighted - state.probabilities * weighted.sum(dim=1, keepdim=True)
        return self._gathered(weighted) + self.penalty * direction

    def _gathered(self, of_events: torch.Tensor) -> torch.Tensor:
        """The mean over events of the product of the features and numbers (n, K), (D + 1, K)."""
        # In this order the long array is read along its rows, which is four times as fast on a processor.
        return (of_events.T @ self.features).T / len(of_events)

    def newton_direction(self, state: _State) -> torch.Tensor:
        """Solve for the Newton step as well as the distance from the optimum deserves."""
        variance = (state.probabilities * (1.0 - state.probabilities)).mean()
        scale = (variance * self.moments + self.penalty[0]).clamp(min=1e-12)[:, None]

        def precondition(vector: torch.Tensor) -> torch.Tensor:
            return self.axes @ ((self.axes.T @ vector) / scale)

        direction = torch.zeros_like(state.gradient)
        residual = -state.gradient
        search = turned = precondition(residual)
        size = start = float((residual * turned).sum())
        # Far from the optimum a rough step will do; close to it more than three digits are not worth having.
        tolerance = min(0.1, max(start**0.25, 1e-3)) ** 2 * start
        for _ in range(_MAX_INNER):
            if size <= tolerance:
                break
            curved = self.curvature(state, search)
            length = size / float((search * curved).sum())
            direction = direction + length * search
            residual = residual - length * curved
            turned = precondition(residual)
            before, size = size, float((residual * turned).sum())
            search = turned + (size / before) * search
        return direction

    def line_search(self, coefficients: torch.Tensor, state: _State, direction: torch.Tensor) -> tuple[float, _State]:
        """The longest of 1, 1/2, 1/4, ... steps that lowers the value enough, and the state there; else 0."""
        slope = float((state.gradient * direction).sum())
        length = 1.0
        for _ in range(_MAX_HALVINGS):
            there = self.at(coefficients + length * direction)
            if there.value <= state.value * (1.0 + _ROUNDING) + _DECREASE * length * slope:
                return length, there
            length /= 2
        return 0.0, state
