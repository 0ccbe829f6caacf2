"""Measure a supervised training step on a GPU: events a second, where the time goes, and how far the floors are.

    python scripts/measure_gpu.py --events train/nominal.h5 --out measured

The step is the benchmark's own: batches collated and copied by the prefetching thread, maps, forward under autocast
to bfloat16, backward, clipped gradients, AdamW. Without ``--events`` the events are the reference events of
``nubench list backbones``. ``--device cpu`` shows that the script works; its numbers say nothing about a GPU.
"""

from __future__ import annotations

import json
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import nn
from torch.profiler import ProfilerActivity, profile

from nubench.backbone import Backbone, build_backbone, forward_flops, number_of_parameters
from nubench.backbone_designs import reference_events
from nubench.containers import Events, Int64
from nubench.environment import peak_memory_mb
from nubench.sparse.batch import SparseBatch
from nubench.sparse.compilation_triton import triton_usable
from nubench.sparse.coordinates import build_pyramid
from nubench.storage.files import write_atomically
from nubench.training.prefetch import Prefetcher, ready_batches

CLASSES = 5
PROFILED_STEPS, REPEATS, WARM_UP = 3, 3, 3
LISTED_KERNELS = 25
MATRIX_PRODUCT = re.compile(r"gemm|cutlass|nvjet|xmma|splitk|aten::(add)?mm$", re.IGNORECASE)
# Passes over (rows, channels), and over (rows, 4 channels), of a block whose layers read and write everything once:
# forward and backward of convolution, norm, two linear layers, GELU with GRN (which needs its input twice), sum.
NARROW_PASSES, WIDE_PASSES = 8 + 14, 5 + 9
OPTIMISER_PASSES = 7  # AdamW reads weight, gradient and two moments, and writes three of them


@dataclass(frozen=True)
class Kernel:
    """One kernel of the profile: its share of the device's time, milliseconds and calls a step."""

    name: str
    share: float
    milliseconds: float
    calls: float


@dataclass(frozen=True)
class Measurement:
    """What was measured; times in seconds, of one step."""

    device: str
    torch: str
    triton: str | None
    dtype: str
    preset: str
    events: str
    batch: int
    voxels: int
    events_per_second: float
    step: float
    maps: float
    share_of_maps: float
    share_of_waiting: float
    share_of_matrix_products: float
    peak_memory_mib: float
    operations: float
    operations_per_second: float
    floor_of_operations: float
    bytes_moved: float
    bytes_per_second: float
    floor_of_bytes: float
    kernels: list[Kernel]


def measure(events: Events, source: str, preset: str, size: int, steps: int, device: torch.device) -> Measurement:
    """Run and measure; see :class:`Measurement`."""
    torch.manual_seed(0)
    backbone = build_backbone(preset).to(device)
    step = make_step(backbone, device)
    batch = SparseBatch.from_events(events, np.arange(size) % len(events)).to(device)
    waits, times = [], []
    for repeat in range(1 + REPEATS):
        indices = draw(len(events), size, steps if repeat else WARM_UP)
        with Prefetcher(ready_batches(events, indices, 0.0, 1.0, device)) as batches:
            start = finished(device)
            count = sum(step(ready) for _, ready in batches)
            seconds = finished(device) - start
        if repeat:  # the first compiles the kernels
            times.append(seconds / count)
            waits.append(batches.seconds_waited / seconds)
    memory = torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else peak_memory_mb()
    maps = timed(lambda: build_pyramid(batch, backbone.config.strides, backbone.config.kernel), device)
    kernels = profiled(lambda: step(batch), device)
    products = sum(kernel.share for kernel in kernels if MATRIX_PRODUCT.search(kernel.name))
    operations, moved = 3.0 * forward_flops(backbone, batch), bytes_of_step(backbone, batch)
    rate, bandwidth = product_rate(device), copy_rate(device)
    seconds = statistics.median(times)
    return Measurement(
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
        torch=torch.__version__,
        triton=triton_version() if triton_usable(batch.features) else None,
        dtype="bfloat16" if device.type == "cuda" else "float32",
        preset=preset,
        events=source,
        batch=size,
        voxels=len(batch.coords),
        events_per_second=size / seconds,
        step=seconds,
        maps=maps,
        share_of_maps=maps / seconds,
        share_of_waiting=statistics.median(waits),
        share_of_matrix_products=products,
        peak_memory_mib=memory,
        operations=operations,
        operations_per_second=rate,
        floor_of_operations=operations / rate,
        bytes_moved=moved,
        bytes_per_second=bandwidth,
        floor_of_bytes=moved / bandwidth,
        kernels=kernels[:LISTED_KERNELS],
    )


def make_step(backbone: Backbone, device: torch.device) -> Callable[[SparseBatch], int]:
    """A supervised training step; it returns 1, to be counted."""
    head = nn.Linear(backbone.embedding_size, CLASSES).to(device)
    parameters = [*backbone.parameters(), *head.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=1e-4, fused=True)

    def step(batch: SparseBatch) -> int:
        labels = torch.arange(batch.size, device=device) % CLASSES
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            scores = head(backbone(batch))
        loss = nn.functional.cross_entropy(scores.float(), labels)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        return 1

    return step


def draw(events: int, size: int, steps: int) -> Iterator[Int64]:
    """The events of each batch."""
    random = np.random.default_rng(0)
    return (random.integers(0, events, size) for _ in range(steps))


def finished(device: torch.device) -> float:
    """The time when the device has done all that it was told to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def timed(function: Callable[[], Any], device: torch.device, rounds: int = 5) -> float:
    """Shortest of several times in seconds, after one for warming up."""
    function()
    times = []
    for _ in range(rounds):
        start = finished(device)
        function()
        times.append(finished(device) - start)
    return min(times)


def profiled(function: Callable[[], Any], device: torch.device) -> list[Kernel]:
    """The kernels of a GPU, or the operations of the processor, longest first."""
    on_gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as profiler:
        for _ in range(PROFILED_STEPS):
            function()
        finished(device)
    found: dict[str, tuple[float, int]] = {}
    for entry in profiler.key_averages():
        # What the processor did to start a kernel, and marks around several, would count its time twice.
        if on_gpu and (entry.device_type.name != "CUDA" or entry.is_user_annotation):
            continue
        microseconds = entry.self_device_time_total if on_gpu else entry.self_cpu_time_total
        before, calls = found.get(entry.key, (0.0, 0))
        found[entry.key] = before + microseconds, calls + entry.count
    total = sum(microseconds for microseconds, _ in found.values())
    kernels = [
        Kernel(name[:120], microseconds / total, microseconds / 1e3 / PROFILED_STEPS, calls / PROFILED_STEPS)
        for name, (microseconds, calls) in found.items()
    ]
    return sorted(kernels, key=lambda kernel: -kernel.share)


def bytes_of_step(backbone: Backbone, batch: SparseBatch) -> float:
    """Bytes that a step moves at least, in half precision, were every layer to read and write everything once."""
    config = backbone.config
    levels = build_pyramid(batch, config.strides, config.kernel).levels
    numbers = sum(
        depth * len(level.coords) * dim * (NARROW_PASSES + config.expansion * WIDE_PASSES)
        for level, dim, depth in zip(levels, config.dims, config.depths, strict=True)
    )
    return 2.0 * numbers + 4.0 * OPTIMISER_PASSES * number_of_parameters(backbone)


def product_rate(device: torch.device) -> float:
    """Operations a second of a large matrix product on random numbers."""
    size, dtype = (8192, torch.bfloat16) if device.type == "cuda" else (1024, torch.float32)
    first, second = torch.randn(2, size, size, device=device, dtype=dtype)
    return 2 * size**3 / timed(lambda: first @ second, device)


def copy_rate(device: torch.device) -> float:
    """Bytes a second of a large copy within the device, read and written bytes both counted."""
    source = torch.ones(2**30 if device.type == "cuda" else 2**26, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() * source.element_size() / timed(lambda: target.copy_(source), device)


def triton_version() -> str:
    """The version of Triton that compiled the kernels."""
    from importlib.metadata import version

    return version("triton")


def table(found: Measurement) -> str:
    """The measurement as short text."""
    rate, bandwidth = found.operations_per_second / 1e12, found.bytes_per_second / 1e9
    lines = [
        f"{found.preset}, {found.batch} events ({found.voxels:,} voxels, {found.events}), {found.dtype}",
        f"{found.device}, torch {found.torch}, triton {found.triton}",
        f"step {found.step * 1e3:.2f} ms, {found.events_per_second:,.0f} events/s, {found.peak_memory_mib:,.0f} MiB",
        f"maps {found.share_of_maps:.1%}, waiting for data {found.share_of_waiting:.1%}, "
        f"matrix products {found.share_of_matrix_products:.1%} of the device's time",
        f"floors: {found.floor_of_operations * 1e3:.2f} ms by operations ({rate:.1f} TFLOP/s), "
        f"{found.floor_of_bytes * 1e3:.2f} ms by bytes ({bandwidth:.0f} GB/s)",
        "share      ms  calls  kernel",
    ]
    lines += [f"{k.share:5.1%} {k.milliseconds:7.3f} {k.calls:6.0f}  {k.name[:80]}" for k in found.kernels]
    return "\n".join(lines)


def main(
    events: Annotated[Path | None, typer.Option(help="file of events, such as a train/nominal.h5")] = None,
    preset: Annotated[str, typer.Option(help="backbone")] = "paper",
    batch: Annotated[int, typer.Option(min=1, help="events a step")] = 672,
    steps: Annotated[int, typer.Option(min=1, help="steps of each of three repeats")] = 20,
    device: Annotated[str, typer.Option(help="cuda or cpu")] = "cuda",
    out: Annotated[Path, typer.Option(help="folder for measurement.json")] = Path(),
) -> None:
    """Measure a supervised training step."""
    if device == "cuda" and not torch.cuda.is_available():
        raise typer.BadParameter("no CUDA GPU is available; --device cpu shows that the script works")
    if events is None:
        data, source = reference_events(max(batch, 64)), "reference events"
    else:
        from nubench.events.store import read_events

        data, source = read_events(events).events, str(events)
    found = measure(data, source, preset, batch, steps, torch.device(device))
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "measurement.json", json.dumps(asdict(found), indent=1).encode())
    typer.echo(table(found))


if __name__ == "__main__":
    typer.run(main)
