"""A second front end to test against: every pixel at every tick in double precision, with ordinary random numbers."""

from __future__ import annotations

import math

import numpy as np

from nubench.simulation.lartpc.frontend import FrontEnd


def dense_front_end(
    charge: np.ndarray, front_end: FrontEnd, noise: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every pixel at every tick, by the letter of the front end's steps.

    Args:
        charge: (P, T) electrons in each tick.
        front_end: the settings.
        noise: where all noise is drawn from.

    Returns:
        (P,) hits, (P, 10) tick of each, (P, 10) charge of each.
    """
    pixels, ticks = charge.shape
    keep = math.exp(-0.1 / front_end.buffer_risetime)
    collected = noise.normal(0.0, front_end.reset_noise, pixels)
    buffered = np.zeros(pixels)
    integrating = np.zeros(pixels, int)
    sampling = np.zeros(pixels, bool)
    busy = np.zeros(pixels, int)
    hits = np.zeros(pixels, int)
    hit_tick = np.zeros((pixels, 10), int)
    hit_charge = np.zeros((pixels, 10))

    def draw(width: float) -> np.ndarray:
        return noise.normal(0.0, width, pixels)

    for tick in range(ticks + 20):
        if sampling.any():
            sampled = collected + draw(front_end.uncorrelated_noise)
            threshold = front_end.discriminator_threshold + draw(front_end.discriminator_noise)
            accepted = np.flatnonzero(sampling & (sampled >= threshold) & (hits < 10))
            hit_tick[accepted, hits[accepted]] = tick
            hit_charge[accepted, hits[accepted]] = sampled[accepted]
            hits[accepted] += 1
            busy[accepted] = 9
            collected = np.where(sampling, draw(front_end.reset_noise), collected)
            buffered[sampling] = 0.0
        idle = ~sampling
        arriving = charge[:, tick] if tick < ticks else 0.0
        buffered = np.where(idle, buffered * keep + arriving * (1.0 - keep), buffered)
        collected = np.where(idle, collected + buffered, collected)
        waiting = idle & (integrating == 0)
        busy = np.where(waiting & (busy > 0), busy - 1, busy)
        sampling = idle & (integrating == 1)
        integrating = np.maximum(integrating - 1, 0)
        if tick < ticks:
            above = collected + draw(front_end.uncorrelated_noise) >= (
                front_end.discriminator_threshold + draw(front_end.discriminator_noise)
            )
            integrating[waiting & above & (busy == 0)] = 18
    return hits, hit_tick, hit_charge
