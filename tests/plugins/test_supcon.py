from __future__ import annotations

import math

import pytest
import torch

from nubench_plugins.supcon import supervised_contrastive_loss


def _nt_xent(projected: torch.Tensor, temperature: float) -> float:
    """Eq. 1 of the paper with plain loops."""
    unit = [row / row.norm() for row in projected]
    views = len(unit)
    total = 0.0
    for i in range(views):
        j = (i + views // 2) % views
        every = sum(math.exp(float(unit[i] @ unit[k]) / temperature) for k in range(views) if k != i)
        total -= math.log(math.exp(float(unit[i] @ unit[j]) / temperature) / every)
    return total / views


def _supcon(projected: torch.Tensor, labels: list[int], temperature: float, alpha: float) -> float:
    """Eq. 2 of the paper with plain loops."""
    unit = [row / row.norm() for row in projected]
    views = len(unit)
    total = 0.0
    for i in range(views):
        above = below = 0.0
        for j in range(views):
            if j == i:
                continue
            similarity = math.exp(float(unit[i] @ unit[j]) / temperature)
            below += similarity
            if j == (i + views // 2) % views:
                above += similarity
            elif labels[i] == labels[j]:
                above += alpha * similarity
        total -= math.log(above / below)
    return total / views


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("temperature", [0.05, 0.1, 1.0])
def test_the_loss_is_eq_2(alpha: float, temperature: float) -> None:
    projected = torch.randn(12, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 1, 1, 2, 0, 0]).repeat(2)
    loss = supervised_contrastive_loss(projected, labels, temperature, alpha)
    assert float(loss) == pytest.approx(_supcon(projected, labels.tolist(), temperature, alpha), rel=1e-10)


def test_alpha_0_is_simclr() -> None:
    projected = torch.randn(16, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    labels = torch.zeros(16, dtype=torch.int64)
    loss = supervised_contrastive_loss(projected, labels, 0.1, 0.0)
    assert float(loss) == pytest.approx(_nt_xent(projected, 0.1), rel=1e-10)


def test_by_hand_two_orthogonal_events() -> None:
    # Views of one event coincide, the other event is orthogonal: s is 1 once and 0 twice for every anchor.
    projected = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0], [0.0, 1.0]])
    e = math.exp(1 / 0.5)
    different = supervised_contrastive_loss(projected, torch.tensor([0, 1, 0, 1]), 0.5, 1.0)
    same = supervised_contrastive_loss(projected, torch.tensor([0, 0, 0, 0]), 0.5, 1.0)
    assert float(different) == pytest.approx(-math.log(e / (e + 2)), rel=1e-6)
    assert float(same) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_loss_and_gradient_are_finite_at_a_low_temperature(dtype: torch.dtype) -> None:
    projected = torch.randn(20, 6, generator=torch.Generator().manual_seed(3)).to(dtype)
    projected[4] = 0  # ReLU heads do return zero vectors
    projected.requires_grad_()
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2, 7]).repeat(2)  # class 7 is a class of one event
    loss = supervised_contrastive_loss(projected, labels, 0.01, 0.0)
    loss.backward()
    assert torch.isfinite(loss)
    assert projected.grad is not None
    assert torch.isfinite(projected.grad).all()


def test_the_gradient_is_right() -> None:
    projected = torch.randn(8, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(4), requires_grad=True)
    labels = torch.tensor([0, 1, 1, 0]).repeat(2)
    assert torch.autograd.gradcheck(lambda p: supervised_contrastive_loss(p, labels, 0.2, 0.5), (projected,))
