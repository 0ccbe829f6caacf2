"""The training loop that the reference methods share: deterministic from the seed, resumed after a kill."""

from __future__ import annotations

import io
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import nn

from nubench.backbone import number_of_parameters
from nubench.containers import Events, Float32, Int64
from nubench.errors import NubenchError
from nubench.methods import Context, Model, TrainingConfig, TrainingView
from nubench.prefetch import Prefetcher, ready_batches
from nubench.sparse.batch import SparseBatch
from nubench.storage import write_atomically

CHECKPOINT_INTERVAL_SECONDS: Final = 60.0
_HISTORY_LENGTH: Final = 20
_INFERENCE_BATCH: Final = 256
_SOURCE_STREAM, _TARGET_STREAM = 1, 2
_SNAPSHOTS: Final = "snapshots"
_WEIGHTS_FILE, _RECORD_FILE = "weights.safetensors", "training.json"

#: A score and the weights that reached it.
_Best = tuple[float, dict[str, torch.Tensor]]


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


@dataclass(frozen=True)
class TrainingRecord:
    """What a training reports: steps, events and views shown, seconds in the loop, and (views, loss) pairs."""

    steps: int
    events: int
    views: int
    seconds: float
    history: list[tuple[int, float]] = field(default_factory=list)


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
    would have had (on one type of device). A finished training is only loaded. With ``context.snapshots`` = n, the
    weights at n equal steps are kept as finished trainings of their own, see :func:`snapshot_folders`.

    Args:
        modules: everything with weights, by name.
        loss: from a step to a scalar; it runs ``modules``.
        data: the source events.
        config: budget and optimiser.
        context: seed, device, folder and progress.
        views_per_event: how many views of an event the loss shows to the backbone; a step then has
            ``config.batch_size // views_per_event`` events, so that methods compare at equal budget.
        target: events of the target; each step is handed as many of them as of the source.
        select: scores the network as it is, higher is better; called twenty times along the training, and the weights
            with the highest score are the result. Without it the last ones are.

    Raises:
        NubenchError: when there are fewer events than a batch has, or the loss is not finite; the message names the
            step and the events.
    """
    directory = context.directory
    record_file = directory / _RECORD_FILE
    network = nn.ModuleDict(modules)
    if record_file.exists():
        network.load_state_dict(load_file(directory / _WEIGHTS_FILE))
        content = json.loads(record_file.read_text())
        return TrainingRecord(**{**content, "history": [tuple(pair) for pair in content["history"]]})

    batch_events = max(1, config.batch_size // views_per_event)
    for name, offered in (("source", data.train), ("target", target)):
        if offered is not None and len(offered) < batch_events:
            raise NubenchError(f"a batch of {batch_events} events is larger than the {len(offered)} {name} events")
    steps = max(1, config.views // (batch_events * views_per_event))
    kept_steps = {round(steps * (part + 1) / context.snapshots) for part in range(context.snapshots)}

    def record_at(step: int, seconds: float) -> TrainingRecord:
        events = step * batch_events
        return TrainingRecord(step, events, events * views_per_event, round(seconds, 3), list(history))

    optimiser = _optimiser(network, config)
    checkpoint_file = directory / "checkpoint.pt"
    first, seconds, history, running, best = _resume(checkpoint_file, network, optimiser)
    start = saved = time.monotonic()
    network.train()
    with ExitStack() as stack:

        def prefetched(events: Events, stream: int) -> Prefetcher[tuple[Int64, SparseBatch]]:
            indices = islice(_batches(len(events), batch_events, context.seed, stream, first), steps - first)
            normalisation = data.normalisation
            made = ready_batches(events, indices, normalisation.offset, normalisation.scale, context.device)
            return stack.enter_context(Prefetcher(made))

        batches = prefetched(data.train, _SOURCE_STREAM)
        target_batches = prefetched(target, _TARGET_STREAM) if target else None
        task = stack.enter_context(
            context.progress.task("training", steps * batch_events, "events", done=first * batch_events)
        )
        for number in range(first, steps):
            index, batch = next(batches)
            step = _step(data, index, batch, context, number, number / steps)
            if target_batches is not None:
                step = replace(step, target=next(target_batches)[1])
            with torch.autocast(context.device.type, torch.bfloat16, enabled=context.device.type == "cuda"):
                value = loss(step)
            if not torch.isfinite(value):
                raise NubenchError(
                    f"the loss is {value.item()} at step {number} of {steps} (source events {index[:8].tolist()}...); "
                    "a smaller learning_rate or gradient_clip may help"
                )
            optimiser.zero_grad(set_to_none=True)
            value.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), config.gradient_clip)
            for group in optimiser.param_groups:
                group["lr"] = config.learning_rate * _rate(number, steps, config)
            optimiser.step()
            running.append(value.detach())
            if (number + 1) % max(1, steps // _HISTORY_LENGTH) == 0 or number + 1 == steps:
                mean = torch.stack(running).mean().item()
                history.append(((number + 1) * batch_events * views_per_event, round(mean, 6)))
                running.clear()
                if select is not None:
                    best = _better(best, network, select)
            task.advance(batch_events, f"loss {history[-1][1]:.3f}" if history else "")
            now = time.monotonic()
            if number + 1 in kept_steps:
                record = record_at(number + 1, seconds + now - start)
                _write_finished(directory / _SNAPSHOTS / f"{record.views:012d}", network, record)
            if now - saved > CHECKPOINT_INTERVAL_SECONDS:
                _save(checkpoint_file, network, optimiser, number + 1, seconds + now - start, history, running, best)
                saved = now
    seconds += time.monotonic() - start
    if best is not None:
        network.load_state_dict(best[1])
    record = record_at(steps, seconds)
    _write_finished(directory, network, record)
    checkpoint_file.unlink(missing_ok=True)
    return record


def snapshot_folders(directory: Path) -> list[Path]:
    """The snapshots of a training, in the order of the training.

    Each is a folder like that of a finished training: given as ``context.directory``, :func:`train` loads it. Its name
    is the number of views shown so far.
    """
    return sorted(path.parent for path in (directory / _SNAPSHOTS).glob(f"*/{_RECORD_FILE}"))


class NetworkModel(Model):
    """A fitted backbone, perhaps with a classification head on its embedding.

    Args:
        backbone: from sparse batches to (B, D) embeddings.
        data: for the normalisation of the features.
        context: for the device.
        record: of the training.
        head: from (B, D) to (B, C) scores, or None.
    """

    def __init__(
        self,
        backbone: nn.Module,
        data: TrainingView,
        context: Context,
        record: TrainingRecord,
        head: nn.Module | None = None,
    ) -> None:
        self._backbone = backbone.eval()
        self._head = head.eval() if head is not None else None
        self._normalisation = data.normalisation
        self._device = context.device
        self._record = record

    def embed(self, events: Events) -> Float32:
        """See :meth:`nubench.methods.Model.embed`."""
        return self._apply(self._backbone, events)

    def log_probabilities(self, events: Events) -> Float32 | None:
        """See :meth:`nubench.methods.Model.log_probabilities`."""
        if self._head is None:
            return None
        return self._apply(nn.Sequential(self._backbone, self._head, nn.LogSoftmax(dim=1)), events)

    @property
    def number_of_parameters(self) -> int:
        """Trained parameters of backbone and head."""
        return self.backbone_parameters + (number_of_parameters(self._head) if self._head is not None else 0)

    @property
    def backbone_parameters(self) -> int:
        """Parameters of the backbone alone."""
        return number_of_parameters(self._backbone)

    @property
    def training_record(self) -> Mapping[str, Any]:
        """The record of the training as a plain mapping."""
        return asdict(self._record)

    @torch.inference_mode()
    def _apply(self, network: nn.Module, events: Events) -> Float32:
        results = []
        for first in range(0, len(events), _INFERENCE_BATCH):
            index = np.arange(first, min(first + _INFERENCE_BATCH, len(events)))
            batch = SparseBatch.from_events(events, index, self._normalisation.offset, self._normalisation.scale)
            results.append(network(batch.to(self._device)).float().cpu().numpy())
        return np.concatenate(results)


def step_seed(seed: int, number: int) -> int:
    """A 63-bit seed that follows from a training's seed and a step, far apart for neighbouring steps."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0] >> 1)


def _step(data: TrainingView, index: Int64, batch: SparseBatch, context: Context, number: int, progress: float) -> Step:
    seed = step_seed(context.seed, number)
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


def _write_finished(directory: Path, network: nn.Module, record: TrainingRecord) -> None:
    """Write the weights, then the record, whose presence says that both are there."""
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    if not all(bool(torch.isfinite(tensor).all()) for tensor in weights.values()):
        raise NubenchError(f"step {record.steps} left weights that are not finite; a smaller learning_rate may help")
    write_atomically(directory / _WEIGHTS_FILE, save(weights))
    write_atomically(directory / _RECORD_FILE, json.dumps(asdict(record)).encode())


def _better(best: _Best | None, network: nn.Module, select: Callable[[], float]) -> _Best | None:
    """The better of the best weights so far and those of now; at equal scores the earlier ones stay."""
    network.eval()
    with torch.inference_mode():
        score = select()
    network.train()
    if best is not None and score <= best[0]:
        return best
    return score, {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


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


def _save(
    path: Path,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    step: int,
    seconds: float,
    history: list[tuple[int, float]],
    running: list[torch.Tensor],
    best: _Best | None,
) -> None:
    state = {
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "step": step,
        "seconds": seconds,
        "history": history,
        "running": running,
        "best": best,
    }
    # Through memory: torch's own writer reports a full disk in words of its own.
    content = io.BytesIO()
    torch.save(state, content)
    write_atomically(path, content.getvalue())


def _resume(
    path: Path, network: nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[int, float, list[tuple[int, float]], list[torch.Tensor], _Best | None]:
    if not path.exists():
        return 0, 0.0, [], [], None
    # weights_only: nothing but tensors and plain containers is ever unpickled.
    state = torch.load(path, weights_only=True)
    network.load_state_dict(state["network"])
    optimiser.load_state_dict(state["optimiser"])
    history = [tuple(pair) for pair in state["history"]]
    return state["step"], state["seconds"], history, state["running"], state["best"]
