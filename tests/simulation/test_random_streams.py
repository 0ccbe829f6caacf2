"""The counter-based generator: known answers, distribution, independence of keys and counters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from scipy import stats

from nubench.simulation.random_streams import (
    event_key,
    normal_pair,
    philox4x32,
    poisson_quantile,
    random_words,
    uniform_of_quarter,
    uniform_pair,
)

DRAWS = 200_000

# Published with the generator (Random123, kat_vectors): key, counter, output.
KNOWN_ANSWERS = [
    ((0, 0), (0, 0, 0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 4, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0xA4093822, 0x299F31D0),
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]

words_of_32 = st.integers(0, 2**32 - 1)
words_of_64 = st.integers(0, 2**64 - 1)


def philox_by_the_paper(key: tuple[int, int], counter: tuple[int, int, int, int]) -> tuple[int, ...]:
    """Ten rounds in whole numbers of any size: another way to the same result."""
    (k0, k1), (c0, c1, c2, c3) = key, counter
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 % 2**32, (p0 >> 32) ^ c3 ^ k1, p0 % 2**32
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return c0, c1, c2, c3


def as_words(values: tuple[int, ...]) -> tuple[np.uint64, ...]:
    return tuple(np.uint64(value) for value in values)


@njit
def many_uniforms(key, channels, counters):  # type: ignore[no-untyped-def]
    drawn = np.empty((channels * counters, 2))
    for channel in range(channels):
        for counter in range(counters):
            drawn[channel * counters + counter] = uniform_pair(
                key, np.uint64(channel), np.uint64(7), np.uint64(counter)
            )
    return drawn


@njit
def many_normals(key, count):  # type: ignore[no-untyped-def]
    drawn = np.empty((count, 2))
    for counter in range(count):
        drawn[counter] = normal_pair(key, np.uint64(3), np.uint64(1), np.uint64(counter))
    return drawn


@pytest.mark.parametrize(("key", "counter", "answer"), KNOWN_ANSWERS)
def test_published_answers(key: tuple[int, ...], counter: tuple[int, ...], answer: tuple[int, ...]) -> None:
    assert philox4x32(*as_words(key), *as_words(counter)) == answer


@given(st.tuples(words_of_32, words_of_32), st.tuples(words_of_32, words_of_32, words_of_32, words_of_32))
def test_agrees_with_unbounded_arithmetic(key: tuple[int, int], counter: tuple[int, int, int, int]) -> None:
    assert philox4x32(*as_words(key), *as_words(counter)) == philox_by_the_paper(key, counter)


@given(words_of_64, words_of_64, words_of_32, words_of_32)
def test_words_are_the_block_of_channel_purpose_and_counter(key: int, channel: int, purpose: int, counter: int) -> None:
    block = philox_by_the_paper((key % 2**32, key >> 32), (counter, purpose, channel % 2**32, channel >> 32))
    expected = (block[1] << 32 | block[0], block[3] << 32 | block[2])
    assert random_words(*as_words((key, channel, purpose, counter))) == expected


def test_uniforms_are_uniform_and_uncorrelated() -> None:
    drawn = many_uniforms(np.uint64(event_key(np.uint64(1), np.uint64(2))), 200, DRAWS // 200)
    assert drawn.min() > 0.0
    assert drawn.max() < 1.0
    for column in drawn.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-4
    # Between the two of a pair, neighbouring counters and neighbouring channels.
    pairs = (drawn.T, (drawn[1:, 0], drawn[:-1, 0]), (drawn[DRAWS // 200 :, 0], drawn[: -DRAWS // 200, 0]))
    for first, second in pairs:
        assert abs(np.corrcoef(first, second)[0, 1]) < 5.0 / np.sqrt(DRAWS)


def test_normals_are_normal_to_the_tails() -> None:
    drawn = many_normals(np.uint64(99), DRAWS)
    for column in drawn.T:
        assert stats.kstest(column, "norm").pvalue > 1e-4
    beyond_3 = np.mean(np.abs(drawn) > 3.0)
    assert beyond_3 == pytest.approx(2 * stats.norm.sf(3.0), rel=0.15)
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 5.0 / np.sqrt(DRAWS)
    # Large values would show a radius that is shared by the pair.
    assert abs(np.corrcoef(drawn.T**2)[0, 1]) < 5.0 / np.sqrt(DRAWS)


def test_keys_of_neighbouring_events_and_seeds_give_independent_streams() -> None:
    keys = [event_key(np.uint64(seed), np.uint64(event)) for seed in range(30) for event in range(30)]
    assert len(set(keys)) == len(keys)
    first = many_normals(np.uint64(event_key(np.uint64(5), np.uint64(10))), DRAWS)[:, 0]
    for seed, event in ((5, 11), (6, 10), (10, 5)):
        other = many_normals(np.uint64(event_key(np.uint64(seed), np.uint64(event))), DRAWS)[:, 0]
        assert abs(np.corrcoef(first, other)[0, 1]) < 5.0 / np.sqrt(DRAWS)


def test_extreme_words_stay_inside_the_open_interval() -> None:
    for word in (0, 2**64 - 1):
        for quarter in range(4):
            assert 0.0 < uniform_of_quarter(as_words((word, word)), quarter) < 1.0


def test_quarters_are_the_four_words_of_the_block() -> None:
    words = as_words((0x11111111_22222222, 0x33333333_44444444))
    drawn = [uniform_of_quarter(words, quarter) * 2**32 - 0.5 for quarter in range(4)]
    assert drawn == [0x22222222, 0x11111111, 0x44444444, 0x33333333]


MEANS = [1e-9, 0.01, 0.7, 1.0, 5.04, 12.0, 49.9, 50.1, 80.9, 81.1, 82.3, 150.0, 700.0, 760.0, 5e3, 1e5]


@pytest.mark.parametrize("mean", MEANS)
def test_poisson_numbers_are_those_of_scipy(mean: float) -> None:
    random = np.random.default_rng(1)
    tails = 10.0 ** -np.arange(1.0, 11.0)
    for uniform in np.concatenate([random.random(400), tails, 1 - tails]):
        assert poisson_quantile(mean, uniform) == stats.poisson.ppf(uniform, mean), uniform


def test_a_mean_of_zero_gives_zero() -> None:
    assert poisson_quantile(0.0, 0.999999) == 0.0


@settings(max_examples=300)
@given(st.floats(0, 2000), st.floats(0, 50), st.floats(1e-12, 1 - 1e-12))
def test_a_higher_mean_never_gives_a_lower_number(mean: float, more: float, uniform: float) -> None:
    rounding = 1e-11  # of the sum, for the largest mean here: 2050 * log(2050) * 2e-16 with room
    lower = max(uniform - rounding, 1e-300)
    assert poisson_quantile(mean, lower) <= poisson_quantile(mean + more, uniform)


def test_close_to_one_the_rounding_of_the_sum_shifts_a_number_by_a_few_at_most() -> None:
    uniform = 1 - 1e-12
    for mean in (813.0, 814.0):
        assert abs(poisson_quantile(mean, uniform) - stats.poisson.ppf(uniform, mean)) <= 5


@pytest.mark.parametrize("uniform", [2.0**-53, 1 - 2.0**-53])
@pytest.mark.parametrize("mean", MEANS)
def test_the_rarest_numbers_end_the_sum_within_ten_deviations(mean: float, uniform: float) -> None:
    assert abs(poisson_quantile(mean, uniform) - mean) < 10 * np.sqrt(mean) + 25
