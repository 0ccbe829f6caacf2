"""How much memory and disk a run takes, before it is started.

The figures of memory were measured on 2026-11-22 with torch 2.13.0 on x86-64, as resident memory. A sealed training of
``tiny`` on the LArTPC at ``smoke`` (12,000 events, 99 MB of voxels) had its peak at 1,017 MiB with 128 views a step and
at 1,334 MiB with 256: 2.5 MiB a view above the libraries. Forwards and backwards alone took 0.91 MiB of a reference
event for ``tiny``, 3.09 for ``small`` and 15.8 for ``paper``: about as the root of the operations, which are squares of
the channels where memory is not. A day later whole steps of 8 and 24 events of ``paper`` had their peaks at 1,126 and
1,373 MiB: 15.4 a view, and weights of 479. The probe took 28.0 bytes a number of 60,000 embeddings of 256 and of 768
numbers, by Newton's method.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from nubench.errors import NubenchError
from nubench.runs.estimates import operations_of
from nubench.storage.large_arrays import LARGE

if TYPE_CHECKING:
    from nubench.backbone_designs import BackboneDesign
    from nubench.runs.runner import Runner

_MIB: Final = 2**20
#: Of a process that trains, and of one that judges, before there are any events.
LIBRARIES_OF_TRAINING: Final = 600 * _MIB
LIBRARIES_OF_EVALUATION: Final = 500 * _MIB
#: Of a step on the processor, for each view of :data:`VOXELS`; and for the root of each million operations of the
#: backbone in it, forwards, on top.
MEMORY_A_VIEW: Final = 1.0 * _MIB
MEMORY_A_ROOT: Final = 0.344 * _MIB
#: Mean voxels of an event of the LArTPC.
VOXELS: Final = 516
#: Bytes of a voxel: coordinates and feature, tables of their own.
_TABLES_OF_A_VOXEL: Final = (12, 4)
#: Bytes of an event: id, label, particle, offsets, and its place in the order in which it is shown.
_BYTES_OF_AN_EVENT: Final = 100
#: Bytes of a number of an embedding: as it is; of training events in the training, in batches and put together; in the
#: evaluation, as it is and, while the probe is fitted on the processor, three times in double precision.
_NUMBER, _EMBEDDED_BYTES, _PROBE_BYTES = 4, 8, 28
#: Bytes of a weight on disk: once in the finished training; while it runs, with the optimiser's two moments, in a
#: checkpoint and in the one that takes its place.
_FINISHED_WEIGHT, _CHECKPOINT_WEIGHT = 4, 24
#: Bytes of a weight in memory: with its gradient and the two moments.
_WEIGHT_IN_STEP: Final = 16
#: Bytes of an event's id beside its embedding.
_ID: Final = 8
#: A result, and its bits of every test event, at most.
_RESULT_BYTES: Final = 2_000_000


@dataclass(frozen=True)
class Volume:
    """What a run holds and leaves.

    Attributes:
        source_events: of ``train`` and ``val``.
        target_events: of ``adapt``, 0 for a method that sees none.
        test_events: at one point.
        points, trainings: their numbers.
        classes: C.
        voxels: of a mean event.
        batch: views a step on the processor; 0 for a method that does not say, and for another device.
        operations: of the backbone for a mean event, forwards; 0 without one.
        embedding_size: D; 0 without a backbone.
        parameters: of the backbone.
        devices: that share a training; each has a process that holds all events and weights.
    """

    source_events: int
    target_events: int
    test_events: int
    points: int
    trainings: int
    classes: int
    voxels: float = VOXELS
    batch: int = 0
    operations: float = 0.0
    embedding_size: int = 0
    parameters: int = 0
    devices: int = 1


@dataclass(frozen=True)
class Footprint:
    """Bytes that a run takes.

    Attributes:
        training: memory of the process that trains, or of all that share a training.
        evaluation: memory of the process that judges meanwhile.
        kept: of the disk, by predictions, embeddings and trainings.
        meanwhile: of the disk, by what is handed over, by large tables and by checkpoints, until the run ends.
    """

    training: float
    evaluation: float
    kept: float
    meanwhile: float

    @property
    def memory(self) -> float:
        """Of both processes."""
        return self.training + self.evaluation


def footprint(volume: Volume) -> Footprint:
    """Estimate the memory and the disk of a run.

    Memory is bounded by the batch and, for voxels, by :data:`nubench.storage.large_arrays.LARGE` for each table: larger
    ones lie on disk. What grows with the events without a bound is what stands once for each of them: ids and labels,
    predictions, and the embeddings that the probe is fitted on. Events that are simulated again, or brought to an
    accelerator whole, are not counted.
    """
    v = volume
    view = (MEMORY_A_VIEW + MEMORY_A_ROOT * math.sqrt(v.operations / 1e6)) * v.voxels / VOXELS if v.operations else 0.0
    given = v.source_events + v.target_events
    shown = _in_memory(v.source_events, v.voxels) + _in_memory(v.target_events, v.voxels)
    numbers, of_point = v.source_events * v.embedding_size, v.test_events * v.embedding_size * _NUMBER
    embedded = v.trainings * v.source_events + v.points * v.test_events if v.embedding_size else 0
    of_test = v.points * v.test_events * (8 + 2 * 4 * v.classes)
    whole = v.voxels * sum(_TABLES_OF_A_VOXEL)
    of_each = LIBRARIES_OF_TRAINING + shown + given * _BYTES_OF_AN_EVENT + v.parameters * _WEIGHT_IN_STEP
    return Footprint(
        training=v.devices * of_each + v.batch * view + numbers * _EMBEDDED_BYTES,
        evaluation=LIBRARIES_OF_EVALUATION
        + shown
        + _in_memory(v.test_events, v.voxels)
        # Those of all trainings are written together at the end.
        + numbers * (_PROBE_BYTES + (v.trainings - 1) * _NUMBER)
        + v.points * min(of_point, LARGE)
        + (given + v.points * v.test_events) * _BYTES_OF_AN_EVENT
        + 2 * of_test,
        kept=of_test
        + embedded * (v.embedding_size * _NUMBER + _ID)
        + v.parameters * _FINISHED_WEIGHT * v.trainings
        + _RESULT_BYTES,
        meanwhile=(2 * given + v.test_events) * whole + v.parameters * _CHECKPOINT_WEIGHT,
    )


def volume_of(runner: Runner, devices: int = 1) -> Volume:
    """What one seed of a runner holds and leaves; events of data that are not built count as the LArTPC's.

    Args:
        runner: what is run.
        devices: that share its training, where a job has them and not this machine.
    """
    method, points = runner.registered.thing, len(runner.points)
    sizes, classes = runner.card.sizes_of(runner.profile.name), len(runner.card.classes)
    sees_target = method.target_access != "none"
    batch = runner.config.model_dump().get("batch_size")
    try:
        network = _network(runner.backbone.thing) if method.uses_backbone else (0.0, 0, 0)
    except Exception:  # A plugin's network that cannot be built fails when it is run, and says so then.
        network = (0.0, 0, 0)
    return Volume(
        source_events=classes * (sizes.train + sizes.val),
        target_events=classes * sizes.adapt if sees_target else 0,
        test_events=classes * sizes.test,
        points=points,
        trainings=points if sees_target else 1,
        classes=classes,
        voxels=_voxels_of(runner),
        batch=batch if isinstance(batch, int) and runner.device == "cpu" else 0,
        operations=network[0],
        embedding_size=network[1],
        parameters=network[2],
        devices=max(runner.devices, devices if method.uses_backbone else 1),
    )


def largest(footprints: Iterable[Footprint], at_once: int = 1) -> float:
    """Bytes of memory of the largest of some runs, or of the largest that go on beside each other; 0 for none."""
    return sum(sorted((found.memory for found in footprints), reverse=True)[:at_once])


def disk_of(footprints: Iterable[Footprint], at_once: int = 1) -> float:
    """Bytes of the disk at the most: what all runs keep, and what the largest ``at_once`` have meanwhile."""
    found = list(footprints)
    meanwhile = sorted((one.meanwhile for one in found), reverse=True)[:at_once]
    return sum(one.kept for one in found) + sum(meanwhile)


def _in_memory(events: int, voxels: float) -> float:
    return sum(min(events * voxels * size, LARGE) for size in _TABLES_OF_A_VOXEL)


def _voxels_of(runner: Runner) -> float:
    from nubench.events.store import count_events

    file = runner.dataset.directory / runner.dataset.file_of("train", runner.shift.name, runner.points[0].name)
    try:
        events, voxels = count_events(file)
    except NubenchError:  # Not built, or damaged: whoever reads it says so.
        return VOXELS
    return voxels / events if events else VOXELS


@cache
def _network(design: BackboneDesign) -> tuple[float, int, int]:
    """Operations for a mean event, size of the embedding, and parameters."""
    import torch

    from nubench.backbone import number_of_parameters

    with torch.device("meta"):
        network = design.build(in_channels=1, engine="native")
    size = getattr(network, "embedding_size", 0)
    return operations_of(design), int(size), number_of_parameters(network)
