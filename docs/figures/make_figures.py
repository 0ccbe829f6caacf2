"""Draw the figures of ``docs/physics.md`` and say the numbers that it quotes from them.

Run as ``python docs/figures/make_figures.py``, from anywhere; it takes a minute. It needs the folder of reference runs
of other programs: the one that ``NUBENCH_REFERENCE`` names, or else ``shared/reference`` beside the repository.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import matplotlib as mpl
import seaborn as sns
from response_figures import draw_efficiency, draw_induction, draw_response, draw_shifts
from truth_figures import draw_muon_range, draw_showers

FOLDER = Path(__file__).resolve().parent
STYLE = {
    "axes.grid": False,
    "axes.titlelocation": "left",
    "axes.titlesize": "medium",
    "figure.constrained_layout.use": True,
    "figure.dpi": 150,
    "legend.frameon": False,
    "savefig.dpi": 150,
}


def find_reference() -> Path:
    """Return the folder of reference runs.

    Raises:
        SystemExit: when it is absent.
    """
    folder = Path(os.environ.get("NUBENCH_REFERENCE", FOLDER.parents[2] / "shared" / "reference"))
    if not folder.is_dir():
        raise SystemExit(f"no reference data at {folder}; set NUBENCH_REFERENCE to the folder that holds larndsim/")
    return folder


def main() -> None:
    """Draw every figure into the folder of this script."""
    reference = find_reference()
    mpl.use("agg")
    sns.set_theme(context="paper", style="ticks", palette="colorblind", rc=STYLE)
    drawings = {
        "muon-range": draw_muon_range,
        "showers": draw_showers,
        "induction": draw_induction,
        "response": draw_response,
        "efficiency": draw_efficiency,
        "shifts": draw_shifts,
    }
    for name, draw in drawings.items():
        figure, numbers = draw(reference)
        sns.despine(figure)
        # Without the name of the program, the same figure is the same file.
        figure.savefig(FOLDER / f"{name}.png", metadata={"Software": None})
        sys.stdout.write(f"{name}\n" + "".join(f"  {line}\n" for line in numbers))


if __name__ == "__main__":
    main()
