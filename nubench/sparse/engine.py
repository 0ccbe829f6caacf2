"""Engines: who builds the coordinate maps and convolves. The backbone talks to this interface only.

An engine owns no parameters, so weights move freely between engines. Layouts are those of the native engine:
depth-wise weights (kernel^3, C), strided weights (stride^3, C, D), places counted with x slowest. Whatever order an
engine likes its voxels in, the rows it returns stand event after event, as :meth:`Geometry.offsets` says, because
pooling and normalisation go by event.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from nubench.errors import unknown_name
from nubench.sparse.batch import SparseBatch
from nubench.sparse.coordinates import Pyramid, build_pyramid
from nubench.sparse.depthwise import depthwise_convolution
from nubench.sparse.strided import strided_convolution


class Geometry(Protocol):
    """The coordinate maps of one batch, built once and used by every layer, forward and backward."""

    def offsets(self, level: int) -> Tensor:
        """(B + 1,) int64 rows of the events after the strided convolution ``level``, 0 being the stem."""
        ...

    def strided(self, level: int, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Convolve into ``level`` from the level before it, level 0 from the batch's own voxels.

        Args:
            level: where to.
            features: (N, C) at the level before.
            weight: (stride^3, C, D).
            bias: (D,).

        Returns:
            (M, D).
        """
        ...

    def depthwise(self, level: int, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Convolve every channel at ``level`` by itself: (N, C), (kernel^3, C), (C,) -> (N, C)."""
        ...


class Engine(Protocol):
    """Builds the geometry of a batch."""

    name: str

    def geometry(self, batch: SparseBatch, strides: Sequence[int], kernel: int) -> Geometry:
        """Build the maps of all levels.

        Args:
            batch: the events.
            strides: stride (and kernel) of the convolution into each level.
            kernel: odd edge of the depth-wise kernels.
        """
        ...


@dataclass(frozen=True, eq=False)
class NativeGeometry:
    """Maps of the native engine."""

    pyramid: Pyramid

    def offsets(self, level: int) -> Tensor:
        """See :class:`Geometry`."""
        return self.pyramid.levels[level].offsets

    def strided(self, level: int, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """See :class:`Geometry`."""
        return strided_convolution(features, self.pyramid.strides[level], weight, bias)

    def depthwise(self, level: int, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """See :class:`Geometry`."""
        return depthwise_convolution(features, self.pyramid.neighbours[level], weight, bias)


class NativeEngine:
    """torch everywhere, compiled kernels on the CPU."""

    name = "native"

    def geometry(self, batch: SparseBatch, strides: Sequence[int], kernel: int) -> NativeGeometry:
        """See :class:`Engine`."""
        return NativeGeometry(build_pyramid(batch, strides, kernel))


def _minkowski() -> Engine:
    from nubench.sparse.minkowski import MinkowskiEngine

    return MinkowskiEngine()


_ENGINES: dict[str, Callable[[], Engine]] = {"native": NativeEngine, "minkowski": _minkowski}


def get_engine(name: str) -> Engine:
    """Make the engine of that name.

    Raises:
        UsageError: when there is none, or what it needs is not installed.
    """
    if name not in _ENGINES:
        raise unknown_name("engine", name, _ENGINES)
    return _ENGINES[name]()
