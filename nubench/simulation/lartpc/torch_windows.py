"""The ticks of all pixels that may trigger, one window after the other, and where their current rests."""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor

from nubench.simulation.lartpc.frontend import MIN_REST_TICKS, NEGLIGIBLE_BUFFER_ELECTRONS
from nubench.simulation.lartpc.torch_ragged import ragged_ranges
from nubench.simulation.lartpc.torch_settings import Settings
from nubench.simulation.lartpc.transport import LEAD_TICKS, READ_TICKS

# Shares of what the buffer held that are too small to change anything, and the time constants after which they are.
_LEAST_SHARE: Final = 2.0**-64
_FORGOTTEN: Final = 45.0


class Rests(NamedTuple):
    """Runs of ticks without current, among them those before each window and after it.

    Attributes:
        pixel: (R,) int64.
        begin, end: (R,) int64 ticks.
        before: (R,) int64, the row of the last tick before the run; -1 where none of the window is.
        shortest: (R,) int64, the run is waited through in one draw if at least so many ticks of it are left.
    """

    pixel: Tensor
    begin: Tensor
    end: Tensor
    before: Tensor
    shortest: Tensor


class Windows(NamedTuple):
    """Induced charge of P pixels in N ticks.

    Attributes:
        first: (P,) int64 tick of each window's first row.
        begin, length: (P,) int64 rows of each window.
        pixel: (N,) int64.
        charge: (N,) float32, electrons induced in the tick.
        arrived: (N,) float64, electrons induced in the window up to and with the tick.
        outside: int64, the rows outside the read window.
        rest: (N,) int32, the run of ticks without current that a tick is in; R for a tick with current.
        rests: the R runs.
    """

    first: Tensor
    begin: Tensor
    length: Tensor
    pixel: Tensor
    charge: Tensor
    arrived: Tensor
    outside: Tensor
    rest: Tensor
    rests: Rests

    def tick(self, row: Tensor, pixel: Tensor) -> Tensor:
        """Return the ticks of (M,) rows, given their pixels."""
        return row + (self.first - self.begin)[pixel]


def window_lengths(first: Tensor, end: Tensor, highest: Tensor, decay: Tensor) -> Tensor:
    """Choose the (P,) lengths of windows: until the buffer has rung down after the last current.

    Args:
        first, end: (P,) ticks with current.
        highest: (P,) bound of the charge on each pixel, electrons.
        decay: (P,) of the buffer in a tick, see :class:`~nubench.simulation.lartpc.torch_settings.Settings`.
    """
    ringing = ((2.0 * highest + 1.0) / NEGLIGIBLE_BUFFER_ELECTRONS).log() / decay
    last = (end + ringing.ceil().clamp(max=READ_TICKS).long() + 1).clamp(max=READ_TICKS + 1)
    # At least one tick stands after the current, in which there is none.
    return torch.maximum(last, end) - first


def lay_out(units: Tensor, electrons_a_unit: float, first: Tensor, begin: Tensor, length: Tensor) -> Windows:
    """Make windows of the induced charge.

    Args:
        units: (N,) int64 induced charge; what lies outside the read window is set to 0 in place.
        electrons_a_unit: what one unit is worth.
        first, begin, length: (P,) as in :class:`Windows`.
    """
    early, _ = ragged_ranges(begin, (-LEAD_TICKS - first).clamp(min=0).minimum(length))
    late = (first + length - READ_TICKS).clamp(min=0).minimum(length)
    outside = torch.cat((early, ragged_ranges(begin + length - late, late)[0]))
    units.index_fill_(0, outside, 0)

    pixel = torch.repeat_interleave(length, output_size=len(units))
    # Whole numbers wrap: the difference is right even if the sum over all pixels is too large.
    total = units.cumsum(0)
    arrived = (total - (total[begin] - units[begin]).index_select(0, pixel)).double() * electrons_a_unit
    rest, rests = _find_rests(units == 0, first, begin, length, pixel)
    charge = units.float() * electrons_a_unit
    return Windows(first, begin, length, pixel, charge, arrived, outside, rest, rests)


def _find_rests(silent: Tensor, first: Tensor, begin: Tensor, length: Tensor, pixel: Tensor) -> tuple[Tensor, Rests]:
    last = begin + length - 1
    opens, closes = silent.clone(), silent.clone()
    opens[1:] &= ~silent[:-1]
    closes[:-1] &= ~silent[1:]
    # Runs do not go on from one window to the next; the last row of every window is silent.
    opens[begin] = silent[begin]
    closes[last] = True
    opening, closing = opens.nonzero()[:, 0], closes.nonzero()[:, 0]
    of_run = pixel[opening]
    to_tick = (first - begin)[of_run]
    ends_window = closing == last[of_run]
    nowhere = torch.full_like(first, -1)
    rests = Rests(
        torch.cat((of_run, torch.arange(len(first), device=first.device))),
        torch.cat((opening + to_tick, torch.full_like(first, -LEAD_TICKS))),
        torch.cat((torch.where(ends_window, READ_TICKS, closing + to_tick + 1), first)),
        torch.cat((torch.where(opening > begin[of_run], opening - 1, -1), nowhere)),
        torch.cat((torch.where(ends_window, 1, MIN_REST_TICKS), torch.ones_like(first))),
    )
    return torch.where(silent, opens.cumsum(0, dtype=torch.int32) - 1, len(rests.pixel)), rests


def withheld_charge(windows: Windows, settings: Settings, slowest: float) -> Tensor:
    """Compute what the buffer withholds after every tick, (N,) float32 electrons, if nothing came before the window.

    The buffer b[t] = k b[t-1] + (1 - k) q[t] has passed on the sum of b. Of all charge so far it lacks
    w[t] = k (w[t-1] + q[t]). The recurrence is solved by doubling: after n passes w knows of the last 2^n ticks.
    Single precision does: it is the charge of a few ticks, and not added to what came before.

    Args:
        windows: N ticks of P pixels.
        settings: of the P pixels.
        slowest: a lower bound of their ``decay``.
    """
    keep = settings.keep.float()
    # The share that is left after ``reach`` ticks; 0 where those reach out of the window. It is cut for each pixel by
    # its own decay, so that passes which only another pixel needs change nothing.
    share = keep.index_select(0, windows.pixel)
    withheld = windows.charge * share
    torch.threshold_(share, _LEAST_SHARE, 0.0).index_fill_(0, windows.begin, 0.0)
    further, more = share.clone(), torch.empty_like(withheld)
    reach = 1
    while reach < READ_TICKS + LEAD_TICKS and reach * slowest < _FORGOTTEN:
        more[:reach] = withheld[:reach]
        torch.addcmul(withheld[reach:], share[reach:], withheld[:-reach], out=more[reach:])
        torch.mul(share[reach:], share[:-reach], out=further[reach:])
        torch.threshold_(further, _LEAST_SHARE, 0.0)
        withheld, more, share, further = more, withheld, further, share
        reach *= 2
    return withheld
