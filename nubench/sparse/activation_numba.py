"""Compiled kernels of bias, GELU and global response normalisation in one: each event stays in the processor's cache.

GELU takes most of the time of a narrow network, because the C library's error function is not vector code. Here both
it and its derivative come from one exponential in single precision, with Abramowitz and Stegun's 7.1.26 (absolute
error 1.5e-7, the spacing of single-precision numbers at 1).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nubench.sparse.compilation import compiled, inlined, parallel_range

Array = npt.NDArray[np.float32]
Index = npt.NDArray[np.integer]

_F = np.float32


@inlined
def _density(value: np.float32) -> np.float32:
    """Return ``exp(-value^2 / 2)``: a power of two, made of bits, times a polynomial on [0, 1)."""
    exponent = max(value * value * _F(-0.72134752), _F(-126))
    whole = np.floor(exponent)
    rest = exponent - whole
    power = (np.int32(whole) + np.int32(127)) << np.int32(23)
    # Least-squares fit of 2^x at Chebyshev nodes, relative error 8e-8.
    series = _F(0.00187623295)
    series = series * rest + _F(0.00899258403)
    series = series * rest + _F(0.0558236045)
    series = series * rest + _F(0.24015453)
    series = series * rest + _F(0.693152968)
    series = series * rest + _F(0.999999927)
    return np.int32(power).view(np.float32) * series  # type: ignore[no-any-return]


@inlined
def _cumulative(value: np.float32, density: np.float32) -> np.float32:
    """Return the normal distribution up to ``value``, given ``exp(-value^2 / 2)``."""
    k = _F(1) / (_F(1) + _F(0.3275911 * 0.70710678) * abs(value))
    series = _F(1.061405429)
    series = series * k - _F(1.453152027)
    series = series * k + _F(1.421413741)
    series = series * k - _F(0.284496736)
    series = series * k + _F(0.254829592)
    tail = _F(0.5) * series * k * density
    return _F(1) - tail if value > 0 else tail


@compiled
def forward(
    features: Array, bias: Array, offsets: Index, gamma: Array, beta: Array, epsilon: float, norm: Array, out: Array
) -> None:
    """Apply ``normalise(gelu(features + bias))``.

    Args:
        features: (N, C).
        bias: (C,).
        offsets: (B + 1,) rows of the events.
        gamma, beta: (C,) of the normalisation.
        epsilon: added to the mean norm.
        norm: out (B, C), root of the sum of squares over the event's voxels.
        out: out (N, C).
    """
    channels = features.shape[1]
    for event in parallel_range(len(offsets) - 1):
        squares = np.zeros(channels, np.float32)
        for row in range(offsets[event], offsets[event + 1]):
            for channel in range(channels):
                value = features[row, channel] + bias[channel]
                active = value * _cumulative(value, _density(value))
                out[row, channel] = active
                squares[channel] += active * active
        mean = 0.0
        for channel in range(channels):
            norm[event, channel] = np.sqrt(squares[channel])
            mean += norm[event, channel]
        inverse = 1 / (mean / channels + epsilon)
        factor = np.empty(channels, np.float32)
        for channel in range(channels):
            factor[channel] = 1 + gamma[channel] * norm[event, channel] * inverse
        for row in range(offsets[event], offsets[event + 1]):
            for channel in range(channels):
                out[row, channel] = out[row, channel] * factor[channel] + beta[channel]


@compiled
def backward(
    gradient: Array,
    features: Array,
    bias: Array,
    offsets: Index,
    gamma: Array,
    epsilon: float,
    norm: Array,
    features_gradient: Array,
    by_event: Array,
) -> None:
    """Gradients of :func:`forward`; those of bias, gamma and beta by event, to be summed.

    The formulae of the normalisation are in :func:`nubench.sparse.normalisation_numba.backward`.

    Args:
        gradient: (N, C), with respect to the output.
        features, bias, offsets, gamma, epsilon, norm: as there.
        features_gradient: out (N, C).
        by_event: out (3, B, C), gradients of bias, gamma and beta.
    """
    channels = features.shape[1]
    for event in parallel_range(len(offsets) - 1):
        shared = np.zeros(channels, np.float32)
        total = np.zeros(channels, np.float32)
        for row in range(offsets[event], offsets[event + 1]):
            for channel in range(channels):
                value = features[row, channel] + bias[channel]
                active = value * _cumulative(value, _density(value))
                shared[channel] += gradient[row, channel] * active
                total[channel] += gradient[row, channel]
        mean = 0.0
        common = 0.0
        for channel in range(channels):
            mean += norm[event, channel]
            common += gamma[channel] * shared[channel] * norm[event, channel]
        inverse = 1 / (mean / channels + epsilon)
        common *= inverse * inverse / channels
        direct = np.empty(channels, np.float32)
        through_norm = np.empty(channels, np.float32)
        for channel in range(channels):
            response = norm[event, channel]
            direct[channel] = 1 + gamma[channel] * response * inverse
            to_norm = gamma[channel] * shared[channel] * inverse - common
            # A channel that is zero everywhere has no direction to grow in.
            through_norm[channel] = to_norm / response if response > 0 else 0
            by_event[1, event, channel] = shared[channel] * response * inverse
            by_event[2, event, channel] = total[channel]
            total[channel] = 0
        for row in range(offsets[event], offsets[event + 1]):
            for channel in range(channels):
                value = features[row, channel] + bias[channel]
                density = _density(value)
                cumulative = _cumulative(value, density)
                change = gradient[row, channel] * direct[channel] + value * cumulative * through_norm[channel]
                change *= cumulative + _F(0.39894228) * value * density
                features_gradient[row, channel] = change
                total[channel] += change
        for channel in range(channels):
            by_event[0, event, channel] = total[channel]
