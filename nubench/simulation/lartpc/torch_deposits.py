"""Deposits in the memory of a device, where re-simulation reads them again and again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nubench.containers import Deposits, Int64
from nubench.simulation.calls import check_deposits
from nubench.simulation.lartpc.torch_ragged import ragged_ranges


@dataclass(frozen=True, eq=False)
class DeviceDeposits:
    """:class:`~nubench.containers.Deposits` on a device; 32 bytes a deposit.

    Attributes:
        offsets: (E + 1,) int64 row boundaries of the events, on the host.
        start, end: (N, 3) float32, cm.
        energy: (N,) float32, MeV.
        time: (N,) float32, us.
    """

    offsets: Int64
    start: Tensor
    end: Tensor
    energy: Tensor
    time: Tensor

    @classmethod
    def of(cls, deposits: Deposits, device: torch.device | str) -> Self:
        """Check deposits and copy them to a device.

        Raises:
            DataError: when a deposit is not finite, negative or out of this world; the message names its row.
        """
        check_deposits(deposits)
        columns = (deposits.start, deposits.end, deposits.energy, deposits.time)
        # Copies, since torch does not take read-only memory.
        return cls(deposits.offsets, *(torch.from_numpy(np.array(column, np.float32)).to(device) for column in columns))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def device(self) -> torch.device:
        """Where the deposits are."""
        return self.energy.device

    def select(self, index: npt.NDArray[np.integer]) -> Self:
        """Return the deposits of the events in ``index`` (K,)."""
        lengths = np.diff(self.offsets)[index]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        first, count = torch.from_numpy(np.stack([self.offsets[index], lengths])).to(self.device)
        rows, _ = ragged_ranges(first, count, int(offsets[-1]))
        columns = (self.start, self.end, self.energy, self.time)
        return type(self)(offsets, *(column.index_select(0, rows) for column in columns))
