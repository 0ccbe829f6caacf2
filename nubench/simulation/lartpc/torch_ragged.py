"""Rows of ragged tensors: pieces of different length, one after the other."""

from __future__ import annotations

import torch
from torch import Tensor


def ragged_ranges(begin: Tensor, count: Tensor, total: int | None = None) -> tuple[Tensor, Tensor]:
    """List the rows of many ranges, one range after the other.

    Args:
        begin: (K,) int64, first row of each range.
        count: (K,) int64, rows of each range, 0 or above.
        total: their sum, where it is known without asking the device.

    Returns:
        (sum of counts,) int64 rows, and (sum of counts,) int64, the range of each.

    Example:
        >>> ragged_ranges(torch.tensor([5, 0]), torch.tensor([2, 3]))
        (tensor([5, 6, 0, 1, 2]), tensor([0, 0, 1, 1, 1]))
    """
    total = int(count.sum()) if total is None else total
    of_range = torch.repeat_interleave(count, output_size=total)
    shift = begin - (count.cumsum(0) - count)
    return torch.arange(total, device=count.device) + shift.index_select(0, of_range), of_range
