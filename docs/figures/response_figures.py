"""Figures of the detector response against runs of larnd-sim."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import h5py
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from numba import njit

from nubench.containers import Deposits, Float64, Int64
from nubench.simulation.lartpc import TABLE_I, VOXEL_CM, LArTPCParameters, simulate_hits
from nubench.simulation.lartpc.frontend import adc_of_charge, front_end_of, hits_above_pedestal, read_pixel
from nubench.simulation.lartpc.induction import cumulative_charge
from nubench.simulation.random_streams import event_key

SEEDS = 10
FRONT_END_SEEDS = 20
MUONS = 40
GAP_EVENTS = (0, 27)
"""Events whose track crosses a gap between modules in the reference; there are no gaps here."""

PEDESTAL = 74
REFERENCE_TICK_US = 320.0 / 3201  # the reference samples its waveforms at a tick that is a hair shorter
REFERENCE_NAMES = {
    "reset_noise": "reset_noise_charge",
    "uncorrelated_noise": "uncorrelated_noise_charge",
    "discriminator_threshold": "discrimination_threshold",
}
REFERENCE_RUNS = 3
TABLE_BIN_CM, TABLE_BIN_US = 0.038, 0.05
MINUS = "\N{MINUS SIGN}"
OURS, THEIRS = "this simulation", "larnd-sim"


def draw_induction(reference: Path) -> tuple[Figure, list[str]]:
    """Charge induced on a pixel by a charge that approaches, against the table of larnd-sim.

    Args:
        reference: folder of the table.

    Returns:
        The figure and what it says in numbers.
    """
    table = np.cumsum(np.load(reference / "larndsim" / "response_38_nearfield.npy"), axis=2) * TABLE_BIN_US
    arrival = 2 + int(np.flatnonzero(np.diff(table[0, 0]) > 1e-9)[-1])  # ticks up to the last one with current
    time = (np.arange(table.shape[2], dtype=np.float64) + 1 - arrival) * TABLE_BIN_US
    place = (np.arange(table.shape[0], dtype=np.float64) + 0.5) * TABLE_BIN_CM
    model = cumulative_charge(place[:, None, None], place[None, :, None], time[None, None] - 1e-9)

    figure, axes = plt.subplots(figsize=(4.8, 3.4))
    for index, row in enumerate((0, 3, 4, 5, 7, 10)):
        color = f"C{index}"
        axes.plot(time, model[row, 0], color=color, label=f"{place[row]:.3f} cm")
        axes.plot(time[::2], table[row, 0, ::2], "o", color=color, markersize=2.5)
    axes.set(
        xlim=(-4, 0.3), ylim=(-0.02, 1.04), xlabel="time from the arrival, us", ylabel="share of the charge induced"
    )
    axes.set_title("Lines: model; dots: table of larnd-sim")
    axes.legend(title="from the centre\nof the pixel", loc="upper left")
    difference = model - table
    numbers = [
        f"RMS of the difference {np.sqrt(np.mean(difference**2)):.4f} over the table, "
        f"{np.sqrt(np.mean(difference[:, :, time > -4] ** 2)):.4f} in the last 4 us"
    ]
    return figure, numbers


def draw_response(reference: Path) -> tuple[Figure, list[str]]:
    """ADC of all hits and number of hits of each event, for 40 muons.

    Args:
        reference: folder of the segments and of the hits that larnd-sim made of them.

    Returns:
        The figure and what it says in numbers.
    """
    deposits = _read_segments(reference / "larndsim" / "in_muons40.h5")
    theirs = np.load(reference / "larndsim" / "out_muons40_nominal_authorfmt.npz")
    adc, counts = _simulate_seeds(deposits)
    _, aligned = _simulate_seeds(_align_pixels(deposits, theirs["coordinates"], theirs["event"]))
    their_counts = np.bincount(theirs["event"], minlength=MUONS)

    figure, (spectrum, events) = plt.subplots(1, 2, figsize=(7.2, 3.2))
    edges = np.arange(76.5, 113, 2.0)
    ours, _ = np.histogram(adc, edges)
    data, _ = np.histogram(theirs["adc"], edges)
    spectrum.stairs(
        ours / SEEDS, edges, fill=True, color="C0", alpha=0.3, label=f"{OURS},\nmean of {SEEDS} noise seeds"
    )
    spectrum.stairs(ours / SEEDS, edges, color="C0")
    middle, seen = (edges[1:] + edges[:-1])[data > 0] / 2, data[data > 0]
    spectrum.errorbar(middle, seen, np.sqrt(seen), fmt="o", color="k", markersize=3, label=THEIRS)
    spectrum.set(ylim=(0, 310), xlabel="ADC counts", ylabel="hits per 2 counts", title="Hits of 40 muons")
    spectrum.legend(loc="upper left")

    whole = np.ones(MUONS, np.bool_)
    whole[list(GAP_EVENTS)] = False
    for chosen, fill, label in ((whole, "C0", "one muon"), (~whole, "none", f"crosses a gap\nin {THEIRS}")):
        events.errorbar(
            their_counts[chosen],
            aligned.mean(axis=0)[chosen],
            aligned.std(axis=0)[chosen],
            fmt="o",
            color="C0",
            markerfacecolor=fill,
            markersize=4,
            linewidth=0.8,
            label=label,
        )
    events.plot([10, 65], [10, 65], color="0.4", linewidth=0.8)
    events.set(xlabel=f"hits in {THEIRS}", ylabel=f"hits in {OURS}", xlim=(10, 65), ylim=(10, 65))
    events.set_title("Pixels where the reference has them")
    events.legend(loc="upper left")

    energy, total = float(deposits.energy.sum()), len(theirs["adc"])
    percentiles = (5, 25, 50, 75, 95)
    ratio = aligned.mean(axis=0)[whole] / their_counts[whole]
    numbers = [
        f"hits {counts.mean(axis=0).sum():.0f}, aligned {aligned.mean(axis=0).sum():.0f}, larnd-sim {total}; per MeV "
        f"{counts.mean(axis=0).sum() / energy:.3f} and {total / energy:.3f}",
        f"ADC mean {adc.mean():.2f} and {theirs['adc'].mean():.2f}; percentiles {percentiles} "
        f"{np.percentile(adc, percentiles)} and {np.percentile(theirs['adc'], percentiles)}",
        f"hits of an event, quartiles {np.percentile(counts, (0, 25, 50, 75, 100))} and "
        f"{np.percentile(their_counts, (0, 25, 50, 75, 100))}",
        f"aligned, without the two at a gap: hits {aligned.mean(axis=0)[whole].sum() / their_counts[whole].sum():.3f} "
        f"of larnd-sim's, events spread by {ratio.std():.3f}",
    ]
    return figure, numbers


def draw_efficiency(reference: Path) -> tuple[Figure, list[str]]:
    """How often the front end makes a hit of the charge on a pixel, on the waveforms of larnd-sim.

    Args:
        reference: folder of the waveforms and of the runs of larnd-sim's front end on them.

    Returns:
        The figure and what it says in numbers.
    """
    charge, throws = _read_waveforms(reference)
    first = np.load(reference / "larndsim" / "wf_muons15.npz")["adc"]
    total = charge.sum(axis=1, dtype=np.float64) / 1000
    their_runs = np.array([run[:, 0] > PEDESTAL for run in (first, throws["nominal_adc"], throws["nominal_seed2_adc"])])
    ours = np.mean([adc[:, 0] > 0 for adc in _digitise_seeds(charge, LArTPCParameters())], axis=0)

    edges = np.array([2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15], float)
    figure, axes = plt.subplots(figsize=(4.8, 3.4))
    numbers = ["charge, 1000 e: pixels, here, larnd-sim with the binomial error expected of its three runs"]
    for low, high in pairwise(edges.tolist()):
        chosen = (total >= low) & (total < high)
        expected, seen = float(ours[chosen].mean()), float(their_runs[:, chosen].mean())
        # The pixels are the same in all runs, only their noise is not.
        error = float(np.sqrt(np.sum(ours[chosen] * (1 - ours[chosen])) / REFERENCE_RUNS)) / int(chosen.sum())
        label = low == edges[0]
        axes.fill_between(
            [low, high],
            max(expected - error, 0),
            min(expected + error, 1),
            color="C0",
            alpha=0.3,
            linewidth=0,
            label=f"{OURS},\nand 1 sigma of three runs" if label else None,
        )
        axes.plot([low, high], [expected, expected], color="C0")
        binomial = float(np.sqrt(seen * (1 - seen) / their_runs[:, chosen].size))
        axes.errorbar(
            (low + high) / 2, seen, binomial, fmt="o", color="k", markersize=4, label=THEIRS if label else None
        )
        numbers.append(f"{low:.0f} to {high:.0f}: {chosen.sum()}, {expected:.2f}, {seen:.2f} +- {error:.2f}")
    axes.set(xlabel="charge induced on the pixel, 1000 e", ylabel="share of pixels with a hit", ylim=(-0.02, 1.05))
    axes.legend(loc="center right")
    return figure, numbers


def draw_shifts(reference: Path) -> tuple[Figure, list[str]]:
    """What one standard deviation of each parameter does to the mean ADC, on the waveforms of larnd-sim.

    Args:
        reference: folder of the waveforms and of the runs of larnd-sim's front end on them.

    Returns:
        The figure and what it says in numbers.
    """
    charge, throws = _read_waveforms(reference)
    nominal = LArTPCParameters()
    before = _mean_adc(_digitise_seeds(charge, nominal), 0)
    their_before = _mean_adc([throws["nominal_adc"]], PEDESTAL)
    numbers, rows = ["parameter, sign: shift of the mean ADC here and in larnd-sim"], []
    for name, width in TABLE_I.items():
        for sign in (1, -1):
            thrown = LArTPCParameters.from_mapping({name: getattr(nominal, name) * (1 + sign * width)})
            key = REFERENCE_NAMES.get(name, name) + ("p1s" if sign > 0 else "m1s")
            ours = _mean_adc(_digitise_seeds(charge, thrown), 0) - before
            theirs = _mean_adc([throws[f"{key}_adc"]], float(throws[key][0])) - their_before
            rows.append((name, sign, ours, theirs))
            numbers.append(f"{name} {sign:+d}: {ours:+.2f}, {theirs:+.2f}")

    figure, axes = plt.subplots(figsize=(6.4, 4.0))
    place = {name: -index for index, name in enumerate(TABLE_I)}
    for sign, color in ((1, "C0"), (-1, "C1")):
        chosen = [row for row in rows if row[1] == sign]
        at = np.array([place[name] for name, *_ in chosen]) + 0.15 * sign
        label = f"{'+' if sign > 0 else MINUS}1 sigma"
        here, there = ([row[column] for row in chosen] for column in (2, 3))
        axes.plot(here, at, "o", color=color, markersize=5, label=f"{label}, {OURS}")
        axes.plot(there, at, "o", color=color, markersize=9, fillstyle="none", label=f"{label}, {THEIRS}")
    axes.axvline(0, color="0.4", linewidth=0.8)
    axes.set_xscale("symlog", linthresh=0.3, linscale=0.6)
    axes.set(xlabel="shift of the mean ADC, counts", xlim=(-45, 45))
    ticks = [-30, -10, -3, -1, 0, 1, 3, 10, 30]
    axes.set_xticks(ticks, [f"{tick:+d}".replace("-", MINUS) if tick else "0" for tick in ticks])
    axes.minorticks_off()
    axes.set_yticks(list(place.values()), list(place))
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return figure, numbers


def _read_segments(file: Path) -> Deposits:
    with h5py.File(file) as handle:
        segments = handle["segments"][:]
    offsets = np.searchsorted(segments["eventID"], np.arange(MUONS + 1)).astype(np.int64)
    start, end = (np.column_stack([segments[axis + side] for axis in "xyz"]) for side in ("_start", "_end"))
    return Deposits(offsets, start, end, segments["dE"], segments["t"])


def _align_pixels(deposits: Deposits, coordinates: Float64, event: Int64) -> Deposits:
    """Move the deposits of each event across the drift until pixels lie where the reference has them."""
    start, end = deposits.start.astype(np.float64), deposits.end.astype(np.float64)
    for index in range(MUONS):
        rows = slice(deposits.offsets[index], deposits.offsets[index + 1])
        centre = np.median(coordinates[event == index] / VOXEL_CM % 1.0, axis=0)
        shift = np.array([0, *(0.5 - centre[1:]) * VOXEL_CM])
        start[rows] += shift
        end[rows] += shift
    return replace(deposits, start=start.astype(np.float32), end=end.astype(np.float32))


def _simulate_seeds(deposits: Deposits) -> tuple[Float64, Float64]:
    """Return the ADC counts of the hits of all noise seeds together, and (seeds, events) numbers of hits."""
    runs = [simulate_hits(deposits, np.arange(MUONS), LArTPCParameters(), seed) for seed in range(SEEDS)]
    adc = np.concatenate([hits.adc for hits in runs]).astype(np.float64)
    return adc, np.array([np.diff(hits.offsets) for hits in runs], np.float64)


def _read_waveforms(reference: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the charge (P, T) in each tick of each pixel, and every run of larnd-sim's front end on it."""
    waveforms = np.load(reference / "larndsim" / "wf_muons15.npz")["waveforms"]
    throws = dict(np.load(reference / "larndsim" / "wf_muons15_fee_throws.npz"))
    return waveforms * np.float32(REFERENCE_TICK_US), throws


def _digitise_seeds(charge: np.ndarray, parameters: LArTPCParameters) -> list[Float64]:
    return [_digitise(charge, seed, front_end_of(parameters)) for seed in range(FRONT_END_SEEDS)]


def _mean_adc(runs: list[Float64], pedestal: float) -> float:
    return float(np.mean(np.concatenate([adc[adc > pedestal] for adc in runs])))


@njit
def _digitise(charge, seed, front_end):  # type: ignore[no-untyped-def]
    """Run the front end on each pixel; give (P, 10) ADC counts, 0 where there is no hit."""
    adc = np.zeros((len(charge), 10))
    tick = np.zeros(10, np.int64)
    sampled = np.zeros(10)
    key = event_key(np.uint64(seed), np.uint64(0))
    for pixel in range(len(charge)):
        hits = read_pixel(charge[pixel], 0, 0, charge.shape[1], key, np.uint64(pixel), front_end, tick, sampled)
        for hit in range(hits_above_pedestal(sampled, hits, front_end)):
            adc[pixel, hit] = adc_of_charge(sampled[hit], front_end)
    return adc
