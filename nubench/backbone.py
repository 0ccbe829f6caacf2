"""The shared network: a sparse ConvNeXt V2 (Woo et al. 2023, arXiv 2301.00808) that turns events into embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from itertools import islice, pairwise
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from nubench.errors import UsageError, unknown_name
from nubench.shares import draw_per_event
from nubench.sparse.activation import gelu_with_response
from nubench.sparse.batch import SparseBatch
from nubench.sparse.coordinates import build_pyramid
from nubench.sparse.engine import Engine, Geometry, get_engine
from nubench.sparse.pooling import pool
from nubench.sparse.products import multiply_rows

NORM_EPSILON = 1e-6


@dataclass(frozen=True)
class BackboneConfig:
    """Shape of the network.

    Attributes:
        dims: channels of the stages; the last is the size of the embedding.
        depths: blocks of the stages.
        kernel: odd edge of the depth-wise kernels, in voxels of the stage.
        stem: stride and kernel of the first convolution, in voxels of the detector.
        expansion: the block's inner layer has this many times the stage's channels.
        grn: global response normalisation in the blocks.
        drop_path: probability that an event skips the last block in training; grows linearly from 0 at the first.

    Raises:
        UsageError: when a value cannot be.
    """

    dims: tuple[int, ...]
    depths: tuple[int, ...]
    kernel: int = 7
    stem: int = 4
    expansion: int = 4
    grn: bool = True
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "dims", tuple(self.dims))
        object.__setattr__(self, "depths", tuple(self.depths))
        if len(self.dims) != len(self.depths) or not self.dims or min(*self.dims, *self.depths, 1) < 1:
            raise UsageError(
                f"dims and depths must be equally long and positive; got dims {self.dims} and depths {self.depths}"
            )
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise UsageError(f"kernel must be odd and positive; got {self.kernel}")
        if self.stem < 1 or self.expansion < 1:
            raise UsageError(f"stem and expansion must be positive; got {self.stem} and {self.expansion}")
        if not 0 <= self.drop_path < 1:
            raise UsageError(f"drop_path must be from 0 to below 1; got {self.drop_path}")

    @property
    def strides(self) -> tuple[int, ...]:
        """Stride into each stage."""
        return (self.stem, *(2 for _ in self.dims[1:]))


BACKBONE_PRESETS: Mapping[str, BackboneConfig] = MappingProxyType(
    {
        "tiny": BackboneConfig(dims=(16, 32, 64, 128), depths=(1, 1, 2, 1)),
        "small": BackboneConfig(dims=(32, 64, 128, 256), depths=(2, 2, 4, 2)),
        "paper": BackboneConfig(dims=(96, 192, 384, 768), depths=(3, 3, 9, 3)),
    }
)


def _weights(*shape: int) -> nn.Parameter:
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(*shape), std=0.02))


class StridedConvolution(nn.Module):
    """Strided convolution into a level, kernel = stride."""

    def __init__(self, level: int, stride: int, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.level = level
        self.weight = _weights(stride**3, in_channels, out_channels)
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, features: Tensor, geometry: Geometry) -> Tensor:
        """(N, in) at the level before -> (M, out)."""
        return geometry.strided(self.level, features, self.weight, self.bias)


class DepthwiseConvolution(nn.Module):
    """Depth-wise submanifold convolution at a level."""

    def __init__(self, level: int, kernel: int, channels: int) -> None:
        super().__init__()
        self.level = level
        self.weight = _weights(kernel**3, channels)
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor, geometry: Geometry) -> Tensor:
        """(N, channels) -> (N, channels)."""
        return geometry.depthwise(self.level, features, self.weight, self.bias)


class GlobalResponseNorm(nn.Module):
    """Weights of the global response normalisation, the identity at first; the block applies it with its GELU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))


def _linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.trunc_normal_(layer.weight, std=0.02)
    nn.init.zeros_(layer.bias)
    return layer


class Block(nn.Module):
    """Depth-wise convolution, LayerNorm, linear, GELU, GRN, linear; added to its input."""

    def __init__(self, level: int, channels: int, config: BackboneConfig, drop_path: float) -> None:
        super().__init__()
        self.level = level
        self.drop_path = drop_path
        self.depthwise = DepthwiseConvolution(level, config.kernel, channels)
        self.norm = nn.LayerNorm(channels, eps=NORM_EPSILON)
        self.expand = _linear(channels, config.expansion * channels)
        self.grn = GlobalResponseNorm(config.expansion * channels) if config.grn else None
        self.contract = _linear(config.expansion * channels, channels)

    def forward(self, features: Tensor, geometry: Geometry) -> Tensor:
        """(N, channels) -> (N, channels)."""
        offsets = geometry.offsets(self.level)
        inner = multiply_rows(self.norm(self.depthwise(features, geometry)), self.expand.weight.t())
        gamma, beta = (None, None) if self.grn is None else (self.grn.gamma, self.grn.beta)
        inner = gelu_with_response(inner, self.expand.bias, offsets, gamma, beta)
        change = multiply_rows(inner, self.contract.weight.t(), self.contract.bias)
        if self.training and self.drop_path > 0:
            keep = 1 - self.drop_path
            kept = (
                draw_per_event(lambda events: torch.bernoulli(change.new_full((events,), keep)), len(offsets) - 1)
                / keep
            )
            change = change * torch.repeat_interleave(kept, offsets.diff(), output_size=len(change))[:, None]
        return features + change


class Stage(nn.Module):
    """Downsampling into a level (the stem at level 0) and the level's blocks."""

    def __init__(self, level: int, in_channels: int, config: BackboneConfig, drop_paths: list[float]) -> None:
        super().__init__()
        channels = config.dims[level]
        # The stem's input is the charge itself: normalising it, or the stem's output, makes the network blind to it.
        self.norm = nn.LayerNorm(in_channels, eps=NORM_EPSILON) if level > 0 else None
        self.downsample = StridedConvolution(level, config.strides[level], in_channels, channels)
        self.blocks = nn.ModuleList(Block(level, channels, config, drop_path) for drop_path in drop_paths)

    def forward(self, features: Tensor, geometry: Geometry) -> Tensor:
        """(N, in_channels) at the level before -> (M, channels)."""
        features = self.downsample(features if self.norm is None else self.norm(features), geometry)
        for block in self.blocks:
            features = block(features, geometry)
        return features


class Backbone(nn.Module):
    """Events to embeddings.

    Attributes:
        config: shape of the network.
        embedding_size: length of an embedding, ``config.dims[-1]``.
    """

    def __init__(self, config: BackboneConfig, in_channels: int = 1, engine: Engine | None = None) -> None:
        super().__init__()
        self.config = config
        self.embedding_size = config.dims[-1]
        self._engine = engine or get_engine("native")
        last = max(1, sum(config.depths) - 1)
        drop_paths = iter([config.drop_path * block / last for block in range(sum(config.depths))])
        inputs = pairwise((in_channels, *config.dims))
        self.stages = nn.ModuleList(
            Stage(level, before, config, list(islice(drop_paths, config.depths[level])))
            for level, (before, _) in enumerate(inputs)
        )

    def forward(self, batch: SparseBatch) -> Tensor:
        """Embed each event: the maximum over its voxels of the last stage's features.

        Args:
            batch: B events with ``in_channels`` features a voxel.

        Returns:
            (B, embedding_size).
        """
        geometry = self._engine.geometry(batch, self.config.strides, self.config.kernel)
        features = batch.features
        for stage in self.stages:
            features = stage(features, geometry)
        return pool(features, geometry.offsets(len(self.stages) - 1), "max")


def build_backbone(preset: str = "tiny", in_channels: int = 1, engine: str = "native", **overrides: Any) -> Backbone:
    """Make a backbone with fresh weights from torch's global random generator.

    Args:
        preset: name in :data:`BACKBONE_PRESETS`.
        in_channels: features a voxel.
        engine: who convolves, see :mod:`nubench.sparse.engine`.
        overrides: fields of :class:`BackboneConfig` to change.

    Raises:
        UsageError: when a name is unknown or a value cannot be.

    Example:
        >>> build_backbone("tiny", depths=(1, 1, 1, 1)).embedding_size
        128
    """
    if preset not in BACKBONE_PRESETS:
        raise unknown_name("backbone preset", preset, BACKBONE_PRESETS)
    known = {field.name for field in fields(BackboneConfig)}
    for name in overrides:
        if name not in known:
            raise unknown_name("backbone setting", name, known)
    return Backbone(replace(BACKBONE_PRESETS[preset], **overrides), in_channels, get_engine(engine))


def forward_flops(backbone: Backbone, batch: SparseBatch) -> int:
    """Count the floating-point operations of the convolutions and matrix products for a batch, forward only.

    A multiply-add counts as two. Training costs about three times as much. Normalisations and activations, some
    percent of the total, are left out.

    Args:
        backbone: the network.
        batch: events; sparse convolutions cost as much as there are voxels and neighbours.
    """
    config = backbone.config
    pyramid = build_pyramid(batch, config.strides, config.kernel)
    multiply_adds = 0
    channels = batch.features.shape[1]
    for level, (dim, depth) in enumerate(zip(config.dims, config.depths, strict=True)):
        rows, edges = len(pyramid.levels[level].coords), len(pyramid.neighbours[level].rows)
        multiply_adds += len(pyramid.strides[level].children) * channels * dim
        multiply_adds += depth * dim * (edges + 2 * rows * config.expansion * dim)
        channels = dim
    return 2 * multiply_adds


def number_of_parameters(module: nn.Module) -> int:
    """Count the trainable parameters."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
