"""Designs of the shared network: what a plugin brings to add one, and what each costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from nubench.backbone import BACKBONE_PRESETS, build_backbone, forward_flops, number_of_parameters
from nubench.containers import Events
from nubench.sparse.batch import SparseBatch

REFERENCE_VOXELS: Final = 516  # mean of the LArTPC's training events at nominal
_ISOLATED: Final = 26
_EVENTS: Final = 32


@dataclass(frozen=True)
class BackboneDesign:
    """One network that methods can be run with.

    Attributes:
        name, title: for listings and ``--backbone``.
        build: called as ``build(in_channels=..., engine=..., **settings)`` right after torch's global generator was
            seeded; returns a module with the attribute ``embedding_size`` that turns a batch of B events
            (:class:`nubench.sparse.batch.SparseBatch`) into (B, embedding_size). A setting that it does not know
            raises :class:`nubench.errors.UsageError`.
        forward_flops: floating-point operations of that module for a batch, forward only, a multiply-add being two.
    """

    name: str
    title: str
    build: Callable[..., nn.Module]
    forward_flops: Callable[..., int]


def preset_designs() -> list[BackboneDesign]:
    """The presets of the sparse ConvNeXt V2, smallest first."""
    designs = []
    for name, config in BACKBONE_PRESETS.items():
        channels, blocks = (", ".join(map(str, numbers)) for numbers in (config.dims, config.depths))
        title = f"sparse ConvNeXt V2, channels {channels}, blocks {blocks}"
        designs.append(BackboneDesign(name, title, partial(build_backbone, name), forward_flops))
    return designs


def backbone_rows(designs: Iterable[BackboneDesign]) -> list[list[str]]:
    """Tabulate name, title, parameters and operations for each event.

    The operations are the mean, forward only, over :func:`reference_events`.
    """
    batch = SparseBatch.from_events(reference_events(_EVENTS))
    rows = []
    for design in designs:
        # No memory is taken and nothing is drawn: only the shapes matter.
        with torch.device("meta"):
            network = design.build(in_channels=1, engine="native")
        operations = design.forward_flops(network, batch) / batch.size
        rows.append([design.name, design.title, f"{number_of_parameters(network):,}", f"{operations / 1e6:,.0f} M"])
    return rows


def reference_events(count: int, seed: int = 0) -> Events:
    """Draw events with the occupancy of the LArTPC's, at every level of a backbone, where no data set is at hand.

    A slowly turning track about two voxels wide, and deposits apart from it, 516 voxels together. Features are
    normal numbers.

    Args:
        count: number of events.
        seed: of everything that is drawn.
    """
    random = np.random.default_rng([seed, 516])
    events = [_reference_event(random) for _ in range(count)]
    offsets = np.concatenate([[0], np.cumsum([len(event) for event in events])]).astype(np.int64)
    features = random.normal(size=(int(offsets[-1]), 1)).astype(np.float32)
    return Events(offsets, np.concatenate(events), features)


def _reference_event(random: np.random.Generator) -> npt.NDArray[np.int32]:
    kicks = 0.15 * random.normal(size=(2 * REFERENCE_VOXELS, 3))
    directions = np.empty_like(kicks)
    direction = random.normal(size=3)
    for number, kick in enumerate(kicks):
        direction = direction / np.linalg.norm(direction) + kick
        directions[number] = direction
    path = np.cumsum(0.7 * directions, axis=0)
    apart = path[: len(path) // 2][random.integers(0, len(path) // 2, _ISOLATED)] + random.normal(0, 40, (_ISOLATED, 3))
    beside = path + random.normal(size=path.shape)
    ordered = np.concatenate([apart, np.stack([path, beside], 1).reshape(-1, 3)])
    voxels: npt.NDArray[np.int32] = np.floor(ordered).astype(np.int32)
    first: npt.NDArray[np.int64] = np.unique(voxels, axis=0, return_index=True)[1]
    kept: npt.NDArray[np.int32] = voxels[np.sort(first)[:REFERENCE_VOXELS]]
    return kept
