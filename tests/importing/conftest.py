"""What the tests of importing share: the plugins, and the reference files of other programs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nubench.plugins.discovery import load_plugins
from nubench.plugins.registry import PluginRegistry


@pytest.fixture(scope="session")
def registry() -> PluginRegistry:
    """The installed plugins."""
    return load_plugins()


@pytest.fixture(scope="session")
def reference_folder() -> Path:
    """The folder of reference runs of other programs; not shipped, so tests that need it skip where it is absent."""
    repository = Path(__file__).resolve().parents[2]
    folder = Path(os.environ.get("NUBENCH_REFERENCE", repository.parent / "shared" / "reference"))
    if not folder.is_dir():
        pytest.skip(f"no reference data at {folder}; set NUBENCH_REFERENCE to the folder that holds edepsim/")
    return folder
