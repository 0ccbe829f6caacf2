"""Draw ``along-training.png`` from the files that ``scripts/accuracy_along_training.py`` wrote beside it.

Run as ``python docs/figures/along_training.py``, from anywhere; it takes seconds.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

FOLDER = Path(__file__).resolve().parent
#: Accuracy of summary-features-shape-only at this profile.
SHAPE_ONLY = 0.719


def read_files() -> dict[str, dict[str, Any]]:
    """Return what was found for each method, by its name."""
    found = [json.loads(path.read_text()) for path in sorted(FOLDER.glob("along-training-*.json"))]
    return {content["method"]: content for content in found}


def curves(content: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return views and accuracies in per cent along the training, each (snapshots,)."""
    rows = content["snapshots"]
    source, *targets = rows[0]["accuracy"]

    def mean(kind: str) -> np.ndarray:
        return np.array([100 * np.mean([row[kind][point] for point in targets]) for row in rows])

    return {
        "views": np.array([row["views"] for row in rows]) / 1000,
        "nominal": np.array([100 * row["accuracy"][source] for row in rows]),
        "targets": mean("accuracy"),
        "worst": np.array([100 * min(row["accuracy"][point] for point in targets) for row in rows]),
        "aligned": mean("aligned"),
    }


def draw_against_nominal(axes: Axes, found: dict[str, dict[str, Any]], colours: dict[str, Any]) -> None:
    """Draw mean accuracy at the targets against accuracy at nominal; a dot is a moment of the training."""
    for method, content in found.items():
        seen = curves(content)
        axes.plot(seen["nominal"], seen["targets"], "o-", color=colours[method], markersize=4, label=method)
        axes.plot(
            *(seen[kind][0] for kind in ("nominal", "targets")),
            marker="o",
            markersize=9,
            markerfacecolor="none",
            color=colours[method],
        )
        axes.plot(seen["nominal"], seen["aligned"], "^:", color=colours[method], markersize=4, alpha=0.6)
    axes.plot([], [], "^:", color="0.4", markersize=4, label="charge aligned")
    axes.plot([], [], "o", color="0.4", markersize=9, markerfacecolor="none", label="first moment")
    low, high = axes.get_xlim()
    axes.plot([low, high], [low, high], color="0.6", linewidth=1, zorder=0, label="nothing lost")
    axes.axvline(100 * SHAPE_ONLY, color="0.6", linewidth=1, linestyle="--", zorder=0)
    axes.set_ylim(top=105)
    axes.text(100 * SHAPE_ONLY + 0.4, 98, "shape alone", va="top", color="0.4")
    axes.set(xlabel="accuracy at nominal (%)", ylabel="mean accuracy at the six throws (%)")


def draw_along(axes: Axes, content: dict[str, Any], colour: Any) -> None:
    """Draw what a method reaches at nominal and at the throws against the views shown to it."""
    seen = curves(content)
    axes.plot(seen["views"], seen["nominal"], "-", color="0.2", label="nominal")
    axes.plot(seen["views"], seen["aligned"], ":", color=colour, label="throws, charge aligned")
    axes.plot(seen["views"], seen["targets"], "-", color=colour, label="throws, mean")
    axes.fill_between(
        seen["views"], seen["worst"], seen["targets"], color=colour, alpha=0.15, label="down to the worst"
    )
    axes.set(title=content["method"], xlabel="thousand event views", ylim=(0, 95))


def main() -> None:
    """Draw the figure into the folder of this script."""
    mpl.use("agg")
    sns.set_theme(context="paper", style="ticks", palette="colorblind", rc={"axes.titlelocation": "left"})
    found = read_files()
    colours = dict(zip(found, sns.color_palette("colorblind"), strict=False))
    figure = Figure(figsize=(3.4 * (len(found) + 1.3), 3.6), layout="constrained")
    first, *others = figure.subplots(1, len(found) + 1, width_ratios=[1.3, *[1] * len(found)])
    draw_against_nominal(first, found, colours)
    first.legend(frameon=False, loc="upper left", fontsize="small")
    for axes, (method, content) in zip(others, found.items(), strict=True):
        draw_along(axes, content, colours[method])
        axes.legend(frameon=False, loc="lower left")
    others[0].set_ylabel("accuracy (%)")
    sns.despine(figure)
    figure.savefig(FOLDER / "along-training.png", dpi=150, metadata={"Software": None})


if __name__ == "__main__":
    main()
