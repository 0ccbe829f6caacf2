"""Counter-based random numbers: every draw is a pure function of what it is drawn for.

A detector draws noise for (seed, event, channel, purpose, counter). Because nothing is carried from one draw to
the next, results cannot depend on the order of events, on batches or on threads, and the same event under two
detector settings sees the same noise, so the two can be compared event by event.

The generator is Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3"
(SC'11), which passes BigCrush with counters as plain as these. Two levels are used: the seed is the key that turns an
event's identity into the event's own 64-bit key; that key turns (channel, purpose, counter) into a block of 128 bits.

All functions are compiled and may be called from compiled code; keys and channels are ``numpy.uint64``.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

_MULTIPLIER_0 = np.uint64(0xD2511F53)
_MULTIPLIER_1 = np.uint64(0xCD9E8D57)
_WEYL_0 = np.uint64(0x9E3779B9)
_WEYL_1 = np.uint64(0xBB67AE85)
_LOW_WORD = np.uint64(0xFFFFFFFF)
_WORD_BITS = np.uint64(32)
_ROUNDS = 10

# Keeps the blocks that make event keys apart from any block drawn with the seed itself as the key.
_EVENT_KEY_DOMAIN = np.uint64(0x6E756265)

# A Poisson number lies farther below its mean than this many standard deviations less often than 1e-17, which is
# below the spacing of the uniform numbers.
_LOWEST_DEVIATION = 9.0

_UNUSED_LOW_BITS = np.uint64(12)
_UNIFORM_STEP = 2.0**-52
_COARSE_STEP = 2.0**-32

SEED_LIMIT = 2**64
"""Seeds are whole numbers from 0 up to, and without, this one."""


@njit(cache=True, nogil=True, inline="never")
def philox4x32(
    key_0: np.uint64, key_1: np.uint64, word_0: np.uint64, word_1: np.uint64, word_2: np.uint64, word_3: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """Scramble a 128-bit counter with a 64-bit key (Philox4x32, ten rounds).

    Args:
        key_0, key_1: the two 32-bit words of the key, each held in 64 bits.
        word_0, word_1, word_2, word_3: the four 32-bit words of the counter, each held in 64 bits.

    Returns:
        Four random 32-bit words, each held in 64 bits.
    """
    for _ in range(_ROUNDS):
        product_0 = _MULTIPLIER_0 * word_0
        product_1 = _MULTIPLIER_1 * word_2
        word_0 = (product_1 >> _WORD_BITS) ^ word_1 ^ key_0
        word_2 = (product_0 >> _WORD_BITS) ^ word_3 ^ key_1
        word_1 = product_1 & _LOW_WORD
        word_3 = product_0 & _LOW_WORD
        key_0 = (key_0 + _WEYL_0) & _LOW_WORD
        key_1 = (key_1 + _WEYL_1) & _LOW_WORD
    return word_0, word_1, word_2, word_3


@njit(cache=True, nogil=True)
def event_key(seed: np.uint64, event_id: np.uint64) -> np.uint64:
    """Derive the 64-bit key of one event.

    Args:
        seed: the seed of the whole simulation.
        event_id: the event's identity; a signed one is reinterpreted, two's complement.
    """
    low, high, _, _ = philox4x32(
        seed & _LOW_WORD,
        seed >> _WORD_BITS,
        event_id & _LOW_WORD,
        event_id >> _WORD_BITS,
        _EVENT_KEY_DOMAIN,
        np.uint64(0),
    )
    return (high << _WORD_BITS) | low


@njit(cache=True, nogil=True)
def random_words(
    key: np.uint64, channel: np.uint64, purpose: np.uint64, counter: np.uint64
) -> tuple[np.uint64, np.uint64]:
    """Draw 128 random bits as two 64-bit words.

    Args:
        key: from :func:`event_key`.
        channel: 64-bit identity of the pixel, fibre or particle the draw belongs to.
        purpose: small number that tells the uses of one channel apart; only its low 32 bits count.
        counter: tick or trial; only its low 32 bits count.
    """
    word_0, word_1, word_2, word_3 = philox4x32(
        key & _LOW_WORD,
        key >> _WORD_BITS,
        counter & _LOW_WORD,
        purpose & _LOW_WORD,
        channel & _LOW_WORD,
        channel >> _WORD_BITS,
    )
    return (word_1 << _WORD_BITS) | word_0, (word_3 << _WORD_BITS) | word_2


@njit(cache=True, nogil=True)
def _open_unit_interval(word: np.uint64) -> float:
    # Half a step above the lower edge: neither 0 nor 1 can come out, so logarithms are safe.
    return (float(word >> _UNUSED_LOW_BITS) + 0.5) * _UNIFORM_STEP


@njit(cache=True, nogil=True)
def uniform_of_quarter(words: tuple[np.uint64, np.uint64], quarter: int) -> float:
    """Turn a quarter of what :func:`random_words` drew into a number uniform in (0, 1), in steps of 2^-32.

    Args:
        words: 128 random bits.
        quarter: 0 to 3, which 32 of them to use.
    """
    word = words[0] if quarter < 2 else words[1]
    bits = (word >> _WORD_BITS) if quarter & 1 else (word & _LOW_WORD)
    return (float(bits) + 0.5) * _COARSE_STEP


@njit(cache=True, nogil=True)
def uniform_pair(key: np.uint64, channel: np.uint64, purpose: np.uint64, counter: np.uint64) -> tuple[float, float]:
    """Draw two independent numbers uniform in the open interval (0, 1); arguments as :func:`random_words`."""
    first, second = random_words(key, channel, purpose, counter)
    return _open_unit_interval(first), _open_unit_interval(second)


@njit(cache=True, nogil=True)
def normal_pair(key: np.uint64, channel: np.uint64, purpose: np.uint64, counter: np.uint64) -> tuple[float, float]:
    """Draw two independent standard normal numbers (Box-Muller); arguments as :func:`random_words`."""
    first, second = uniform_pair(key, channel, purpose, counter)
    radius = math.sqrt(-2.0 * math.log(first))
    angle = 2.0 * math.pi * second
    return radius * math.cos(angle), radius * math.sin(angle)


@njit(cache=True, nogil=True)
def poisson_quantile(mean: float, uniform: float) -> float:
    """Return the smallest whole number n with P(N <= n) >= ``uniform``, N Poisson with this mean.

    The probabilities are added up one by one from where practically nothing lies below. Given ``uniform``, the result
    never falls when the mean rises, up to the rounding of the sum: about ``mean * log(mean) * 2e-16``. A ``uniform``
    that close to a step may give the number on its other side, and one that close to 1 a number a few off.

    Args:
        mean: 0 or above; the time grows with its square root.
        uniform: above 0 and below 1.
    """
    if mean <= 0.0:
        return 0.0
    number = max(0.0, math.floor(mean - _LOWEST_DEVIATION * math.sqrt(mean)))
    probability = math.exp(number * math.log(mean) - mean - math.lgamma(number + 1.0))
    cumulative = probability
    while cumulative < uniform:
        number += 1.0
        probability *= mean / number
        if number > mean and cumulative + probability == cumulative:
            break  # what is left is below the precision of the sum
        cumulative += probability
    return number
