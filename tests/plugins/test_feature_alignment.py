from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from shifted_domain import accuracy, fit, small_context, small_view

from nubench.training import Step
from nubench_plugins import feature_alignment
from nubench_plugins.feature_alignment import Coral, FeatureAlignment, Mmd, coral_distance, mmd_squared

pytestmark = pytest.mark.usefixtures("one_thread")


def _embeddings(rows: int, seed: int, columns: int = 4) -> torch.Tensor:
    return torch.randn(rows, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _slow_coral(source: torch.Tensor, target: torch.Tensor) -> float:
    """The distance with plain loops over channels and events."""

    def covariance(rows: list[list[float]], a: int, b: int) -> float:
        mean_a, mean_b = (sum(row[c] for row in rows) / len(rows) for c in (a, b))
        return sum((row[a] - mean_a) * (row[b] - mean_b) for row in rows) / (len(rows) - 1)

    s, t, d = source.tolist(), target.tolist(), source.shape[1]
    total = sum((covariance(s, a, b) - covariance(t, a, b)) ** 2 for a in range(d) for b in range(d))
    return total / (4 * d * d)


def _slow_mmd(source: torch.Tensor, target: torch.Tensor) -> float:
    """The distance with plain loops over pairs; independent of the code but for the formula."""
    s, t = source.tolist(), target.tolist()

    def squared(a: list[float], b: list[float]) -> float:
        return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))

    every = s + t
    distances = sorted(squared(every[i], every[j]) for i in range(len(every)) for j in range(i))
    median = distances[(len(distances) - 1) // 2]

    def kernel(a: list[float], b: list[float]) -> float:
        return sum(math.exp(-squared(a, b) / (q * median)) for q in (0.25, 0.5, 1, 2, 4)) / 5

    def within(rows: list[list[float]]) -> float:
        pairs = [kernel(rows[i], rows[j]) for i in range(len(rows)) for j in range(len(rows)) if i != j]
        return sum(pairs) / len(pairs)

    return within(s) + within(t) - 2 * sum(kernel(a, b) for a in s for b in t) / (len(s) * len(t))


def test_coral_is_its_formula_and_numpy_s_covariance() -> None:
    source, target = _embeddings(7, 1), 2 * _embeddings(5, 2)
    assert float(coral_distance(source, target)) == pytest.approx(_slow_coral(source, target), rel=1e-10)
    difference = np.cov(source.numpy().T) - np.cov(target.numpy().T)
    assert float(coral_distance(source, target)) == pytest.approx(np.linalg.norm(difference) ** 2 / 64, rel=1e-10)


def test_coral_does_not_see_means() -> None:
    source = _embeddings(20, 1)
    assert float(coral_distance(source, source + 100)) == pytest.approx(0, abs=1e-18)
    assert Coral(Coral.Config(means=True)).distance(source, source + 3) == pytest.approx(9)


def test_mmd_is_its_formula() -> None:
    source, target = _embeddings(7, 1), 0.5 + _embeddings(6, 2)
    assert float(mmd_squared(source, target)) == pytest.approx(_slow_mmd(source, target), rel=1e-9)


def test_mmd_is_unbiased_and_grows_with_the_distance() -> None:
    same = [float(mmd_squared(_embeddings(16, 2 * i), _embeddings(16, 2 * i + 1))) for i in range(300)]
    # The mean of the biased estimate would be about 2 / 16.
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(len(same)) < 0.01
    source, other = _embeddings(64, 1), _embeddings(64, 2)
    distances = [float(mmd_squared(source, other + shift)) for shift in (0.0, 0.5, 1.0, 2.0)]
    assert distances == sorted(distances)


@pytest.mark.parametrize("distance", [coral_distance, mmd_squared])
def test_gradients_are_right_and_finite_for_equal_rows(distance: Any) -> None:
    source, target = _embeddings(5, 1), _embeddings(4, 2)
    if distance is coral_distance:
        assert torch.autograd.gradcheck(distance, (source.requires_grad_(), target.requires_grad_()))
    equal = torch.ones(6, 3, requires_grad=True)
    distance(equal, equal + 0).backward()
    assert equal.grad is not None
    assert torch.isfinite(equal.grad).all()


def test_the_gradient_of_mmd_takes_the_widths_as_constants() -> None:
    # Over all rows the pulls on source and target cancel whatever the widths do; one row is moved by hand instead.
    source, target = _embeddings(5, 1).requires_grad_(), _embeddings(5, 2)
    mmd_squared(source, target).backward()
    rows = torch.cat([source.detach(), target])
    pairs = [(rows[i] - rows[j]).square().sum().item() for i in range(10) for j in range(i)]
    median = sorted(pairs)[(len(pairs) - 1) // 2]
    expected = torch.zeros(4, dtype=torch.float64)
    for other in range(10):
        if other == 0:
            continue
        apart = rows[0] - rows[other]
        slope = (
            sum(-2 / (q * median) * math.exp(-float(apart @ apart) / (q * median)) for q in (0.25, 0.5, 1, 2, 4)) / 5
        )
        # Two of the 5 * 4 ordered pairs within the source, one of the 25 between, with -2 before it.
        expected += slope * apart * (2 / 20 if other < 5 else -2 / 25)
    assert source.grad is not None
    assert torch.allclose(source.grad[0], expected)


@pytest.mark.parametrize(
    ("method", "seed", "shift", "settings"),
    [
        # Displaced to a fixed value: the covariances differ.
        (Coral, 4, {"displaced": 2.0, "stretched": 0.0}, {}),
        (Coral, 3, {"displaced": 3.0}, {"means": True}),
        (Mmd, 3, {"displaced": 3.0}, {}),
    ],
)
def test_alignment_helps_on_the_target(
    method: type[FeatureAlignment], seed: int, shift: dict[str, float], settings: dict[str, Any], tmp_path: Path
) -> None:
    data = small_view(method, **shift)
    found = {}
    for weight in (0.0, 1.0):
        model = fit(method, data, small_context(tmp_path / str(weight), seed), **settings, weight=weight)
        found[weight] = accuracy(model, **shift)
    assert found[1.0] > found[0.0] + 0.15


@pytest.mark.parametrize("method", [Coral, Mmd])
def test_distances_are_computed_in_single_precision(
    method: type[FeatureAlignment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = set()

    def watched(self: FeatureAlignment, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        seen.update({source.dtype, target.dtype, (source @ target.T).dtype})
        return (source - target).square().mean()

    monkeypatch.setattr(method, "distance", watched)
    original = feature_alignment.train

    def in_half_precision(modules: Any, loss: Any, *rest: Any, **options: Any) -> Any:
        # As on an accelerator: train() turns autocast off on a CPU, so it is turned on within the loss.
        def under_autocast(step: Step) -> torch.Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return loss(step)

        return original(modules, under_autocast, *rest, **options)

    monkeypatch.setattr(feature_alignment, "train", in_half_precision)
    fit(method, small_view(method), small_context(tmp_path), views=256)
    assert seen == {torch.float32}
