from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from shifted_domain import accuracy, fit, small_context, small_view

from nubench.backbone import GlobalResponseNorm, build_backbone
from nubench_plugins.entropy import Entropy, entropy_loss, normalisations

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_loss_by_hand() -> None:
    scores = torch.log(torch.tensor([[0.5, 0.5], [0.9, 0.1]]))
    each = (math.log(2) - 0.9 * math.log(0.9) - 0.1 * math.log(0.1)) / 2
    of_mean = -0.7 * math.log(0.7) - 0.3 * math.log(0.3)
    assert float(entropy_loss(scores, 0.0)) == pytest.approx(each, rel=1e-6)
    assert float(entropy_loss(scores, 2.0)) == pytest.approx(each - 2 * of_mean, rel=1e-6)


def test_diversity_rules_out_one_class_for_all() -> None:
    same = torch.tensor([[30.0, 0.0, 0.0]]).repeat(3, 1)
    sure = 30 * torch.eye(3)
    assert float(entropy_loss(same, 0.0)) == pytest.approx(float(entropy_loss(sure, 0.0)), abs=1e-9)
    assert float(entropy_loss(sure, 1.0)) == pytest.approx(-math.log(3), rel=1e-6)
    assert float(entropy_loss(same, 1.0)) == pytest.approx(0, abs=1e-9)


def test_loss_and_gradient_are_finite_for_certain_predictions() -> None:
    scores = torch.tensor([[1e4, 0.0, -1e4], [1e4, 0.0, 0.0]], requires_grad=True)
    loss = entropy_loss(scores, 1.0)
    loss.backward()
    assert torch.isfinite(loss)
    assert scores.grad is not None
    assert torch.isfinite(scores.grad).all()


@pytest.mark.parametrize("grn", [True, False])
def test_normalisations_of_the_backbone_are_its_layer_norms_and_grn(grn: bool) -> None:
    backbone = build_backbone("tiny", grn=grn)
    found = normalisations(backbone)
    # A LayerNorm in each of the 5 blocks and before each of the 3 downsamplings.
    assert sum(isinstance(module, torch.nn.LayerNorm) for module in found) == 8
    assert sum(isinstance(module, GlobalResponseNorm) for module in found) == (5 if grn else 0)
    assert all(parameter.ndim == 1 for parameter in found.parameters())


def test_only_normalisations_change_and_everything_else_is_as_trained(tmp_path: Path) -> None:
    context = small_context(tmp_path)
    model = fit(Entropy, small_view(Entropy, displaced=1.5), context, views=1280, source_fraction=0.5)
    before = load_file(tmp_path / "source" / "weights.safetensors")
    after = model._backbone.state_dict() | {f"head.{k}": v for k, v in model._head.state_dict().items()}
    changed = {
        name
        for name, tensor in after.items()
        if not torch.equal(tensor, before.get(f"backbone.{name}", before.get(name)))
    }
    assert changed == {f"stages.{stage}.norm.{kind}" for stage in (0, 1) for kind in ("weight", "bias")}
    assert all(parameter.requires_grad for parameter in model._backbone.parameters())
    assert model.training_record["views"] == 1280


def test_entropy_helps_on_the_target(tmp_path: Path) -> None:
    data = small_view(Entropy, displaced=1.5)
    found = {}
    for rate in (1e-9, 1e-2):
        context = small_context(tmp_path / str(rate))
        model = fit(Entropy, data, context, source_fraction=0.5, adaptation_learning_rate=rate)
        found[rate] = accuracy(model, displaced=1.5)
    assert found[1e-2] > found[1e-9] + 0.05
