"""The GPU kernels without a GPU: their results under Triton's interpreter, and their compilation for one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from kernel_checks import sorted_voxels
from nubench.sparse.compilation_triton import Tiles, tiles, triton_usable
from nubench.sparse.coordinates import neighbour_map

INTERPRETED = Path(__file__).with_name("interpreted_kernels.py")
POINTERS = {
    torch.float64: "*fp64",
    torch.float32: "*fp32",
    torch.bfloat16: "*bf16",
    torch.int64: "*i64",
    torch.int32: "*i32",
    torch.int16: "*i16",
}
HOPPER, WARP = 90, 32

needs_triton = pytest.mark.skipif(
    find_spec("triton") is None, reason="Triton is not installed (it has wheels for Linux alone)"
)


@needs_triton
@pytest.mark.slow
def test_results_under_the_interpreter():
    # Triton reads the variable when it is imported, so the kernels run in a process of their own.
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(INTERPRETED)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-1000:]


def compiler_for_hopper(kernels: set[str]) -> Callable[..., None]:
    """A stand-in for ``launch`` that compiles the kernel for compute capability 9.0 and runs nothing."""
    from triton import compile as compile_kernel
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    def launch(function: Any, programs: int, tile: Tiles, *tensors: torch.Tensor, **constants: Any) -> None:
        constants |= {"tile_rows": tile.rows, "tile_channels": tile.channels}
        names = function.arg_names
        assert [*names[len(tensors) :]] == [name for name in names if name in constants]
        types = {name: POINTERS[tensor.dtype] for name, tensor in zip(names, tensors, strict=False)}
        aligned = {(number,): [["tt.divisibility", 16]] for number in range(len(tensors))}
        source = ASTSource(function, types | dict.fromkeys(constants, "constexpr"), constants, aligned)
        options = {"num_warps": tile.warps, "enable_fp_fusion": True}
        compiled = compile_kernel(source, target=GPUTarget("cuda", HOPPER, WARP), options=options)
        assert "cubin" in compiled.asm
        kernels.add(function.__name__)

    return launch


@needs_triton
@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, *(pytest.param(t, marks=pytest.mark.slow) for t in (torch.float32, torch.float64))]
)
def test_every_kernel_compiles_for_a_gpu(dtype, monkeypatch, tmp_path):
    """The interpreter accepts what the compiler refuses; machine code can be made where there is no GPU."""
    from nubench.sparse import depthwise_triton, pooling_triton, response_triton

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernels: set[str] = set()
    modules = (depthwise_triton, pooling_triton, response_triton)
    for module in modules:
        monkeypatch.setattr(module, "launch", compiler_for_hopper(kernels))
    voxels = sorted_voxels(0, (3, 5), 4)
    weight_type = torch.float64 if dtype == torch.float64 else torch.float32
    features = torch.randn(8, 96, dtype=dtype, requires_grad=True)
    bias, gamma, beta = torch.randn(3, 96, dtype=weight_type, requires_grad=True)
    weight = torch.randn(27, 96, dtype=weight_type, requires_grad=True)

    near = neighbour_map(voxels, 3)
    depthwise_triton.convolve(features, near, weight, bias).sum().backward()
    response_triton.respond(features, bias, voxels.offsets, gamma, beta, 1e-6).sum().backward()
    response_triton.respond(features, None, voxels.offsets, gamma, beta, 1e-6).sum().backward()
    pooling_triton.maximum(features.detach(), voxels.offsets)
    pooling_triton.total(features, voxels.offsets)
    written = {name for module in modules for name in vars(module) if hasattr(vars(module)[name], "arg_names")}
    assert kernels == written


def test_without_a_gpu_or_the_interpreter_nothing_changes(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert not triton_usable(torch.zeros(1))


@pytest.mark.parametrize("channels", [1, 3, 16, 20, 33, 96, 192, 384, 768, 3072])
@pytest.mark.parametrize("warps", [1, 4])
def test_tiles_are_powers_of_two_that_cover_the_channels_without_a_tile_too_many(channels, warps):
    tile = tiles(channels, warps)
    for size in (tile.rows, tile.channels):
        assert size & (size - 1) == 0
    assert (tile.across - 1) * tile.channels < channels <= tile.across * tile.channels
    assert 32 * warps <= tile.rows * tile.channels <= 1024 * warps
