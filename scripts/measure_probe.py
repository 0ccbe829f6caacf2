"""Time the probe at the size of the paper: 100,000 events of 768 numbers in 5 classes, like embeddings.

    python scripts/measure_probe.py --device cuda

The numbers have 64 strong directions of falling strength, eight of which hold the classes, noise, and a floor. On the
processor both solvers are timed, on a GPU the one that runs there; a first, small fit warms up.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Annotated

import numpy as np
import torch
import typer

from nubench.containers import Float32, Int64
from nubench.evaluation.probe import Probe, fit_with_scikit_learn, fit_with_torch

CLASSES, DIRECTIONS, WITH_CLASSES, FLOOR = 5, 64, 8, -1.0


def like_embeddings(events: int, size: int) -> tuple[Float32, Int64]:
    """Made-up embeddings (events, size) and labels (events,)."""
    random = np.random.default_rng(0)
    labels = random.integers(CLASSES, size=events)
    directions = random.normal(size=(DIRECTIONS, size)) * np.arange(1, DIRECTIONS + 1)[:, None] ** -0.7
    latent = random.normal(size=(events, DIRECTIONS))
    latent[:, :WITH_CLASSES] += 0.7 * random.normal(size=(CLASSES, WITH_CLASSES))[labels]
    values = latent @ directions + 0.3 * random.normal(size=(events, size))
    return np.maximum(values, FLOOR).astype(np.float32), labels


def main(
    events: Annotated[int, typer.Option(min=100, help="number of events")] = 100_000,
    size: Annotated[int, typer.Option(min=1, help="numbers an event")] = 768,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
) -> None:
    """Time the probe."""
    if device == "cuda" and not torch.cuda.is_available():
        raise typer.BadParameter("no CUDA GPU is available; --device cpu times the processor")
    rows, labels = like_embeddings(events, size)
    solvers: dict[str, Callable[[Float32, Int64], Probe]] = {
        "Newton, torch": lambda rows, labels: fit_with_torch(rows, labels, CLASSES, device=device)
    }
    if device == "cpu":
        solvers["lbfgs, scikit-learn"] = fit_with_scikit_learn
    name = torch.cuda.get_device_name() if device == "cuda" else f"{os.cpu_count()} cores"
    for solver, fit in solvers.items():
        fit(rows[:500], labels[:500])
        start, cpu_start = time.perf_counter(), time.process_time()
        probe = fit(rows, labels)
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
        typer.echo(
            f"{solver}: {events:,} x {size}, {name}: {seconds:.1f} s, {cpu_seconds:.1f} s of processor, "
            f"{probe.iterations} steps, converged {probe.converged}"
        )


if __name__ == "__main__":
    typer.run(main)
