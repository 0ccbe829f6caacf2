"""What several tests share: synthetic events, and a data set small enough to be simulated in seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from nubench.containers import Events, LabelledEvents, Primaries

# The first call of a kernel compiles it, which takes seconds on a new machine: no test fails on a clock.
settings.register_profile("nubench", deadline=None)
settings.load_profile("nubench")

TINY_PLUGIN = '''
"""A data set of a few events, for tests."""
from pathlib import Path
import nubench

@nubench.hookimpl
def register_datasets():
    return [Path(__file__).with_name("tiny.toml")]
'''


def _synthetic_events(count: int, seed: int, classes: int = 3) -> LabelledEvents:
    """Short straight tracks; the class sets their length and their charge, so that it can be learnt."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    coords, features, lengths = [], [], []
    for label in labels:
        length = int(rng.integers(10, 14)) * (1 + int(label))
        direction = rng.normal(size=3)
        points = np.arange(length)[:, None] * direction / np.linalg.norm(direction) + rng.uniform(-50, 50, 3)
        voxels = np.unique(np.floor(points).astype(np.int32), axis=0)
        coords.append(voxels)
        features.append(90 + 10 * label + rng.normal(size=(len(voxels), 1)))
        lengths.append(len(voxels))
    truth = Primaries(
        event_id=np.arange(count) + 1000,
        pdg=np.full(count, 13),
        kinetic_energy=rng.uniform(50, 1000, count).astype(np.float32),
        vertex=rng.uniform(-50, 50, (count, 3)).astype(np.float32),
        direction=np.tile(np.array([0, 0, 1], np.float32), (count, 1)),
    )
    events = Events(
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.concatenate(coords),
        np.concatenate(features).astype(np.float32),
    )
    return LabelledEvents(events, labels.astype(np.int64), truth)


@pytest.fixture(scope="session")
def synthetic_events() -> Callable[..., LabelledEvents]:
    """A function (count, seed, classes=3) -> labelled events that are learnt in a few steps."""
    return _synthetic_events


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """For a module from its first use on.

    Tiny batches: threads would spend their time waiting for each other where other tests share the cores. And another
    number of threads is another last bit.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny_plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plugin file that brings the data set ``tiny``: the LArTPC card with a handful of low-energy events."""
    folder = tmp_path_factory.mktemp("tiny-plugin")
    card = (files("nubench_datasets") / "lartpc.toml").read_text()
    card = card.replace('name = "lartpc"', 'name = "tiny"', 1).replace("1000.0]", "200.0]")
    for old, new in (("train = 2400", "train = 16"), ("val = 200", "val = 4"), ("adapt = 300", "adapt = 4")):
        card = card.replace(old, new, 1)
    (folder / "tiny.toml").write_text(card.replace("test = 300", "test = 6", 1))
    plugin = folder / "tiny_plugin.py"
    plugin.write_text(TINY_PLUGIN)
    return plugin


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all tests that need simulated events, so that they are simulated once."""
    return tmp_path_factory.mktemp("cache")
