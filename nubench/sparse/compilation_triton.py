"""GPU kernels: when they are used, and how they are compiled and launched.

Triton comes with the CUDA builds of torch. Without it, every operation has a plain torch form that is slower and as
deterministic. No kernel uses atomic operations: every output element is written by one program, which adds up in a
fixed order, so a result is the same bit by bit from run to run. Where TRITON_INTERPRET=1 is set, the same kernels
run, slowly, on tensors in the processor's memory; that is for tests of their logic.

Integers that change from batch to batch reach a kernel through tensors or the grid, never as arguments: Triton would
compile again for some values.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

_ELEMENTS = 1024  # of a tile for each warp: 32 a thread
_MOST_ROWS = 64
_FEWEST_CHANNELS, _MOST_CHANNELS = 16, 128


@cache
def _installed() -> bool:
    return importlib.util.find_spec("triton") is not None


def triton_usable(tensor: Tensor) -> bool:
    """Tell whether the GPU kernels serve this tensor: floating point, Triton installed, on a GPU or interpreted."""
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    return tensor.device.type == ("cpu" if interpreted else "cuda") and tensor.is_floating_point() and _installed()


def kernel(function: Callable[..., None]) -> Any:
    """Compile a kernel on its first launch for each combination of types and constants."""
    return importlib.import_module("triton").jit(function)


class Tiles(NamedTuple):
    """How programs cut (rows, channels) up.

    Attributes:
        warps: of a program.
        rows, channels: of a tile, powers of two.
        across: tiles side by side that cover all channels.
    """

    warps: int
    rows: int
    channels: int
    across: int


def tiles(channels: int, warps: int) -> Tiles:
    """Choose tiles: as wide as divides the channels, where that is not too narrow, so that no thread idles."""
    dividing = channels & -channels
    width = dividing if dividing >= _FEWEST_CHANNELS else 1 << (channels - 1).bit_length()
    width = min(max(width, _FEWEST_CHANNELS), _MOST_CHANNELS)
    return Tiles(warps, min(warps * _ELEMENTS // width, _MOST_ROWS), width, -(-channels // width))


def launch(function: Any, programs: int, tile: Tiles, *tensors: Tensor, **constants: Any) -> None:
    """Run a kernel on the device of its tensors.

    Args:
        function: made by :func:`kernel`; its last two constants are ``tile_rows`` and ``tile_channels``.
        programs: how many for each of the tiles side by side.
        tile: what a program works on at once.
        tensors: contiguous, on one device.
        constants: what is known when the kernel is compiled.
    """
    device = tensors[0].device
    constants |= {
        "tile_rows": tile.rows,
        "tile_channels": tile.channels,
        "num_warps": tile.warps,
        "enable_fp_fusion": True,
    }
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        function[programs, tile.across](*tensors, **constants)


def accumulator(tensor: Tensor) -> torch.dtype:
    """The type to add up in: single precision, double for doubles."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def in_autocast_type(features: Tensor) -> Tensor:
    """Under autocast, the features in its type, as torch's own convolutions have it; differentiable."""
    device = features.device.type
    if features.dtype == torch.float64 or not torch.is_autocast_enabled(device):
        return features
    return features.to(torch.get_autocast_dtype(device))
