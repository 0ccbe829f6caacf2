"""Makes ``result_factory``, which stands one folder up, importable also when only this folder is tested."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
