from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from shifted_domain import SmallBackbone, accuracy, draw_events, fit, small_context, small_view

from nubench_plugins import dann
from nubench_plugins.dann import Dann, reversal_weight, reverse_gradient

pytestmark = pytest.mark.usefixtures("one_thread")


def test_reversal_by_hand() -> None:
    features = torch.tensor([[1.0, -2.0]], requires_grad=True)
    passed = reverse_gradient(features, 0.3)
    (passed * torch.tensor([[5.0, 7.0]])).sum().backward()
    assert torch.equal(passed, features)
    assert features.grad is not None
    assert features.grad.tolist()[0] == pytest.approx([-1.5, -2.1])


def test_only_what_stands_before_the_reversal_is_reversed() -> None:
    torch.manual_seed(1)
    body, head = torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)
    inputs, domains = torch.randn(8, 3), torch.randint(2, (8,))

    def gradients(weight: float | None) -> tuple[torch.Tensor, torch.Tensor]:
        features = body(inputs) if weight is None else reverse_gradient(body(inputs), weight)
        loss = torch.nn.functional.cross_entropy(head(features), domains)
        of_body, of_head = torch.autograd.grad(loss, [body.weight, head.weight])
        return of_body, of_head

    plain, plain_head = gradients(None)
    reversed_body, same_head = gradients(2.5)
    assert torch.allclose(reversed_body, -2.5 * plain)
    assert torch.equal(same_head, plain_head)
    assert torch.count_nonzero(gradients(0.0)[0]) == 0


def test_the_ramp_is_ganin_s() -> None:
    assert [reversal_weight(p, 1.0, "constant") for p in (0.0, 0.5, 1.0)] == [1.0, 1.0, 1.0]
    assert reversal_weight(0.0, 2.0, "ramp") == 0.0
    # 2 / (1 + exp(-10 p)) - 1 is tanh(5 p).
    for p in (0.1, 0.37, 1.0):
        assert reversal_weight(p, 2.0, "ramp") == pytest.approx(2 * math.tanh(5 * p))


def test_the_adversary_makes_the_network_ignore_what_differs(tmp_path: Path) -> None:
    data = small_view(Dann, displaced=2.0)
    found = {}
    for reversal in (0.0, 0.3):
        context = small_context(tmp_path / str(reversal))
        model = fit(Dann, data, context, views=12800, learning_rate=2e-3, reversal=reversal)
        found[reversal] = accuracy(model, displaced=2.0)
    assert found[0.3] > found[0.0] + 0.15


def test_source_validation_alone_chooses_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores: list[float] = []
    original = dann.train

    def watched(*arguments: object, **options: object) -> object:
        select = options["select"]
        assert callable(select)

        def recorded() -> float:
            scores.append(select())
            return scores[-1]

        return original(*arguments, **{**options, "select": recorded})  # type: ignore[arg-type]

    monkeypatch.setattr(dann, "train", watched)
    data = small_view(Dann, displaced=2.0)
    model = fit(Dann, data, small_context(tmp_path), views=2560)
    of_model = model.log_probabilities(data.val)
    assert of_model is not None
    kept = float(np.mean(of_model.argmax(axis=1) == data.val_labels))
    assert len(scores) == 20
    assert len(set(scores)) > 1
    assert kept == max(scores)


@pytest.mark.parametrize("normalised", [True, False])
def test_normalised_bounds_the_embedding_that_both_heads_see(normalised: bool, tmp_path: Path) -> None:
    model = fit(Dann, small_view(Dann), small_context(tmp_path), views=640, normalised=normalised)
    embeddings = model.embed(draw_events(20, 9)[0])
    assert embeddings is not None
    lengths = np.sqrt(np.mean(embeddings**2, axis=1))
    assert np.allclose(lengths, 1, atol=1e-3) == normalised
    backbone = sum(parameter.numel() for parameter in SmallBackbone().parameters())
    assert model.number_of_parameters == backbone + 16 * 2 + 2
