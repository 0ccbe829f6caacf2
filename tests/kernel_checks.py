"""Checks of the GPU kernels against plain torch in float64, shared by the tests on a GPU and under the interpreter.

Every check draws fresh inputs, computes twice and wants the same bits. Memory that is reserved but not written is
filled with NaN, so an element that no program writes cannot pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from nubench.sparse.activation import gelu_with_response
from nubench.sparse.coordinates import NeighbourMap, StrideMap, Voxels, neighbour_map, stride_map
from nubench.sparse.depthwise import depthwise_convolution
from nubench.sparse.normalisation import global_response_normalisation
from nubench.sparse.pooling import pool
from nubench.sparse.strided import strided_convolution

# Largest relative error in the norm: of results in the features' type, and of what is summed in single precision.
TOLERANCES = {torch.float64: (1e-12, 1e-12), torch.float32: (1e-5, 1e-5), torch.bfloat16: (1e-2, 1e-4)}


@contextmanager
def poisoned_memory() -> Iterator[None]:
    """Fill reserved memory with NaN, and refuse operations of torch that are not deterministic."""
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.empty(8).isnan().all()
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@dataclass(frozen=True)
class Place:
    """Where a check runs: device, type of the features, and a generator for its inputs."""

    device: str
    dtype: torch.dtype
    seed: int

    def normal(self, *shape: int) -> Tensor:
        """Normal numbers in float64 on the CPU, exact in the type of the features."""
        generator = torch.Generator().manual_seed(self.seed + sum(shape))
        numbers = torch.randn(*shape, generator=generator, dtype=torch.float64)
        return numbers.to(self.dtype).double()

    def parameter(self, tensor: Tensor) -> Tensor:
        """The same on the device, in the type that weights have: single precision beside half."""
        return tensor.to(self.device, torch.float64 if self.dtype == torch.float64 else torch.float32)

    def features(self, tensor: Tensor) -> Tensor:
        """The same on the device in the type of the features."""
        return tensor.to(self.device, self.dtype)


def sorted_voxels(seed: int, sizes: tuple[int, ...], edge: int) -> Voxels:
    """Events of the given numbers of voxels in overlapping cubes, some at negative indices, sorted."""
    random = np.random.default_rng(seed)
    cells = [random.choice(edge**3, size, replace=False) for size in sizes]
    coords = np.concatenate([np.stack(np.unravel_index(c, (edge,) * 3), 1) - edge // 2 for c in cells])
    offsets = torch.tensor([0, *np.cumsum(sizes).tolist()])
    return stride_map(Voxels(torch.from_numpy(coords).int(), offsets), 1)[0]


def compare(place: Place, found: Callable[..., Tensor], reference: Callable[..., Tensor], inputs: list[Tensor]) -> None:
    """Compare result and gradients; ``inputs`` are float64 on the CPU, the features first, then parameters."""
    exact_inputs = [tensor.clone().requires_grad_() for tensor in inputs]
    exact = reference(*exact_inputs)
    upstream = place.normal(*exact.shape)
    wanted = [exact, *torch.autograd.grad(exact, exact_inputs, upstream)]
    results = []
    for _ in range(2):
        here = [place.features(inputs[0]), *(place.parameter(tensor) for tensor in inputs[1:])]
        here = [tensor.requires_grad_() for tensor in here]
        with poisoned_memory():
            out = found(*here)
            results.append([out, *torch.autograd.grad(out, here, upstream.to(out.device, out.dtype))])
    assert [result.dtype for result in results[0][1:]] == [tensor.dtype for tensor in here]
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other), "two runs differ"
    rough, fine = TOLERANCES[place.dtype]
    for number, (result, want) in enumerate(zip(results[0], wanted, strict=True)):
        error = float((result.detach().cpu().double() - want.detach()).norm() / want.detach().norm())
        assert error < (rough if number < 2 else fine), f"tensor {number} is off by {error:.2g}"


def check_depthwise(place: Place, sizes: tuple[int, ...], edge: int, kernel: int, channels: int) -> None:
    """The depth-wise convolution and its three gradients."""
    voxels = sorted_voxels(place.seed, sizes, edge)
    near = neighbour_map(voxels, kernel)
    out_rows = torch.repeat_interleave(near.pointers.diff())

    def reference(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        products = features[near.rows.long()] * weight[near.kernel_index.long()]
        return torch.zeros_like(features).index_add(0, out_rows, products) + bias

    maps = (tensor.to(place.device) for tensor in (near.pointers, near.rows, near.kernel_index))
    there = NeighbourMap(kernel, *maps)
    inputs = [place.normal(len(voxels.coords), channels), place.normal(kernel**3, channels), place.normal(channels)]
    compare(place, lambda f, w, b: depthwise_convolution(f, there, w, b), reference, inputs)


def check_strided(place: Place, sizes: tuple[int, ...], edge: int, stride: int, channels: tuple[int, int]) -> None:
    """The strided convolution and its three gradients."""
    fine = sorted_voxels(place.seed, sizes, edge)
    into = stride_map(fine, stride)[1]

    def reference(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        products = torch.einsum("nc,ncd->nd", features[into.children], weight[into.kernel_index.long()])
        return features.new_zeros(len(into.pointers) - 1, channels[1]).index_add(0, into.parent, products) + bias

    maps = (tensor.to(place.device) for tensor in (into.children, into.kernel_index, into.parent, into.pointers))
    there = StrideMap(stride, *maps)
    weight = place.normal(stride**3, *channels)
    inputs = [place.normal(len(fine.coords), channels[0]), weight, place.normal(channels[1])]

    def found(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return strided_convolution(features, there, weight.to(features.dtype), bias.to(features.dtype))

    compare(place, found, reference, inputs)


def check_response(place: Place, sizes: tuple[int, ...], channels: int, active: bool) -> None:
    """Global response normalisation, alone or after bias and GELU, and its gradients."""
    offsets = torch.tensor([0, *np.cumsum(sizes).tolist()])
    there = offsets.to(place.device)

    def plain(features: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        rows = []
        for start, end in pairwise(offsets.tolist()):
            norm = features[start:end].norm(dim=0)
            rows.append(features[start:end] * (1 + gamma * norm / (norm.mean() + 1e-6)) + beta)
        return torch.cat(rows)

    parameters = [place.normal(channels) + shift for shift in (0, 1, 2)]
    features = place.normal(sum(sizes), channels)
    if active:

        def found(features: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
            return gelu_with_response(features, bias, there, gamma, beta)

        def reference(features: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
            return plain(torch.nn.functional.gelu(features + bias), gamma, beta)

        compare(place, found, reference, [features, *parameters])
    else:
        alone = [features, *parameters[:2]]
        compare(place, lambda f, g, b: global_response_normalisation(f, there, g, b), plain, alone)


def check_pooling(place: Place, sizes: tuple[int, ...], channels: int, kind: str) -> None:
    """Pooling by event and its gradient."""
    offsets = torch.tensor([0, *np.cumsum(sizes).tolist()])
    reduce = {"max": torch.amax, "mean": torch.mean, "sum": torch.sum}[kind]
    there = offsets.to(place.device)
    # No two voxels of an event are equal, so the gradient of the maximum has one place to go in each form.
    numbers = [place.normal(size, channels).argsort(0) / 8 for size in sizes]
    features = torch.cat(numbers).to(place.dtype).double()
    compare(
        place,
        lambda f: pool(f, there, kind),
        lambda f: torch.stack([reduce(event, 0) for event in f.split(list(sizes))]),
        [features],
    )


def check_ties_and_missing_numbers(device: str, dtype: torch.dtype) -> None:
    """Of equal voxels the first has the gradient; a NaN wins, also over infinity; an event may hold only -inf."""
    nan, inf = float("nan"), float("inf")
    features = torch.tensor([[1, -inf], [3, -inf], [3, -inf], [5, inf], [2, nan], [4, 1]]).to(device, dtype)
    features.requires_grad_()
    with poisoned_memory():
        out = pool(features, torch.tensor([0, 3, 6], device=device), "max")
        out.sum().backward()
    assert out[:, 0].tolist() == [3, 5]
    assert out[0, 1] == -inf
    assert out[1, 1].isnan()
    assert features.grad is not None
    assert features.grad[:, 0].tolist() == [0, 1, 0, 1, 0, 0]
    assert features.grad[:, 1].tolist() == [1, 0, 0, 0, 1, 0]
