"""nubench: a benchmark suite for domain adaptation on neutrino detectors."""

from __future__ import annotations

from importlib.metadata import version

__version__ = version("nubench")
