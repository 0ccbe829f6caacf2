"""nubench: a benchmark suite for domain adaptation on neutrino detectors."""

from __future__ import annotations

from importlib.metadata import version

from nubench.hookspecs import hookimpl

__version__ = version("nubench")
__all__ = ["__version__", "hookimpl"]
