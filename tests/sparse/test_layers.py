"""Normalisation and pooling against plain loops over events."""

from __future__ import annotations

import pytest
import torch

from nubench.errors import UsageError
from nubench.sparse.activation import gelu_with_response
from nubench.sparse.normalisation import global_response_normalisation
from nubench.sparse.pooling import pool


def plain_normalisation(features, offsets, gamma, beta):
    rows = []
    for start, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        event = features[start:end]
        norm = event.norm(dim=0)
        rows.append(event + gamma * event * (norm / (norm.mean() + 1e-6)) + beta)
    return torch.cat(rows)


@pytest.fixture
def parameters():
    gamma, beta = torch.randn(2, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return gamma.requires_grad_(), beta.requires_grad_()


def test_normalisation_against_a_loop(make_batch, form, parameters):
    batch = make_batch(1, size=5, channels=8)
    features = batch.features.requires_grad_()
    out = global_response_normalisation(features, batch.offsets, *parameters)
    expected = plain_normalisation(features, batch.offsets, *parameters)
    torch.testing.assert_close(out, expected)
    upstream = torch.randn_like(out)
    inputs = (features, *parameters)
    for found, wanted in zip(
        torch.autograd.grad(out, inputs, upstream), torch.autograd.grad(expected, inputs, upstream), strict=True
    ):
        torch.testing.assert_close(found, wanted)


def test_normalisation_gradcheck(make_batch, form, parameters):
    batch = make_batch(2, size=3, edge=3, channels=8)
    features = batch.features.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda *a: global_response_normalisation(a[0], batch.offsets, *a[1:]), (features, *parameters)
    )


def test_a_channel_of_zeros_has_finite_gradients(form, parameters):
    features = torch.zeros(4, 8, dtype=torch.float64).requires_grad_()
    out = global_response_normalisation(features, torch.tensor([0, 1, 4]), *parameters)
    out.sum().backward()
    assert torch.isfinite(features.grad).all()


def test_normalisation_starts_as_the_identity(make_batch, form):
    batch = make_batch(3, channels=8)
    zeros = torch.zeros(8, dtype=torch.float64)
    assert torch.equal(global_response_normalisation(batch.features, batch.offsets, zeros, zeros), batch.features)


@pytest.mark.parametrize("with_response", [True, False])
def test_fused_activation_against_plain_layers(make_batch, form, parameters, with_response):
    batch = make_batch(6, size=5, edge=8, channels=8)
    features = (3 * batch.features).requires_grad_()
    bias = torch.linspace(-9, 9, 8, dtype=torch.float64).requires_grad_()
    gamma, beta = parameters
    inputs = (features, bias, gamma, beta) if with_response else (features, bias)
    expected = torch.nn.functional.gelu(features + bias)
    if with_response:
        expected = plain_normalisation(expected, batch.offsets, gamma, beta)
    upstream = torch.randn_like(expected)
    wanted = torch.autograd.grad(expected, inputs, upstream)
    single = [tensor.detach().float().requires_grad_() for tensor in inputs]
    out = gelu_with_response(single[0], single[1], batch.offsets, *(single[2:] if with_response else (None, None)))
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=2e-6)
    for found, exact in zip(torch.autograd.grad(out, single, upstream.float()), wanted, strict=True):
        torch.testing.assert_close(found.double(), exact, rtol=1e-4, atol=1e-5 * float(exact.abs().max()))


def test_fused_activation_far_from_zero(form):
    features = torch.tensor([[-1e4, -40.0, -13.0, -1e-30, 0.0, 13.0, 40.0, 1e4]], requires_grad=True)
    zeros = torch.zeros(8)
    out = gelu_with_response(features, zeros, torch.tensor([0, 1]), zeros, zeros)
    out.sum().backward()
    torch.testing.assert_close(out[0], torch.tensor([0, 0, 0, 0, 0, 13.0, 40, 1e4]), rtol=0, atol=1e-12)
    torch.testing.assert_close(features.grad[0], torch.tensor([0, 0, 0, 0.5, 0.5, 1, 1, 1]), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("kind", "plain"), [("max", torch.amax), ("mean", torch.mean), ("sum", torch.sum)])
def test_pooling_against_a_loop(make_batch, form, kind, plain):
    batch = make_batch(4, size=5)
    features = batch.features.requires_grad_()
    out = pool(features, batch.offsets, kind)
    expected = torch.stack([plain(event, 0) for event in features.split(batch.offsets.diff().tolist())])
    torch.testing.assert_close(out, expected)
    upstream = torch.randn_like(out)
    torch.testing.assert_close(
        torch.autograd.grad(out, features, upstream), torch.autograd.grad(expected, features, upstream)
    )


def test_the_first_of_equal_voxels_gets_the_gradient(form):
    features = torch.tensor([[1.0], [3.0], [3.0], [5.0]], requires_grad=True)
    pool(features, torch.tensor([0, 3, 4])).sum().backward()
    assert features.grad.tolist() == [[0], [1], [0], [1]]


def test_a_nan_is_not_hidden_by_the_maximum(form):
    features = torch.tensor([[1.0], [float("nan")], [3.0]])
    assert torch.isnan(pool(features, torch.tensor([0, 3]))).all()


def test_unknown_pooling_is_a_usage_error():
    with pytest.raises(UsageError, match="did you mean 'mean'"):
        pool(torch.zeros(1, 1), torch.tensor([0, 1]), "meen")
