"""Matrix products whose rows do not depend on how many rows there are."""

from __future__ import annotations

import torch
from torch import Tensor

# Below a few rows a thread, libraries use other kernels, which round otherwise. With zeros added up to this
# number, a row's result was the same bit by bit whatever else was in the product (MKL, 1 and 2 threads).
FEWEST_ROWS = 64


def multiply_rows(features: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multiply (N, C) by (C, D) and add (D,); differentiable.

    So the embedding of an event does not depend on which other events are in the batch, however few they are.
    """
    rows = len(features)
    if rows < FEWEST_ROWS:
        features = torch.nn.functional.pad(features, (0, 0, 0, FEWEST_ROWS - rows))
    product = torch.mm(features, weight) if bias is None else torch.addmm(bias, features, weight)
    return product[:rows]
