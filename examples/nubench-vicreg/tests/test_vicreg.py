"""The terms of the loss against NumPy, and the method against the contract."""

from __future__ import annotations

import nubench_vicreg
import numpy as np
import pytest
import torch

from nubench.authoring import check_method, failures_of


def test_the_terms_are_those_of_the_paper() -> None:
    rows = np.random.default_rng(1).normal(0, [0.2, 1.0, 3.0], (40, 3)) @ np.array([[1, 0.5, 0], [0, 1, 0], [0, 0, 1]])
    tensor = torch.tensor(rows)
    deviations = np.sqrt(rows.var(axis=0, ddof=1) + 1e-4)
    assert nubench_vicreg.missing_spread(tensor).item() == pytest.approx(np.maximum(0, 1 - deviations).mean())
    covariance = np.cov(rows.T)
    off_diagonal = covariance[~np.eye(3, dtype=bool)]
    assert nubench_vicreg.correlation(tensor).item() == pytest.approx(np.square(off_diagonal).sum() / 3)


def test_the_method_keeps_the_contract() -> None:
    failures = failures_of(check_method(nubench_vicreg.VICReg))
    assert not failures, "\n".join(map(str, failures))
