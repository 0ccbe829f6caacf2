"""Selectors: choose a network without labels of the target, for its setting or its number of steps.

Accuracy on the target cannot choose between networks where the target has no labels. Each selector here gives a network
one number from what an experiment has: labelled source events, and what the network makes of unlabelled target events.
Higher is better. Only the oracle looks at labels of the target: it shows what a perfect selector would reach, stands
apart and chooses nothing that is ranked.

All are pure functions of arrays. A plugin brings more through the hook ``register_selectors``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from nubench.containers import Float32, Float64, Int64

#: Temperature of the soft neighbourhood, the published one.
SND_TEMPERATURE: Final = 0.05

#: Rows of the matrix of similarities that are in memory at a time.
ROWS_AT_ONCE: Final = 1024

Rows = npt.NDArray[np.floating]


@dataclass(frozen=True)
class SelectorInput:
    """What a network makes of the source and of one target; N, V and T events, D numbers an embedding, C classes.

    Attributes:
        train_embeddings: (N, D) of the source events that the network was trained on.
        train_labels: (N,) int64.
        val_embeddings: (V, D) of source events that were held out.
        val_log_probabilities: (V, C), natural logarithms.
        val_labels: (V,) int64.
        target_embeddings: (T, D) of unlabelled target events, or None without a target.
        target_log_probabilities: (T, C), or None without a target.
        target_labels: (T,) int64 for the oracle alone; None for every other selector.

    Raises:
        ValueError: when numbers of events do not fit together or are 0, or a number is not finite.
    """

    train_embeddings: Float32
    train_labels: Int64
    val_embeddings: Float32
    val_log_probabilities: Rows
    val_labels: Int64
    target_embeddings: Float32 | None = None
    target_log_probabilities: Rows | None = None
    target_labels: Int64 | None = None

    def __post_init__(self) -> None:
        for domain in ("train", "val", "target"):
            arrays = {f.name: getattr(self, f.name) for f in fields(self) if f.name.startswith(domain)}
            found = {name: len(array) for name, array in arrays.items() if array is not None}
            if len(set(found.values())) > 1 or 0 in found.values():
                raise ValueError(f"{domain} arrays must have one row for each of at least one event; got {found}")
            for name, array in arrays.items():
                if array is not None and not np.isfinite(array).all():
                    raise ValueError(f"{name} holds numbers that are not finite")

    def without_target_labels(self) -> SelectorInput:
        """The same as a selector that is no oracle may see it."""
        return SelectorInput(
            **{field.name: getattr(self, field.name) for field in fields(self) if field.name != "target_labels"}
        )


@dataclass(frozen=True)
class Selector:
    """One way to score a network.

    Attributes:
        name: unique; lower case, digits, hyphens.
        title: one line for listings.
        needs_target: whether it reads what the network makes of target events.
        oracle: whether it reads labels of the target; then it is shown apart and never chosen by default.
        score: higher is better; may raise ValueError when events are missing.
    """

    name: str
    title: str
    needs_target: bool
    oracle: bool
    score: Callable[[SelectorInput], float]

    def __call__(self, seen: SelectorInput) -> float:
        """Score a network; no labels of the target are handed over but to an oracle."""
        return float(self.score(seen if self.oracle else seen.without_target_labels()))


def source_validation(seen: SelectorInput) -> float:
    """Accuracy on source events that were held out: the fraction that is given its class.

    Blind to the target. What it prefers may be what has learnt the source's peculiarities best.
    """
    return float(np.mean(_right(seen.val_log_probabilities, seen.val_labels)))


def target_entropy(seen: SelectorInput) -> float:
    """Minus the mean entropy of the predictions on the target, in nats, from -log C to 0 (arXiv:1711.10288)::

        score = (1/T) sum_i sum_c p_ic log p_ic

    Its highest value, 0, is also reached by giving every event the same class with certainty.
    """
    logarithms = _target(seen.target_log_probabilities).astype(np.float64)
    return -float(np.mean(_entropies(logarithms)))


def soft_neighbourhood_density(seen: SelectorInput, temperature: float = SND_TEMPERATURE) -> float:
    """Entropy of the soft neighbourhoods of target events, Saito et al. 2021 (arXiv:2108.10860, eq. 1 and 2)::

        f_i   = p_i / |p_i|                                      predicted probabilities, as unit vectors
        P_ij  = exp(f_i f_j / t) / sum_{k != i} exp(f_i f_k / t)    j != i
        score = - (1/T) sum_i sum_{j != i} P_ij log P_ij

    in nats, at most log(T - 1). It is high where every event has many events close by: where the target falls into
    dense clusters. One cluster for all is the densest: like entropy it cannot tell a collapse.

    Memory grows with the number of events: :data:`ROWS_AT_ONCE` rows of the similarities at a time.

    Raises:
        ValueError: for less than two target events.
    """
    predicted = np.exp(_target(seen.target_log_probabilities).astype(np.float64))
    if len(predicted) < 2:
        raise ValueError("soft neighbourhood density needs at least two target events")
    unit = predicted / np.linalg.norm(predicted, axis=1, keepdims=True)
    return float(np.concatenate(list(_neighbourhood_entropies(unit, temperature))).mean())


def importance_weighted_validation(seen: SelectorInput) -> float:
    """Accuracy on held-out source events, weighted as the target has them: Sugiyama et al., JMLR 8 (2007) 985::

        score = 1 - (1/V) sum_i w_i l_i      l_i = 1 where event i is given a wrong class, else 0

    with the weights of :func:`importance_weights`. Unbiased for the target where only the frequencies of embeddings
    differ, not the classes at each. The variance is that of the weights: it may leave [0, 1].
    """
    weights, losses = _weights_and_losses(seen)
    return 1.0 - float(np.mean(weights * losses))


def deep_embedded_validation(seen: SelectorInput) -> float:
    """Importance-weighted validation with a control variate, You et al., ICML 2019 (PMLR 97:7124)::

        L_i   = w_i l_i
        eta   = - Cov(L, w) / Var(w)
        score = 1 - ( mean L + eta mean w - eta )

    The mean of w is 1 but for noise, so that eta takes off the noise that L shares with it. Where all weights
    are the same there is none to take off, and eta is 0.
    """
    weights, losses = _weights_and_losses(seen)
    weighted = weights * losses
    spread = weights - weights.mean()
    variance = float(np.mean(spread**2))
    eta = -float(np.mean(weighted * spread)) / variance if variance > 0 else 0.0
    return 1.0 - (float(weighted.mean()) + eta * float(weights.mean()) - eta)


def target_accuracy(seen: SelectorInput) -> float:
    """Accuracy on the target, from its labels: what no selector may see."""
    labels = seen.target_labels
    if labels is None:
        raise ValueError("the oracle needs labels of the target")
    return float(np.mean(_right(_target(seen.target_log_probabilities), labels)))


def importance_weights(source: Rows, target: Rows, events: Rows) -> Float64:
    """Density of the target over that of the source, at some embeddings, from a discriminator of the two::

        w(h) = (N / T) P(target | h) / P(source | h)

    The discriminator is a logistic regression on standardised embeddings, fitted on N source and T target events.

    Args:
        source: (N, D) embeddings.
        target: (T, D).
        events: (V, D), where the weights are wanted; not among those fitted on.

    Returns:
        (V,) weights, positive. All are 1 where source and target cannot be told apart.
    """
    rows = np.concatenate([source, target]).astype(np.float64)
    scaler = StandardScaler().fit(rows)
    of_target = np.repeat([0, 1], [len(source), len(target)])
    discriminator = LogisticRegression(max_iter=1000).fit(scaler.transform(rows), of_target)
    # The decision function is the logarithm of the ratio of the two probabilities.
    ratio = np.exp(discriminator.decision_function(scaler.transform(events.astype(np.float64))))
    return np.asarray(len(source) / len(target) * ratio)


def _weights_and_losses(seen: SelectorInput) -> tuple[Float64, Float64]:
    weights = importance_weights(seen.train_embeddings, _target(seen.target_embeddings), seen.val_embeddings)
    return weights, 1.0 - _right(seen.val_log_probabilities, seen.val_labels)


def _neighbourhood_entropies(unit: Float64, temperature: float) -> Iterator[Float64]:
    """Entropies of the soft neighbourhoods of (T, C) unit vectors, some rows at a time."""
    for first in range(0, len(unit), ROWS_AT_ONCE):
        similarities = unit[first : first + ROWS_AT_ONCE] @ unit.T / temperature
        rows = np.arange(len(similarities))
        similarities[rows, first + rows] = -np.inf
        yield _entropies(similarities - logsumexp(similarities, axis=1, keepdims=True))


def _entropies(log_probabilities: Float64) -> Float64:
    """Entropies (E,) of rows (E, K) of logarithms of probabilities; impossible outcomes add nothing."""
    possible = np.isfinite(log_probabilities)
    logarithms = np.where(possible, log_probabilities, 0.0)
    return np.asarray(-np.sum(np.where(possible, np.exp(logarithms) * logarithms, 0.0), axis=1))


def _right(log_probabilities: Rows, labels: Int64) -> Float64:
    return np.asarray(log_probabilities.argmax(axis=1) == labels, dtype=np.float64)


def _target(rows: Rows | None) -> Rows:
    if rows is None:
        raise ValueError("this selector needs target events")
    return rows


SELECTORS: Final = (
    Selector("source-validation", "accuracy on held-out source events", False, False, source_validation),
    Selector("entropy", "minus the mean entropy of the target predictions", True, False, target_entropy),
    Selector(
        "soft-neighbourhood-density",
        "entropy of the soft neighbourhoods of target predictions",
        True,
        False,
        soft_neighbourhood_density,
    ),
    Selector(
        "importance-weighted-validation",
        "accuracy on held-out source events, weighted as the target has them",
        True,
        False,
        importance_weighted_validation,
    ),
    Selector(
        "deep-embedded-validation",
        "importance-weighted validation with a control variate",
        True,
        False,
        deep_embedded_validation,
    ),
    Selector("oracle", "accuracy on the target, from its labels: shown apart", True, True, target_accuracy),
)
"""The project's own selectors, the oracle last."""
