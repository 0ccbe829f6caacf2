"""Compiled kernels of the global response normalisation: one event after another, each in the processor's cache."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nubench.sparse.compilation import compiled, parallel_range

Array = npt.NDArray[np.floating]
Index = npt.NDArray[np.integer]


@compiled
def forward(
    features: Array, offsets: Index, gamma: Array, beta: Array, epsilon: float, norm: Array, out: Array
) -> None:
    """Scale every channel by its share of the event's response.

    Args:
        features: (N, C).
        offsets: (B + 1,) rows of the events.
        gamma, beta: (C,).
        epsilon: added to the mean norm.
        norm: out (B, C), root of the sum of squares over the event's voxels.
        out: out (N, C).
    """
    channels = features.shape[1]
    for event in parallel_range(len(offsets) - 1):
        start, end = offsets[event], offsets[event + 1]
        for channel in range(channels):
            norm[event, channel] = 0
        for row in range(start, end):
            for channel in range(channels):
                norm[event, channel] += features[row, channel] * features[row, channel]
        mean = 0.0
        for channel in range(channels):
            norm[event, channel] = np.sqrt(norm[event, channel])
            mean += norm[event, channel]
        inverse = 1 / (mean / channels + epsilon)
        factor = np.empty(channels, features.dtype)
        for channel in range(channels):
            factor[channel] = 1 + gamma[channel] * norm[event, channel] * inverse
        for row in range(start, end):
            for channel in range(channels):
                out[row, channel] = features[row, channel] * factor[channel] + beta[channel]


@compiled
def backward(
    gradient: Array,
    features: Array,
    offsets: Index,
    gamma: Array,
    epsilon: float,
    norm: Array,
    features_gradient: Array,
    gamma_gradient: Array,
    beta_gradient: Array,
) -> None:
    """Gradients of :func:`forward`; those of gamma and beta by event, to be summed.

    With norms G_c, mean M and s_c = sum over rows of gradient * features, the gradient to G_c is
    gamma_c s_c / (M + epsilon) - sum over k of gamma_k s_k G_k / ((M + epsilon)^2 C), and that of G_c to a
    feature is feature / G_c.

    Args:
        gradient: (N, C), with respect to the output.
        features, offsets, gamma, epsilon, norm: as there.
        features_gradient: out (N, C).
        gamma_gradient, beta_gradient: out (B, C).
    """
    channels = features.shape[1]
    for event in parallel_range(len(offsets) - 1):
        start, end = offsets[event], offsets[event + 1]
        shared = gamma_gradient[event]
        for channel in range(channels):
            shared[channel] = 0
            beta_gradient[event, channel] = 0
        for row in range(start, end):
            for channel in range(channels):
                shared[channel] += gradient[row, channel] * features[row, channel]
                beta_gradient[event, channel] += gradient[row, channel]
        mean = 0.0
        for channel in range(channels):
            mean += norm[event, channel]
        inverse = 1 / (mean / channels + epsilon)
        common = 0.0
        for channel in range(channels):
            common += gamma[channel] * shared[channel] * norm[event, channel]
        common *= inverse * inverse / channels
        direct = np.empty(channels, features.dtype)
        through_norm = np.empty(channels, features.dtype)
        for channel in range(channels):
            response = norm[event, channel]
            direct[channel] = 1 + gamma[channel] * response * inverse
            to_norm = gamma[channel] * shared[channel] * inverse - common
            # A channel that is zero everywhere has no direction to grow in.
            through_norm[channel] = to_norm / response if response > 0 else 0
            shared[channel] *= response * inverse
        for row in range(start, end):
            for channel in range(channels):
                features_gradient[row, channel] = (
                    gradient[row, channel] * direct[channel] + features[row, channel] * through_norm[channel]
                )
