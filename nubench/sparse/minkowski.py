"""The second engine: MinkowskiEngine 0.5.4 (Choy et al. 2019, arXiv 1904.08755), on the CPU.

It shares no code with the native engine and so is the reference to check it against. It is slow: its channel-wise
convolution is a loop over the places of the kernel. Its faults, and what is done about each:

- Its global average and sum are wrong from five events on: pooling and normalisation here go by rows of events.
- A convolution of no voxels ends the process: an empty batch cannot be made, and rows are counted before each layer.
- Voxels that stand twice in an event are dropped silently: they are refused.
- It knows neither half precision nor autocast, and its build here no CUDA: refused.
- Kernels with an odd edge are centred, so those of a strided convolution would leave their cell: refused.
- Its layers draw initial weights from torch's global generator: the layers made here draw nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nubench.errors import UsageError
from nubench.sparse.batch import SparseBatch
from nubench.sparse.minkowski_import import import_minkowski_engine

_FLOATS = (torch.float32, torch.float64)


@dataclass(frozen=True, eq=False)
class MinkowskiLevel:
    """Voxels of one level in MinkowskiEngine's coordinate manager.

    Attributes:
        key: name of the level's coordinates in the manager.
        to_theirs: (N,) int64 row here of each row there; ``features[to_theirs]`` is what MinkowskiEngine wants.
        to_ours: (N,) int64, the inverse.
        offsets: (B + 1,) int64 rows here of the events.
    """

    key: Any
    to_theirs: Tensor
    to_ours: Tensor
    offsets: Tensor


@dataclass(frozen=True, eq=False)
class MinkowskiGeometry:
    """Coordinates of a batch in MinkowskiEngine, sorted by (event, x, y, z) where they leave it.

    Attributes:
        manager: MinkowskiEngine's coordinate manager; keeps the kernel maps once they are made.
        levels: the batch's own voxels, then those after each strided convolution.
        strides: stride into each level.
        kernel: odd edge of the depth-wise kernels.
    """

    manager: Any
    levels: Sequence[MinkowskiLevel]
    strides: Sequence[int]
    kernel: int

    def offsets(self, level: int) -> Tensor:
        """See :class:`nubench.sparse.engine.Geometry`."""
        return self.levels[level + 1].offsets

    def strided(self, level: int, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """See :class:`nubench.sparse.engine.Geometry`."""
        before, after, stride = self.levels[level], self.levels[level + 1], self.strides[level]
        engine = import_minkowski_engine()
        generator = engine.KernelGenerator(kernel_size=stride, stride=stride, dimension=3)
        mode = import_module("MinkowskiEngineBackend._C").ConvolutionMode.DEFAULT
        theirs = engine.MinkowskiConvolutionFunction.apply(
            _in_their_order(features, before, weight),
            _x_fastest(weight, stride),
            generator,
            mode,
            before.key,
            after.key,
            self.manager,
        )
        out: Tensor = theirs.index_select(0, after.to_ours) + bias
        return out

    def depthwise(self, level: int, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """See :class:`nubench.sparse.engine.Geometry`."""
        here = self.levels[level + 1]
        engine = import_minkowski_engine()
        tensor = engine.SparseTensor(
            _in_their_order(features, here, weight), coordinate_map_key=here.key, coordinate_manager=self.manager
        )
        layer = _without_drawing(engine.MinkowskiChannelwiseConvolution)(
            weight.shape[1], kernel_size=self.kernel, dimension=3
        )
        # Their layer, on weights that stay ours.
        theirs = torch.func.functional_call(layer, {"kernel": _x_fastest(weight, self.kernel)}, (tensor,))
        out: Tensor = theirs.F.index_select(0, here.to_ours) + bias
        return out


class MinkowskiEngine:
    """Convolves through MinkowskiEngine's own layers.

    Raises:
        UsageError: when MinkowskiEngine is not installed, or cannot be imported.
    """

    name = "minkowski"

    def __init__(self) -> None:
        import_minkowski_engine()

    def geometry(self, batch: SparseBatch, strides: Sequence[int], kernel: int) -> MinkowskiGeometry:
        """See :class:`nubench.sparse.engine.Engine`.

        Raises:
            UsageError: when the batch is not on the CPU, autocast is on, or a stride is odd and not 1.
            ValueError: when a voxel stands twice in an event, or the kernel is even.
        """
        _check_request(batch, strides, kernel)
        engine = import_minkowski_engine()
        # Without a number it would take all cores, whatever torch was told.
        manager = engine.CoordinateManager(
            D=3, num_threads=torch.get_num_threads(), coordinate_map_type=engine.CoordinateMapType.CPU
        )
        rows = torch.cat([batch.event[:, None].to(torch.int32), batch.coords], 1)
        key, (unique, _) = manager.insert_and_map(rows, [1, 1, 1])
        if len(unique) < len(rows):
            raise _repeated(rows, unique)
        unique = unique.long()
        levels = [MinkowskiLevel(key, unique, _inverse(unique), batch.offsets)]
        for stride in strides:
            key = manager.stride(key, stride)
            levels.append(_sorted_level(key, manager.get_coordinates(key), batch.size))
        return MinkowskiGeometry(manager, levels, tuple(strides), kernel)


def _check_request(batch: SparseBatch, strides: Sequence[int], kernel: int) -> None:
    if batch.device.type != "cpu":
        raise UsageError(f"engine 'minkowski' runs on the CPU alone; got {batch.device}. Use --device cpu")
    if torch.is_autocast_enabled("cpu"):
        raise UsageError("engine 'minkowski' computes in float32 or float64 and cannot run under autocast")
    for stride in strides:
        if stride < 1 or (stride > 1 and stride % 2 == 1):
            raise UsageError(f"engine 'minkowski' needs strides that are 1 or even; got {stride}")
    if kernel < 1 or kernel % 2 == 0:
        raise ValueError(f"kernel must be odd; got {kernel}")


def _in_their_order(features: Tensor, level: MinkowskiLevel, weight: Tensor) -> Tensor:
    if features.dtype not in _FLOATS or weight.dtype != features.dtype:
        raise UsageError(
            "engine 'minkowski' needs features and weights of one type, float32 or float64; "
            f"got {features.dtype} and {weight.dtype}"
        )
    if len(features) != len(level.to_theirs):
        raise ValueError(f"the level has {len(level.to_theirs)} voxels; got features of {len(features)}")
    return features.index_select(0, level.to_theirs)


def _x_fastest(weight: Tensor, edge: int) -> Tensor:
    """Put the places of a kernel (edge^3, ...) in their order, in which x counts fastest; here z does."""
    cube = weight.reshape(edge, edge, edge, *weight.shape[1:])
    return cube.transpose(0, 2).reshape(weight.shape).contiguous()


def _repeated(rows: Tensor, unique: Tensor) -> ValueError:
    dropped = torch.ones(len(rows), dtype=torch.bool)
    dropped[unique.long()] = False
    event, *voxel = rows[dropped.nonzero()[0, 0]].tolist()
    return ValueError(f"no voxel may stand twice in an event; voxel {tuple(voxel)} does in event {event} of the batch")


def _sorted_level(key: Any, rows: Tensor, size: int) -> MinkowskiLevel:
    """Put the rows (event, x, y, z) of a level, which MinkowskiEngine keeps in no order, in ours."""
    to_ours = torch.from_numpy(np.lexsort(rows.numpy().T[::-1]))
    lengths = torch.bincount(rows[:, 0].long(), minlength=size)
    offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    return MinkowskiLevel(key, _inverse(to_ours), to_ours, offsets)


def _inverse(order: Tensor) -> Tensor:
    return torch.empty_like(order).index_copy_(0, order, torch.arange(len(order)))


def _without_drawing(layer: type[torch.nn.Module]) -> type[Any]:
    return type(layer.__name__, (layer,), {"reset_parameters": lambda self: None})
