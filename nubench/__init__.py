"""nubench: a benchmark suite for domain adaptation on neutrino detectors."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from nubench.hookspecs import hookimpl

if TYPE_CHECKING:
    from nubench.api import Leaderboard, listing, load_events, run

__version__ = version("nubench")
__all__ = ["Leaderboard", "__version__", "hookimpl", "listing", "load_events", "run"]


def __getattr__(name: str) -> Any:
    # The command line and every plugin import this package: what they do not use must not slow them down.
    if name in __all__:
        from nubench import api

        return getattr(api, name)
    raise AttributeError(f"module 'nubench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
