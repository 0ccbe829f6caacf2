"""The contrastive losses against the equations written out, against another implementation, and at their limits."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from nubench.losses import Variant, nt_xent, supervised_contrastive

LOSSES: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "nt-xent": lambda projected, labels, temperature: nt_xent(projected, temperature),
    "in": lambda projected, labels, temperature: supervised_contrastive(projected, labels, temperature, 1.0, "in"),
    "out": lambda projected, labels, temperature: supervised_contrastive(projected, labels, temperature, 1.0, "out"),
}


def _projections(events: int, size: int = 5, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(2 * events, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


def _written_out(projected: Tensor, labels: list[int], temperature: float, alpha: float, variant: Variant) -> float:
    """Eq. 2 of arXiv:2502.07724, or eq. 2 of arXiv:2004.11362 with weights, with plain loops."""
    unit = [row / row.norm() for row in projected]
    views = len(unit)
    total = 0.0
    for i in range(views):
        others = [j for j in range(views) if j != i]
        similarity = {j: math.exp(float(unit[i] @ unit[j]) / temperature) for j in others}
        partner = (i + views // 2) % views
        weight = {j: 1.0 if j == partner else alpha * (labels[i] == labels[j]) for j in others}
        below = sum(similarity.values())
        if variant == "in":
            total -= math.log(sum(weight[j] * similarity[j] for j in others) / below)
        else:
            total -= sum(weight[j] * math.log(similarity[j] / below) for j in others) / sum(weight.values())
    return total / views


@pytest.mark.parametrize("variant", ["in", "out"])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("temperature", [0.05, 0.1, 1.0])
def test_the_loss_is_the_equation(variant: Variant, alpha: float, temperature: float) -> None:
    projected = _projections(6)
    labels = torch.tensor([0, 1, 1, 2, 0, 0]).repeat(2)
    loss = supervised_contrastive(projected, labels, temperature, alpha, variant)
    expected = _written_out(projected, labels.tolist(), temperature, alpha, variant)
    assert float(loss) == pytest.approx(expected, rel=1e-10)


@given(
    events=st.integers(1, 12),
    seed=st.integers(0, 2**31),
    temperature=st.floats(0.05, 2.0),
    variant=st.sampled_from(["in", "out"]),
)
def test_alpha_0_is_nt_xent(events: int, seed: int, temperature: float, variant: Variant) -> None:
    projected = _projections(events, seed=seed, dtype=torch.float32)
    labels = torch.zeros(2 * events, dtype=torch.int64)
    supervised = supervised_contrastive(projected, labels, temperature, 0.0, variant)
    assert float(supervised) == pytest.approx(float(nt_xent(projected, temperature)), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("variant", ["in", "out"])
def test_classes_of_one_event_are_nt_xent_at_any_alpha(variant: Variant) -> None:
    projected = _projections(6)
    labels = torch.arange(6).repeat(2)
    expected = float(nt_xent(projected, 0.1))
    assert float(supervised_contrastive(projected, labels, 0.1, 1.0, variant)) == pytest.approx(expected, rel=1e-12)


def test_by_hand_two_orthogonal_events() -> None:
    # Views of one event coincide, the other event is orthogonal: s is 1 once and 0 twice for every anchor.
    projected = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0], [0.0, 1.0]])
    e = math.exp(1 / 0.5)
    alone, one_class = torch.tensor([0, 1, 0, 1]), torch.tensor([0, 0, 0, 0])
    expected = math.log(e + 2) - 2
    assert float(nt_xent(projected, 0.5)) == pytest.approx(expected, rel=1e-6)
    for variant in ("in", "out"):
        assert float(supervised_contrastive(projected, alone, 0.5, 1.0, variant)) == pytest.approx(expected, rel=1e-6)
    # All three are partners: together they are everything; one by one they are the mean of 2, 0 and 0.
    assert float(supervised_contrastive(projected, one_class, 0.5, 1.0, "in")) == pytest.approx(0.0, abs=1e-6)
    expected = math.log(e + 2) - 2 / 3
    assert float(supervised_contrastive(projected, one_class, 0.5, 1.0, "out")) == pytest.approx(expected, rel=1e-6)


def test_one_event_alone_has_no_loss() -> None:
    assert float(nt_xent(_projections(1), 0.1)) == 0.0


@pytest.mark.parametrize("temperature", [0.05, 0.1, 0.5])
def test_another_implementation_agrees(temperature: float) -> None:
    losses = pytest.importorskip("pytorch_metric_learning.losses", reason="install the extra 'test'")
    projected = _projections(24, 8)
    labels = torch.randint(5, (24,), generator=torch.Generator().manual_seed(2)).repeat(2)
    events = torch.arange(24).repeat(2)
    expected = losses.NTXentLoss(temperature=temperature)(projected, events)
    torch.testing.assert_close(nt_xent(projected, temperature), expected, rtol=1e-9, atol=0)
    expected = losses.SupConLoss(temperature=temperature)(projected, labels)
    outer = supervised_contrastive(projected, labels, temperature, 1.0, "out")
    torch.testing.assert_close(outer, expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_is_right(name: str) -> None:
    projected = _projections(4, 4).requires_grad_()
    labels = torch.tensor([0, 1, 1, 0]).repeat(2)
    assert torch.autograd.gradcheck(lambda p: LOSSES[name](p, labels, 0.2), (projected,))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("temperature", [0.05, 0.01])
def test_loss_and_gradient_are_finite_at_a_low_temperature(name: str, dtype: torch.dtype, temperature: float) -> None:
    projected = _projections(10, 6, dtype=dtype)
    projected[4] = 0  # ReLU heads do return zero vectors
    projected.requires_grad_()
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2, 7]).repeat(2)  # class 7 is a class of one event
    loss = LOSSES[name](projected.relu(), labels, temperature)
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert projected.grad is not None
    assert torch.isfinite(projected.grad).all()


@pytest.mark.parametrize("name", LOSSES)
def test_bfloat16_projections_are_compared_in_float32(name: str) -> None:
    projected = _projections(40, 16, dtype=torch.bfloat16)
    labels = torch.arange(40).remainder(5).repeat(2)
    exact = LOSSES[name](projected.double(), labels, 0.05)
    assert float(LOSSES[name](projected, labels, 0.05)) == pytest.approx(float(exact), rel=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        assert float(LOSSES[name](projected, labels, 0.05)) == pytest.approx(float(exact), rel=1e-6)


@pytest.mark.parametrize("anchors_at_once", [1, 7, 20])
@pytest.mark.parametrize("variant", ["in", "out", None])
def test_slices_of_anchors_change_neither_loss_nor_gradient(variant: Variant | None, anchors_at_once: int) -> None:
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2, 7]).repeat(2)

    def loss_and_gradient(anchors_at_once: int) -> tuple[Tensor, Tensor]:
        projected = _projections(10, 6).requires_grad_()
        if variant is None:
            loss = nt_xent(projected, 0.1, anchors_at_once)
        else:
            loss = supervised_contrastive(projected, labels, 0.1, 0.5, variant, anchors_at_once)
        return loss, torch.autograd.grad(loss, projected)[0]

    whole, sliced = loss_and_gradient(20), loss_and_gradient(anchors_at_once)
    torch.testing.assert_close(sliced[0], whole[0], rtol=1e-12, atol=0)
    torch.testing.assert_close(sliced[1], whole[1], rtol=1e-9, atol=1e-12)


def test_slices_keep_one_slice_of_the_matrix_for_the_gradient() -> None:
    saved: list[int] = []

    def note(tensor: Tensor) -> Tensor:
        saved.append(tensor.numel())
        return tensor

    projected = _projections(64).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        nt_xent(projected, 0.1, anchors_at_once=128)
        assert max(saved) == 128 * 128
        saved.clear()
        nt_xent(projected, 0.1, anchors_at_once=16)
        assert max(saved) <= 128 * 5


def test_what_is_no_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="two views of each of B events"):
        nt_xent(torch.zeros(5, 3), 0.1)
    with pytest.raises(ValueError, match="two views of each of B events"):
        nt_xent(torch.zeros(0, 3), 0.1)
    with pytest.raises(ValueError, match="one for each of 6 views"):
        supervised_contrastive(torch.zeros(6, 3), torch.zeros(3, dtype=torch.int64), 0.1)
