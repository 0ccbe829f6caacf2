"""Figures of the truth: ranges of muons and profiles of showers, from Geant4 with the stand-in data."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter, ScalarFormatter
from scipy.optimize import curve_fit
from scipy.stats import gamma

from nubench.containers import Float64
from nubench.simulation import geant4
from nubench.simulation.compaction import Steps
from nubench.simulation.particle_gun import ParticleGun, Species
from nubench.simulation.standin_data import write_standin_data

DENSITY = 1.396  # g/cm3
# Review of Particle Physics, liquid argon.
RADIATION_LENGTH = 14.00  # cm
MOLIERE_RADIUS = 9.04  # cm
ARGON, LEAD = 18, 82
CRITICAL_ENERGY = {ARGON: 32.84, LEAD: 7.43}  # MeV, of electrons

LOWEST_MUON_ENERGY, HIGHEST_MUON_ENERGY = 50.0, 1000.0  # MeV, of the samples
MUONS = 200
SHOWER_ENERGY = 1000.0  # MeV
SHOWERS = 500
CHUNK = 100  # events that are held in memory at a time
SPECIES = {"electrons": 11, "photons": 22}


class Profile(NamedTuple):
    """Where N showers left their energy.

    Attributes:
        deposited: (N,) MeV.
        depth, radius: (D,) of each deposit along and about the direction of the primary, cm.
        birth_radius: (D,) where the track that made the deposit began, cm.
        displacement: (D,) across the direction of the primary from there to the deposit, cm.
        energy: (D,) MeV.
    """

    deposited: Float64
    depth: Float64
    radius: Float64
    birth_radius: Float64
    displacement: Float64
    energy: Float64


def _use_data(directory: str) -> None:
    os.environ[geant4.DATA_VARIABLE] = directory


def _fire(pdg: int, energy: float, events: int) -> Iterator[tuple[Steps, Steps, int]]:
    """Fire particles along z; give lines, points and the number of events of each chunk."""
    gun = ParticleGun((Species(0, (pdg,), (energy, energy)),), (0, 0, 0), (0, 0, 0))
    simulation = geant4.build_simulation(geant4.Geant4Settings("G4_lAr"))
    for first in range(0, events, CHUNK):
        count = min(CHUNK, events - first)
        primaries, position = gun.fire(np.zeros(count, np.int64), first + np.arange(count), seed=1)
        along_z = np.tile(np.asarray([0, 0, 1], np.float32), (count, 1))
        lines, points = geant4.simulate_steps(simulation, replace(primaries, direction=along_z), position)
        yield lines, points, count


def muon_lengths(energy: float, events: int) -> Float64:
    """Return the path of each muon, cm."""
    lengths = []
    for lines, _, count in _fire(13, energy, events):
        own = lines.track == 1
        step = np.linalg.norm(lines.end - lines.start, axis=0)
        lengths.append(np.bincount(lines.event[own], step[own], count))
    return np.concatenate(lengths)


def shower_profile(pdg: int, energy: float, events: int) -> Profile:
    """Return where showers left their energy."""
    chunks = []
    for lines, points, count in _fire(pdg, energy, events):
        _, first, track = np.unique(lines.event << 32 | lines.track, return_index=True, return_inverse=True)
        born = np.hstack([lines.start[:, first][:, track], points.start])
        middle = np.hstack([(lines.start + lines.end) / 2, points.start])
        deposit = np.concatenate([lines.energy, points.energy])
        deposited: Float64 = np.bincount(np.concatenate([lines.event, points.event]), deposit, count).astype(np.float64)
        radius, birth_radius, displacement = (np.hypot(*place[:2]) for place in (middle, born, middle - born))
        chunks.append(Profile(deposited, middle[2], radius, birth_radius, displacement, deposit))
    return Profile(*(np.concatenate(parts) for parts in zip(*chunks, strict=True)))


@contextmanager
def _geant4() -> Iterator[ProcessPoolExecutor]:
    """Start a process for Geant4, which fixes its data directory when it starts."""
    with tempfile.TemporaryDirectory() as folder:
        data = write_standin_data(Path(folder) / "standin")
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context, initializer=_use_data, initargs=(str(data),)) as executor:
            yield executor


def draw_muon_range(reference: Path) -> tuple[Figure, list[str]]:
    """Range of muons against the table of Groom et al., and the ratio.

    Args:
        reference: folder of the table.

    Returns:
        The figure and what it says in numbers.
    """
    table = np.loadtxt(reference / "csda" / "muE_liquid_argon.table", skiprows=1, usecols=(0, 8))
    energy, published = table[(table[:, 0] >= LOWEST_MUON_ENERGY) & (table[:, 0] <= HIGHEST_MUON_ENERGY)].T
    with _geant4() as executor:
        samples = [executor.submit(muon_lengths, value, MUONS).result() * DENSITY for value in energy.tolist()]
    # The few muons that decayed or radiated on their way are left out.
    stopped = [sample[sample > 0.85 * value] for sample, value in zip(samples, published, strict=True)]
    mean = np.array([sample.mean() for sample in stopped])
    error = np.array([sample.std() / np.sqrt(len(sample)) for sample in stopped])

    figure, (above, below) = plt.subplots(2, sharex=True, figsize=(4.6, 4.2), height_ratios=(2.2, 1))
    above.plot(energy, published, color="0.4", label="Groom et al. 2001, tabulated")
    above.plot(energy, mean, "o", color="C0", markersize=4, label="Geant4 with the stand-in data")
    above.set(xscale="log", yscale="log", ylabel="range, g/cm$^2$", title="Muons in liquid argon")
    above.set_yticks([20, 50, 100, 200, 500])
    above.yaxis.set_major_formatter(ScalarFormatter())
    above.minorticks_off()
    above.legend()
    below.axhspan(0.98, 1.02, color="0.92", linewidth=0)
    below.axhline(1, color="0.4")
    below.errorbar(energy, mean / published, error / published, fmt="o", color="C0", markersize=4)
    below.annotate("2% to either side", (0.99, 0.98), xycoords=("axes fraction", "data"), ha="right", va="bottom")
    below.set(ylim=(0.97, 1.03), xlabel="kinetic energy, MeV", ylabel="ratio", xticks=(50, 100, 200, 500, 1000))
    below.xaxis.set_major_formatter(ScalarFormatter())
    below.minorticks_off()
    ratio = mean / published
    span = f"ratio {ratio.min():.3f} to {ratio.max():.3f}, mean {ratio.mean():.3f}"
    return figure, [f"{len(energy)} energies, {MUONS} muons each: {span}"]


def draw_showers(reference: Path) -> tuple[Figure, list[str]]:
    """Longitudinal and transverse profiles of showers in liquid argon.

    Args:
        reference: not used; the curves are formulas.

    Returns:
        The figure and what it says in numbers.
    """
    del reference
    with _geant4() as executor:
        profiles = {
            name: executor.submit(shower_profile, pdg, SHOWER_ENERGY, SHOWERS).result() for name, pdg in SPECIES.items()
        }
    figure, (along, across) = plt.subplots(1, 2, figsize=(7.2, 3.2))
    numbers = [_draw_depth(along, name, profile, f"C{index}") for index, (name, profile) in enumerate(profiles.items())]
    shape, slope = grindhammer_peters_depth(ARGON)
    depth = np.linspace(0, 16, 321)
    along.plot(
        depth, _gamma_density(depth, shape, slope), "--", color="0.4", label="Grindhammer and Peters,\nelectrons"
    )
    along.set(xlabel="depth, radiation lengths", ylabel="share of the energy per radiation length", xlim=(0, 16))
    along.set(ylim=(0, None), title=f"Along, {SHOWER_ENERGY:.0f} MeV in liquid argon")
    along.legend()
    numbers.append(f"Grindhammer and Peters: mean depth {shape / slope:.2f} X0, maximum {(shape - 1) / slope:.2f} X0")
    maximum = np.log(SHOWER_ENERGY / CRITICAL_ENERGY[ARGON]) - 0.5
    numbers.append(f"Review of Particle Physics: maximum of electrons {maximum:.2f} X0")
    for index, (name, profile) in enumerate(profiles.items()):
        _draw_outside(across, profile.radius, profile.energy, color=f"C{index}", label=name)
        numbers.append(_describe_width(name, profile))
    electrons = profiles["electrons"]
    label = "electrons, from where\neach track began"
    _draw_outside(across, electrons.displacement, electrons.energy, color="C0", linestyle=":", label=label)
    radius = np.linspace(0, 40, 401)
    outside = grindhammer_peters_outside(ARGON, radius / MOLIERE_RADIUS)
    across.plot(radius, outside, "--", color="0.4", label="Grindhammer and Peters")
    numbers += [f"Grindhammer and Peters, {_describe_curve(z)}" for z in (ARGON, LEAD)]
    across.axvline(MOLIERE_RADIUS, color="0.4", linewidth=0.8)
    across.annotate(" Molière radius", (MOLIERE_RADIUS, 0.011), color="0.4")
    across.set(xlim=(0, 40), yscale="log", ylim=(0.01, 1), xlabel="radius, cm", ylabel="share of the energy outside")
    across.set_title("Across the direction of the primary")
    across.set_yticks([0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1])
    across.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    across.minorticks_off()
    across.legend(loc="upper right")
    return figure, numbers


def grindhammer_peters_depth(z: int) -> tuple[float, float]:
    """Shape and inverse scale of the mean longitudinal profile of electrons of 1 GeV.

    A gamma distribution in radiation lengths, G. Grindhammer and S. Peters, hep-ex/0001020, homogeneous media.

    Args:
        z: atomic number, of argon or lead.
    """
    log_y = np.log(1000.0 / CRITICAL_ENERGY[z])
    shape = 0.21 + (0.492 + 2.38 / z) * log_y
    return float(shape), float((shape - 1) / (log_y - 0.858))


def grindhammer_peters_outside(z: int, radius: Float64) -> Float64:
    """Share of the energy outside a radius, for electrons of 1 GeV: their radial profile integrated over the depth.

    Args:
        z: atomic number, of argon or lead.
        radius: (R,) in Moliere radii.

    Returns:
        (R,) shares.
    """
    shape, slope = grindhammer_peters_depth(z)
    depth = np.linspace(0.005, 40, 4000)  # radiation lengths
    weight = _gamma_density(depth, shape, slope)
    age = depth * slope / (shape - 1)  # 1 at the maximum
    core = 0.0251 + (0.1162 - 0.000381 * z) * age
    tail = (0.659 - 0.00309 * z) * (np.exp(-2.59 * (age - 0.645)) + np.exp(0.3585 * (age - 0.645)))
    reduced = (0.401 + 0.00187 * z - age) / 1.313
    in_core = np.clip((2.632 - 0.00094 * z) * np.exp(reduced - np.exp(reduced)), 0, 1)
    squared = radius[:, None] ** 2
    outside = in_core * core**2 / (squared + core**2) + (1 - in_core) * tail**2 / (squared + tail**2)
    return np.asarray(outside @ weight / weight.sum())


def _gamma_density(depth: Float64, shape: float, slope: float) -> Float64:
    return np.asarray(gamma.pdf(depth, shape, scale=1 / slope))


def _draw_depth(axes: Axes, name: str, profile: Profile, color: str) -> str:
    depth = profile.depth / RADIATION_LENGTH
    share, edges = np.histogram(depth, np.linspace(0, 16, 65), weights=profile.energy)
    share = share / profile.energy.sum() / np.diff(edges)
    axes.stairs(share, edges, color=color, label=name)
    middle = (edges[1:] + edges[:-1]) / 2
    (shape, slope), _ = curve_fit(_gamma_density, middle, share, (3, 0.5))
    return (
        f"{name}: deposited {profile.deposited.mean() / SHOWER_ENERGY:.4f}, "
        f"without nuclear reaction {np.mean(profile.deposited > SHOWER_ENERGY - 1e-3):.3f}; "
        f"mean depth {np.average(depth, weights=profile.energy):.2f} X0, maximum {(shape - 1) / slope:.2f} X0, "
        f"slope {slope:.2f}, 95% within {_quantile(depth, profile.energy, 0.95) * RADIATION_LENGTH:.0f} cm"
    )


def _draw_outside(axes: Axes, radius: Float64, energy: Float64, **style: Any) -> None:
    edges = np.linspace(0, 40, 161)
    inside, _ = np.histogram(radius, edges, weights=energy)
    axes.plot(edges, 1 - np.concatenate([[0], np.cumsum(inside)]) / energy.sum(), **style)


def _describe_width(name: str, profile: Profile) -> str:
    outside = profile.radius > MOLIERE_RADIUS
    born_outside = outside & (profile.birth_radius > MOLIERE_RADIUS)
    held = [_quantile(profile.radius, profile.energy, fraction) for fraction in (0.5, 0.9, 0.95)]
    return (
        f"{name}: 50 / 90 / 95% within {held[0]:.2f} / {held[1]:.1f} / {held[2]:.1f} cm; "
        f"{profile.energy[outside].sum() / profile.energy.sum():.3f} outside the Moliere radius, of which "
        f"{profile.energy[born_outside].sum() / profile.energy[outside].sum():.3f} by tracks born there; "
        f"90% within {_quantile(profile.displacement, profile.energy, 0.9):.1f} cm of the birth of the track"
    )


def _describe_curve(z: int) -> str:
    radius = np.linspace(0, 10, 2001)
    outside = grindhammer_peters_outside(z, radius)
    held = [float(np.interp(fraction, 1 - outside, radius)) for fraction in (0.5, 0.9)]
    return (
        f"Z = {z}: 50 / 90% within {held[0]:.2f} / {held[1]:.2f} Moliere radii, "
        f"{np.interp(1, radius, 1 - outside):.2f} within one"
    )


def _quantile(value: Float64, weight: Float64, fraction: float) -> float:
    order = np.argsort(value)
    held = np.cumsum(weight[order])
    return float(value[order][np.searchsorted(held, fraction * held[-1])])
