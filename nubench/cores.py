"""How many cores this process may use."""

from __future__ import annotations

import os


def available_cores() -> int:
    """Count the cores that the process is allowed, where the system says so, or else those of the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
