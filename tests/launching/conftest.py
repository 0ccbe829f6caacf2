"""A real SLURM for the tests that need one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from one_node_slurm import NoSlurmError, one_node_slurm


@pytest.fixture(scope="session")
def slurm_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a SLURM of one node; the test is skipped, with the reason, where it cannot start."""
    try:
        with one_node_slurm(tmp_path_factory.mktemp("slurm")) as environment:
            yield environment
    except NoSlurmError as reason:
        pytest.skip(str(reason))


@pytest.fixture
def slurm(slurm_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """SLURM, found by the commands of this process."""
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, slurm_environment[name])
