"""Checks that the same work done again, in other ways or elsewhere, gives the same; and what it takes."""

from __future__ import annotations

import time
from typing import Any, Final

import numpy as np

from nubench.authoring.comparing import ROUNDING, difference_of, in_words, largest_difference
from nubench.authoring.trial import SEED, Interruption, Outputs, Trial
from nubench.authoring.verdicts import CheckFailedError, CheckSkippedError

_ALONE: Final = 8


def check_batches(trial: Trial) -> str:
    """What an event gives does not depend on the events that stand beside it in a call."""
    model, events, whole = trial.fitted.model, trial.test, trial.outputs.named()
    count = len(events)
    order = np.random.default_rng(5).permutation(count)
    ways: dict[str, list[Any]] = {
        "each alone": [np.array([event]) for event in range(_ALONE)],
        "in another order": [order],
        "in two calls of other sizes": [np.arange(count // 3), np.arange(count // 3, count)],
    }
    worst = 0.0
    for way, calls in ways.items():
        where = np.concatenate(calls)
        pieces = [trial.apply(model, events.select(index)).named() for index in calls]
        for name, rows in whole.items():
            difference = difference_of(np.concatenate([piece[name] for piece in pieces]), rows[where])
            worst = max(worst, difference)
            if difference > ROUNDING:
                raise CheckFailedError(
                    f"{name} of events {way} differs from that of all at once by up to {difference:.2g}"
                )
    return f"each alone, in another order, in two calls: {in_words(worst)}"


def check_determinism(trial: Trial) -> str:
    """The same seed gives the same model; another one may give another."""
    difference = largest_difference(trial.outputs, _outputs_of(trial, "same-seed", SEED))
    if difference > ROUNDING:
        raise CheckFailedError(f"two fits with the same seed differ by up to {difference:.2g}")
    other = largest_difference(trial.outputs, _outputs_of(trial, "other-seed", SEED + 1))
    found = "another seed gives another model" if other > 0 else "the seed changes nothing"
    return f"same seed: {in_words(difference)}; {found}"


def check_resume(trial: Trial) -> str:
    """A training that is killed twice and called again ends where an uninterrupted one does."""
    steps, kills = trial.fitted.steps, 0
    if steps >= 3:
        for _ in range(2):
            try:
                trial.fit("interrupted", stop_after=max(1, steps // 3))
            except Interruption:
                kills += 1
    difference = largest_difference(trial.outputs, _outputs_of(trial, "interrupted", SEED))
    if difference > ROUNDING:
        raise CheckFailedError(f"a training killed {kills} times and continued differs by up to {difference:.2g}")
    difference = max(difference, largest_difference(trial.outputs, _outputs_of(trial, "first", SEED)))
    if difference > ROUNDING:
        raise CheckFailedError(
            f"calling fit again after a finished training gives another model, by up to {difference:.2g}"
        )
    killed = f"killed {kills} times" if kills else "reports no steps to be killed at"
    return f"{killed}, called again when finished: {in_words(difference)}"


def check_device(trial: Trial) -> str:
    """The method follows ``context.device``."""
    import torch
    from torch import nn

    available = torch.cuda.is_available()
    fitted = trial.fit("cuda", device="cuda") if available else trial.fitted
    modules = [value for value in vars(fitted.model).values() if isinstance(value, nn.Module)]
    tensors = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
    wanted = "cuda" if available else "cpu"
    strays = [tensor for tensor in tensors if tensor.device.type != wanted]
    if strays:
        raise CheckFailedError(f"{len(strays)} of {len(tensors)} tensors of the model are not on {wanted}")
    if not available:
        raise CheckSkippedError(
            f"no CUDA device here; on the CPU, {len(tensors)} tensors of the model are where they should be"
        )
    for name, rows in trial.apply(fitted.model, trial.test).named().items():
        if not np.isfinite(rows).all():
            raise CheckFailedError(f"{name} is not finite after a training on CUDA")
    return f"trained on CUDA; {len(tensors)} tensors of the model are there"


def check_cost(trial: Trial) -> str:
    """Nothing: it reports time and memory, to be compared with other methods on the same machine."""
    start = time.perf_counter()
    trial.apply(trial.fitted.model, trial.test)
    milliseconds = 1000 * (time.perf_counter() - start) / len(trial.test)
    return (
        f"fit {trial.fitted.seconds:.1f} s, {milliseconds:.2f} ms an event at test, "
        f"peak memory grew by {trial.fitted.memory_mb:.0f} MiB"
    )


def _outputs_of(trial: Trial, folder: str, seed: int) -> Outputs:
    return trial.apply(trial.fit(folder, seed).model, trial.test)
