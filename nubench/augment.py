"""Random changes of events that must not change their class: on whole batches, on the batch's device.

Each event gets its own draws, with replacement, from five changes (SupCon on sparse detectors, the paper's set):

===========  =======================================================================================================
identity     nothing.
rotation     uniform on SO(3), about the mean position of the event's voxels.
drop         each voxel goes with a probability; one voxel always stays, any with the same chance.
energy       each voxel's raw feature is multiplied by ``1 - strength * N(0, 1)``.
translation  each voxel moves by ``sigma * N(0, 1)`` an axis, and the event as a whole by a uniform offset.
===========  =======================================================================================================

The draws are not carried out one after another but summed up, which has the same distribution: rotations about the
event's own centre commute with its offset, and two uniform ones are one; an isotropic blur is the same before and after
a rotation; k drops keep a voxel with probability ``(1 - p)^k``. So positions stay continuous until they are put back on
the voxel grid, once, at the end. Of voxels that then coincide the first in the order of the batch is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nubench.errors import UsageError
from nubench.sparse import motion_numba as kernels
from nubench.sparse.batch import SparseBatch
from nubench.sparse.compilation import call, kernels_usable
from nubench.sparse.coordinates import Voxels, first_of_each_voxel

if TYPE_CHECKING:
    from nubench.methods import TrainingView

CHANGES = ("identity", "rotation", "drop", "energy", "translation")


@dataclass(frozen=True)
class Augmentation:
    """Settings of :func:`augment`; the defaults are the paper's for the LArTPC.

    Attributes:
        voxel_size_cm: edges of a voxel along x, y, z in cm; one number for cubes.
        translation_cm: standard deviation of a voxel's own shift along each axis, in cm.
        event_translation_voxels: the event's offset along each axis is uniform in plus or minus half of this, in
            voxels. The default covers every phase of the backbone's first stride.
        drop: probability that a voxel is dropped.
        energy: strength of the voxel-wise scale.
        energy_reference: raw feature that the scale leaves alone, ``raw -> reference + (raw - reference) * scale``.
            The paper scales the raw ADC, reference 0, although most of it is pedestal: at 74 ADC of pedestal and 16 of
            charge a strength of 0.25 blurs the charge by more than itself. With the pedestal as reference only
            the charge is scaled, as a gain would.
        feature_offset, feature_scale: normalisation of the batch's features, ``(raw - offset) / scale``.
        draws: number of draws, with replacement, for each event.

    Raises:
        UsageError: when a value cannot be.
    """

    voxel_size_cm: float | tuple[float, float, float]
    translation_cm: float = 0.3
    event_translation_voxels: float = 4.0
    drop: float = 0.1
    energy: float = 0.25
    energy_reference: float = 0.0
    feature_offset: float = 0.0
    feature_scale: float = 1.0
    draws: int = 3

    def __post_init__(self) -> None:
        if not min(self.voxel_edges_cm) > 0 or not self.feature_scale > 0:
            raise UsageError(
                "voxel_size_cm and feature_scale must be positive; "
                f"got {self.voxel_size_cm!r} and {self.feature_scale!r}"
            )
        if min(self.translation_cm, self.event_translation_voxels, self.energy) < 0 or self.draws < 0:
            raise UsageError(f"translations, energy and draws must not be negative; got {self}")
        if not 0 <= self.drop < 1:
            raise UsageError(f"drop must be from 0 to below 1; got {self.drop!r}")

    @staticmethod
    def for_data(data: TrainingView) -> Augmentation:
        """The default settings with the voxel size and the normalisation of a data set."""
        return Augmentation(
            data.voxel_size_cm, feature_offset=data.normalisation.offset, feature_scale=data.normalisation.scale
        )

    @property
    def voxel_edges_cm(self) -> tuple[float, float, float]:
        """Edges of a voxel along x, y, z, in cm."""
        size = self.voxel_size_cm
        return size if isinstance(size, tuple) else (size, size, size)


def random_rotations(count: int, generator: torch.Generator, device: torch.device | str = "cpu") -> Tensor:
    """Draw rotation matrices uniformly from SO(3), through normalised Gaussian quaternions (Shoemake 1992).

    Returns:
        (count, 3, 3) float32, to be applied to column vectors.
    """
    quaternion = torch.randn((count, 4), generator=generator, device=device)
    w, x, y, z = torch.nn.functional.normalize(quaternion, dim=1).unbind(1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, 1) for row in rows], 1)


def augment(batch: SparseBatch, generator: torch.Generator, settings: Augmentation) -> SparseBatch:
    """Change every event at random; the same generator state gives the same result.

    Args:
        batch: B events.
        generator: random generator on the batch's device.
        settings: what to draw from, and how strongly.

    Returns:
        The B events in the same order, with at most as many voxels each and at least one.
    """
    drawn = _draw(batch, generator, settings.draws)
    times = {change: (drawn == number).sum(1) for number, change in enumerate(CHANGES)}
    kept = _drop(batch, times["drop"], generator, settings.drop)
    coords = _move(batch, times["rotation"], times["translation"], generator, settings)
    features = _scale(batch, times["energy"], generator, settings)
    rows = _first_of_each_voxel(coords, batch, kept)
    return SparseBatch(coords[rows], batch.event[rows], features[rows], batch.size)


def _draw(batch: SparseBatch, generator: torch.Generator, draws: int) -> Tensor:
    """Draw changes for each event: (B, draws) indices into :data:`CHANGES`."""
    return torch.randint(len(CHANGES), (batch.size, draws), generator=generator, device=batch.device)


def _drop(batch: SparseBatch, times: Tensor, generator: torch.Generator, probability: float) -> Tensor:
    """Decide which voxels stay: (N,) bool, at least one an event."""
    chance = torch.rand(len(batch.event), generator=generator, device=batch.device)
    smallest = torch.segment_reduce(chance, "min", lengths=batch.offsets.diff(), axis=0, unsafe=True)
    # The voxel with the smallest number stays whatever happens.
    threshold = torch.maximum((1 - probability) ** times, torch.nextafter(smallest, smallest + 1))
    return chance < threshold[batch.event]


def _move(
    batch: SparseBatch, rotations: Tensor, translations: Tensor, generator: torch.Generator, settings: Augmentation
) -> Tensor:
    """Rotate, blur and shift; return (N, 3) int32 voxel indices of the new positions."""
    device = batch.device
    edges = torch.tensor(settings.voxel_edges_cm, device=device)
    matrices = random_rotations(batch.size, generator, device)
    matrices = torch.where((rotations > 0)[:, None, None], matrices, torch.eye(3, device=device))
    # From voxels to cm, rotate, and back.
    matrices = matrices * edges / edges[:, None]
    steps = torch.rand((batch.size, settings.draws, 3), generator=generator, device=device) - 0.5
    happens = torch.arange(settings.draws, device=device) < translations[:, None]
    shifts = (steps * happens[:, :, None]).sum(1) * settings.event_translation_voxels
    sigmas = settings.translation_cm / edges * translations.sqrt()[:, None]
    noise = torch.randn(batch.coords.shape, generator=generator, device=device)
    if kernels_usable(noise):
        coords = torch.empty_like(batch.coords)
        call(kernels.move, batch.coords, batch.offsets, matrices, shifts, sigmas, noise, coords)
        return coords
    return _move_torch(batch, matrices, shifts, sigmas, noise)


def _move_torch(batch: SparseBatch, matrices: Tensor, shifts: Tensor, sigmas: Tensor, noise: Tensor) -> Tensor:
    """Do what :func:`nubench.sparse.motion_numba.move` does, on any device."""
    event = batch.event
    origin = batch.coords[batch.offsets[:-1]]
    relative = batch.coords - origin[event]
    centre = torch.segment_reduce(relative.double(), "mean", lengths=batch.offsets.diff(), axis=0, unsafe=True).float()
    position = (matrices[event] @ (relative - centre[event])[:, :, None]).squeeze(2)
    position += noise * sigmas[event]
    position += (centre + shifts + 0.5)[event]
    return position.floor_().to(batch.coords.dtype) + origin[event]


def _scale(batch: SparseBatch, times: Tensor, generator: torch.Generator, settings: Augmentation) -> Tensor:
    """Scale the raw features by voxel; return normalised ones (N, C)."""
    factor = torch.ones(len(batch.event), device=batch.device)
    for draw in range(settings.draws):
        normal = torch.randn(len(batch.event), generator=generator, device=batch.device)
        factor *= 1 - settings.energy * normal * (times > draw)[batch.event]
    # reference + (raw - reference) * factor, written for features = (raw - offset) / scale.
    shift = (settings.feature_offset - settings.energy_reference) / settings.feature_scale
    return batch.features + (factor - 1)[:, None] * (batch.features + shift)


def _first_of_each_voxel(coords: Tensor, batch: SparseBatch, kept: Tensor) -> Tensor:
    """Find, of the kept rows with the same event and voxel, the first: rows in the order of the batch."""
    if kernels_usable(batch.features):
        fits = torch.empty(batch.size, dtype=torch.uint8)
        call(kernels.unmark_repeated, coords, batch.offsets, kept, fits)
        if not bool(fits.all()):
            raise ValueError("an event is more than 2^20 voxels long")
        return kept.nonzero().squeeze(1)
    rows = kept.nonzero().squeeze(1)
    lengths = torch.bincount(batch.event[rows], minlength=batch.size)
    offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    return rows[first_of_each_voxel(Voxels(coords[rows], offsets))]
