"""The training loop that the reference methods share: deterministic from the seed, resumed after a kill."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import nn

from nubench.containers import Events, Int64
from nubench.errors import DataError, NubenchError, UsageError
from nubench.interrupts import Interrupted, deferred
from nubench.methods import Context, TrainingConfig, TrainingView
from nubench.sparse.batch import SparseBatch
from nubench.training.acceleration import make_fabric
from nubench.training.checkpoints import (
    FinishedTraining,
    TrainingRecord,
    TrainingState,
    read_finished,
    snapshot_folder,
    snapshot_folders,
    write_finished,
)
from nubench.training.network_model import validation_score
from nubench.training.prefetch import Prefetcher, ready_batches
from nubench.training.processes import Processes
from nubench.training.sharing import shared_out

CHECKPOINT_INTERVAL_SECONDS: Final = 60.0
_HISTORY_LENGTH: Final = 20
_SOURCE_STREAM, _TARGET_STREAM = 1, 2


@dataclass(frozen=True)
class Step:
    """One step of the training, handed to the method's loss.

    Attributes:
        batch: B source events, features normalised, on the device.
        labels: (B,) int64.
        index: (B,) which of the source events they are.
        target: B events of the target, if :func:`train` was given any.
        generator: for every random draw of the step; seeded from the training's seed and the step alone, which
            is what makes a resumed training exact.
        number: from 0.
        progress: fraction of the training that is done, in [0, 1).
    """

    batch: SparseBatch
    labels: torch.Tensor
    index: Int64
    target: SparseBatch | None
    generator: torch.Generator
    number: int
    progress: float


def train(
    modules: Mapping[str, nn.Module],
    loss: Callable[[Step], torch.Tensor],
    data: TrainingView,
    config: TrainingConfig,
    context: Context,
    views_per_event: int = 1,
    *,
    target: Events | None = None,
    select: Callable[[], float] | None = None,
) -> TrainingRecord:
    """Minimise a loss over the source events with AdamW, in place.

    Every epoch is a new permutation of the events; incomplete batches are not shown. A checkpoint is kept in
    ``context.directory``; called again after a kill, the training goes on from there and ends with the weights it
    would have had (on one type of device); a process that is asked to stop keeps one first, see
    :mod:`nubench.interrupts`. A finished training is only loaded. With ``context.snapshots`` = n, the
    weights at n equal steps are kept as finished trainings of their own, see
    :func:`nubench.training.checkpoints.snapshot_folders`; ``context.snapshot`` loads one of them.

    Where torch's process group is there, its processes share every step, see :mod:`nubench.training.sharing`. What is
    learnt depends on their number only by rounding, and any number of them goes on from a checkpoint.

    Args:
        modules: everything with weights, by name.
        loss: from a step to a scalar; it runs ``modules``.
        data: the source events.
        config: budget, optimiser, precision, and whether to stop early.
        context: seed, device, folder and progress.
        views_per_event: how many views of an event the loss shows to the backbone; a step then has
            ``config.batch_size // views_per_event`` events, so that methods compare at equal budget.
        target: events of the target; each step is handed as many of them as of the source.
        select: scores the network as it is, higher is better; called twenty times along the training, and the weights
            with the highest score are the result. Without it the last ones are, unless ``config.early_stop`` asks for
            a score: then it is :func:`nubench.training.network_model.validation_score`.

    Raises:
        NubenchError: when there are fewer events than a batch has, or the loss is not finite; the message names the
            step and the events by their places in ``data.train``.
        UsageError: when ``config.early_stop`` is on and there is nothing that could be scored, or there are more
            processes than events in a step.
        Interrupted: when the process was asked to stop, after the step that was under way; the checkpoint is kept.
    """
    directory = context.directory
    network = nn.ModuleDict(modules)
    plan = _Plan(config, views_per_event)
    kept_steps = {round(plan.steps * (part + 1) / context.snapshots) for part in range(context.snapshots)}
    kept = {plan.views_at(step): snapshot_folder(directory, plan.views_at(step)) for step in kept_steps}
    processes = Processes()
    finished = _finished(context, kept, processes)
    if finished is not None:
        network.load_state_dict(finished.weights)
        return finished.record

    for name, offered in (("training", data.train), ("target", target)):
        if offered is not None and len(offered) < plan.batch_events:
            raise NubenchError(f"a batch of {plan.batch_events} events is larger than the {len(offered)} {name} events")
    if plan.batch_events < processes.count:
        raise UsageError(
            f"a step of {plan.batch_events} events cannot be shared out to {processes.count} devices; take fewer, "
            f"or a batch_size of at least {processes.count * views_per_event}"
        )
    if config.early_stop and select is None:
        select = validation_score(modules, data, context)
    optimiser = _optimiser(network, config)
    state = _resumed(context, network, optimiser, processes)
    fabric = make_fabric(context.device, config.precision)
    processes.take_state(network)
    saved = time.monotonic()
    start = saved - state.seconds
    network.train()
    with ExitStack() as stack:
        stop_asked = stack.enter_context(deferred())
        stack.enter_context(shared_out(network, processes))
        batches = stack.enter_context(_prefetched(data.train, data, context, plan, _SOURCE_STREAM, state.step))
        target_batches = (
            stack.enter_context(_prefetched(target, data, context, plan, _TARGET_STREAM, state.step))
            if target
            else None
        )
        task = stack.enter_context(
            context.progress.task(
                "training", plan.steps * plan.batch_events, "events", done=state.step * plan.batch_events
            )
        )
        while state.step < plan.steps:
            number = state.step
            index, batch = next(batches)
            step = _step(data, index, batch, context, number, number / plan.steps)
            if target_batches is not None:
                step = replace(step, target=next(target_batches)[1])
            with fabric.autocast():
                value = loss(step)
            if not torch.isfinite(value):
                raise NubenchError(
                    f"the loss is {value.item()} at step {number} of {plan.steps}, batch of the training events "
                    f"{_listed(index)}; a smaller learning_rate or gradient_clip may help"
                )
            optimiser.zero_grad(set_to_none=True)
            fabric.backward(value)
            processes.average_gradients(network.parameters())
            # What fabric.clip_gradients calls, but in the network's order of the weights: the norm is a sum.
            nn.utils.clip_grad_norm_(network.parameters(), config.gradient_clip)
            for group in optimiser.param_groups:
                group["lr"] = config.learning_rate * _rate(number, plan.steps, config)
            optimiser.step()
            state.running.append(value.detach())
            state.step = number + 1
            state.seconds = time.monotonic() - start
            if plan.is_reported(state.step):
                mean = torch.stack(state.running).mean().item()
                state.history.append((plan.views_at(state.step), round(mean, 6)))
                state.running.clear()
                if select is not None:
                    state.score(processes.of_first(_score(select, network)), network)
            if state.step in kept_steps and processes.is_first:
                write_finished(kept[plan.views_at(state.step)], network, plan.record(state))
            if config.early_stop and state.worse >= config.early_stop:
                context.progress.say(f"stopped at step {state.step} of {plan.steps}: no better on validation events")
                break
            # All stop behind the same step.
            stopping = processes.any(stop_asked())
            if processes.is_first and (stopping or time.monotonic() - saved > CHECKPOINT_INTERVAL_SECONDS):
                state.save(directory, network, optimiser)
                saved = time.monotonic()
            if stopping:
                raise Interrupted
            task.advance(plan.batch_events, f"loss {state.history[-1][1]:.3f}" if state.history else "")
    state.seconds = time.monotonic() - start
    if state.best is not None:
        network.load_state_dict(state.best[1])
    if processes.is_first:
        write_finished(directory, network, plan.record(state))
    # Nobody looks for the files of a training before they are there.
    processes.wait()
    return plan.record(state)


@dataclass(frozen=True)
class _Plan:
    """The steps of a training.

    Attributes:
        config: for the budget.
        views_per_event: shown to the backbone in each step.
    """

    config: TrainingConfig
    views_per_event: int

    @property
    def batch_events(self) -> int:
        """Events a step, over all processes that would share it."""
        return max(1, self.config.batch_size // self.views_per_event)

    @property
    def steps(self) -> int:
        """Steps in all."""
        return max(1, self.config.views // self.views_at(1))

    def views_at(self, step: int) -> int:
        """Views that are shown in so many steps."""
        return step * self.batch_events * self.views_per_event

    def is_reported(self, step: int) -> bool:
        """Whether the mean loss is recorded, and the network scored, after so many steps."""
        return step % max(1, self.steps // _HISTORY_LENGTH) == 0 or step == self.steps

    def record(self, state: TrainingState) -> TrainingRecord:
        """The record of the training as it stands."""
        events = state.step * self.batch_events
        return TrainingRecord(
            state.step, events, self.views_at(state.step), round(state.seconds, 3), list(state.history)
        )


def _finished(context: Context, snapshots: Mapping[int, Path], processes: Processes) -> FinishedTraining | None:
    """What is to be loaded; a training that lacks one of its snapshots is trained again."""
    finished = _read_finished(context) if processes.is_first else None
    complete = finished is not None and all(
        folder.exists() for views, folder in snapshots.items() if views <= finished.record.views
    )
    if not processes.of_first(complete):
        return None
    return finished if processes.is_first else _read_finished(context)


def _read_finished(context: Context) -> FinishedTraining | None:
    """What was finished before; a training whose files are damaged is none, and is made again."""
    if context.snapshot is not None and context.snapshot in snapshot_folders(context.directory):
        # Other snapshots were made in the same training: none of them can be made again alone.
        return read_finished(context.snapshot)
    try:
        return read_finished(context.directory)
    except DataError as error:
        context.progress.say(f"{error}; it is trained again")
        return None


def _resumed(
    context: Context, network: nn.Module, optimiser: torch.optim.Optimizer, processes: Processes
) -> TrainingState:
    # A damaged checkpoint is removed by the first process before another looks for it.
    if not processes.is_first:
        processes.wait()
    try:
        state = TrainingState.resume(context.directory, network, optimiser)
    except DataError as error:
        context.progress.say(f"{error}; the training begins again")
        state = TrainingState()
    if processes.is_first:
        processes.wait()
    return state


def _step_seed(seed: int, number: int) -> int:
    """A 63-bit seed that follows from a training's seed and a step, far apart for neighbouring steps."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0] >> 1)


def _step(data: TrainingView, index: Int64, batch: SparseBatch, context: Context, number: int, progress: float) -> Step:
    seed = _step_seed(context.seed, number)
    # Layers that draw at random (stochastic depth) use the global generator.
    torch.manual_seed(seed)
    return Step(
        batch=batch,
        labels=torch.from_numpy(data.train_labels[index]).to(context.device),
        index=index,
        target=None,
        generator=torch.Generator(device=context.device).manual_seed(seed),
        number=number,
        progress=progress,
    )


def _score(select: Callable[[], float], network: nn.Module) -> float:
    network.eval()
    with torch.inference_mode():
        score = select()
    network.train()
    return score


def _listed(index: Int64, shown: int = 100) -> str:
    """Events by their place, shortened where they are many."""
    more = f" and {len(index) - shown} more" if len(index) > shown else ""
    return f"{', '.join(map(str, index[:shown]))}{more}"


def _prefetched(
    events: Events, data: TrainingView, context: Context, plan: _Plan, stream: int, first: int
) -> Prefetcher[tuple[Int64, SparseBatch]]:
    """The batches of a training from a step on, made ahead in a thread."""
    indices = islice(_batches(len(events), plan.batch_events, context.seed, stream, first), plan.steps - first)
    normalisation = data.normalisation
    return Prefetcher(ready_batches(events, indices, normalisation.offset, normalisation.scale, context.device))


def _batches(events: int, batch_events: int, seed: int, stream: int, first: int) -> Iterator[Int64]:
    per_epoch = events // batch_events
    number = first
    while True:
        epoch, position = divmod(number, per_epoch)
        order = np.random.default_rng([seed, stream, epoch]).permutation(events)
        for batch in range(position, per_epoch):
            yield order[batch * batch_events : (batch + 1) * batch_events]
        number = (epoch + 1) * per_epoch


def _optimiser(network: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    # Vectors are biases and scales: decaying them only shifts the activations.
    decayed = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=config.learning_rate, fused=True)


def _rate(step: int, steps: int, config: TrainingConfig) -> float:
    warmup = config.warmup * steps
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if config.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1.0, steps - warmup)))
