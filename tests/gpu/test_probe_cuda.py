"""The probe on a GPU against scikit-learn, and at the size of the paper."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from nubench.evaluation.probe import fit_probe, fit_with_torch
from probe_checks import HARD, Problem, accuracy, check_against_scikit_learn, separated

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_the_optimum_of_scikit_learn(classes: int) -> None:
    check_against_scikit_learn(separated(classes), "cuda")


@pytest.mark.parametrize("make", HARD)
def test_the_optimum_of_scikit_learn_where_it_is_hard_to_find(make: Callable[[], Problem]) -> None:
    check_against_scikit_learn(make(), "cuda")


def test_the_size_of_the_paper() -> None:
    features, labels, classes = separated(5, events=100_000, size=768)
    probe = fit_probe(features, labels, classes, device="cuda")
    again = fit_probe(features, labels, classes, device="cuda")
    assert probe.converged
    np.testing.assert_allclose(again.weights, probe.weights, atol=1e-9)
    few = fit_with_torch(features[:5000], labels[:5000], classes, device="cpu")
    on_gpu = fit_with_torch(features[:5000], labels[:5000], classes, device="cuda")
    np.testing.assert_allclose(on_gpu.weights, few.weights, atol=1e-6)
    assert accuracy(on_gpu, features, labels) == pytest.approx(accuracy(few, features, labels), abs=1e-4)
