"""Compiled CPU kernels: how they are compiled, when they are used and how they are called.

numba is optional at run time: without it, and for tensors that are not on the CPU, every operation has a plain torch
form. One lock guards all calls, because numba's portable threading layer (``workqueue``, the only one on macOS and the
only one that survives ``fork``) ends the process when two threads enter it at once.
"""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

numba: Any
try:
    numba = importlib.import_module("numba")
except ImportError:  # the torch forms are used instead
    numba = None

Function = TypeVar("Function", bound=Callable[..., Any])

_lock = threading.Lock()
_FLOATS = (torch.float32, torch.float64)


def _choose_threading_layer() -> None:
    # GNU OpenMP aborts a forked child that computes after its parent did; data loaders fork. Whoever sets
    # NUMBA_THREADING_LAYER knows better and is obeyed.
    if numba is not None and "NUMBA_THREADING_LAYER" not in os.environ and numba.config.THREADING_LAYER == "default":
        numba.config.THREADING_LAYER = "workqueue"


_choose_threading_layer()


def compiled(function: Function) -> Function:
    """Compile a kernel with parallel loops on its first call and keep the machine code on disk.

    Contraction to fused multiply-adds and re-ordered sums are allowed (they make loops vector code); infinities
    and NaN keep their meaning. The result depends on the machine's vector width but not on the number of threads.
    """
    if numba is None:
        return function
    decorated: Function = numba.njit(
        parallel=True, cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz", "arcp"}
    )(function)
    return decorated


def inlined(function: Function) -> Function:
    """Compile a helper that other kernels call."""
    if numba is None:
        return function
    decorated: Function = numba.njit(cache=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz", "arcp"})(
        function
    )
    return decorated


# Counts from 0; inside a compiled kernel the iterations are shared by the threads.
parallel_range: type[range] = range if numba is None else numba.prange


def kernels_usable(tensor: Tensor) -> bool:
    """Tell whether compiled kernels serve this tensor: numba is installed, on the CPU, a float type they know."""
    return (
        numba is not None
        and tensor.device.type == "cpu"
        and (tensor.dtype in _FLOATS or not tensor.is_floating_point())
    )


def call(kernel: Callable[..., Any], *arguments: Tensor | int | float) -> None:
    """Call a compiled kernel with tensors passed as numpy views; results are written into some of them.

    Uses as many threads as torch does (:func:`torch.get_num_threads`).
    """
    views = [a.detach().numpy() if isinstance(a, Tensor) else a for a in arguments]
    with _lock:
        numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))
        kernel(*views)
