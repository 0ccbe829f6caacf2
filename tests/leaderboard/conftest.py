"""Makes ``result_factory``, which stands one folder up, importable also when only this folder is tested."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))


@pytest.fixture
def no_pictures() -> Iterator[None]:
    """Files that stand for the pictures of charts, where a test looks at everything else: drawing takes seconds."""
    with _without_pictures():
        yield


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of boards of two detectors, and of one whose every text means harm; not to be changed."""
    from board_examples import crosstalk_result, example_results, hostile_results, submit

    from nubench.leaderboard.generate import SITE, generate_leaderboards

    root = tmp_path_factory.mktemp("leaderboards")
    submit(root, *example_results(), *hostile_results())
    for source in ("nominal", "x2"):
        submit(root, *(crosstalk_result(source, seed=seed) for seed in range(2)), crosstalk_result(source, "dann"))
    with _without_pictures():
        generate_leaderboards(root)
    return root / SITE


@contextmanager
def _without_pictures() -> Iterator[None]:
    from nubench.leaderboard import generate
    from nubench.leaderboard.figure import Pictures

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generate, "draw", lambda chart, subtitle="": Pictures(b"png", b"svg"))
        yield
