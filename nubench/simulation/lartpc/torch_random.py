"""The counter-based random numbers of :mod:`nubench.simulation.random_streams`, drawn many at a time on any device.

Words are bit for bit those of the compiled generator; they are held in int64, whose products wrap as the ones of
uint64 do. Numbers that need a logarithm or a cosine may differ in their last bit.
"""

from __future__ import annotations

import functools
import math
from typing import Final

import numpy as np
import torch
from torch import Tensor

_LOW_WORD: Final = 0xFFFFFFFF
_WORD_BITS: Final = 32
_MULTIPLIERS: Final = (0xD2511F53, 0xCD9E8D57)
_WEYL: Final = (0x9E3779B9, 0xBB67AE85)
_ROUNDS: Final = 10
_EVENT_KEY_DOMAIN: Final = 0x6E756265

_UNIFORM_STEP: Final = 2.0**-52
_COARSE_STEP: Final = 2.0**-32


@functools.cache
def _constants(device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.tensor(_MULTIPLIERS, device=device), torch.tensor(_WEYL, device=device)


def philox4x32(key: Tensor, counter: Tensor) -> Tensor:
    """Scramble 128-bit counters with 64-bit keys (Philox4x32, ten rounds).

    Args:
        key: (2, ...) int64, the two 32-bit words of each key.
        counter: (4, ...) int64, the four 32-bit words of each counter; shapes broadcast.

    Returns:
        (4, ...) int64, four random 32-bit words for each counter.
    """
    shape = (2,) + (1,) * (counter.dim() - 1)
    multiplier, weyl = (constant.view(shape) for constant in _constants(counter.device))
    even, odd = counter[0::2], counter[1::2]
    for _ in range(_ROUNDS):
        # Each half of the state is made from the product of the other.
        product = (even * multiplier).flip(0)
        even = ((product >> _WORD_BITS) ^ odd ^ key) & _LOW_WORD
        odd = product & _LOW_WORD
        # Only the low 32 bits of the key count, so that it need not be wrapped.
        key = key + weyl
    return torch.stack((even[0], odd[0], even[1], odd[1]))


def _words_of(number: Tensor) -> tuple[Tensor, Tensor]:
    return number & _LOW_WORD, (number >> _WORD_BITS) & _LOW_WORD


def event_keys(seed: int, event_id: Tensor) -> Tensor:
    """Derive the 64-bit keys of events, (E,) int64 in two's complement.

    Args:
        seed: the seed of the whole simulation, from 0 to 2^64 - 1.
        event_id: (E,) int64.
    """
    low, high = _words_of(event_id)
    counter = torch.stack((low, high, torch.full_like(low, _EVENT_KEY_DOMAIN), torch.zeros_like(low)))
    key = torch.tensor((seed & _LOW_WORD, seed >> _WORD_BITS), device=event_id.device)
    words = philox4x32(key[:, None], counter)
    return (words[1] << _WORD_BITS) | words[0]


def random_words(key: Tensor, channel: Tensor, purpose: Tensor | int, counter: Tensor | int) -> Tensor:
    """Draw 128 random bits for each entry, as (4, ...) 32-bit words in int64.

    Args:
        key: from :func:`event_keys`.
        channel: 64-bit identity of the pixel the draw belongs to.
        purpose: small number that tells the uses of one channel apart; its shape may add to the others'.
        counter: tick or trial, 0 or above.
    """
    counter = counter if isinstance(counter, Tensor) else key.new_full((), counter)
    purpose = purpose if isinstance(purpose, Tensor) else key.new_full((), purpose)
    shape = np.broadcast_shapes(key.shape, channel.shape, counter.shape, purpose.shape)
    state = torch.stack([word.expand(shape) for word in (counter, purpose, *_words_of(channel))])
    keys = torch.stack([word.expand(shape) for word in _words_of(key)])
    return philox4x32(keys, state)


def uniforms(words: Tensor) -> Tensor:
    """Turn (4, ...) words into (2, ...) independent float64 numbers uniform in the open interval (0, 1)."""
    return (((words[1::2] << 20) | (words[0::2] >> 12)).double() + 0.5) * _UNIFORM_STEP


def coarse_uniforms(words: Tensor) -> Tensor:
    """Turn words of 32 bits, one by one, into float64 numbers uniform in (0, 1), in steps of 2^-32."""
    return (words.double() + 0.5) * _COARSE_STEP


def normals(words: Tensor) -> Tensor:
    """Turn (4, ...) words into (2, ...) independent standard normal numbers (Box-Muller), float64."""
    first, second = uniforms(words)
    radius, angle = (-2.0 * first.log()).sqrt(), 2.0 * math.pi * second
    return torch.stack((radius * angle.cos(), radius * angle.sin()))
