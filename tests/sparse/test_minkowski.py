"""The second engine against the first, and what guards against the faults of MinkowskiEngine."""

from __future__ import annotations

import copy
import importlib.util
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nubench.backbone import Backbone, build_backbone
from nubench.errors import UsageError
from nubench.sparse import minkowski_import
from nubench.sparse.batch import SparseBatch
from nubench.sparse.engine import Engine, Geometry, get_engine
from nubench.sparse.pooling import pool

installed = importlib.util.find_spec("MinkowskiEngine") is not None
needs_minkowski = pytest.mark.skipif(not installed, reason="MinkowskiEngine is not installed: make minkowski")
fixture_is_stateless = settings(deadline=None, max_examples=12, suppress_health_check=list(HealthCheck))
seeds = st.integers(0, 10**6)
kinds = st.sampled_from([0.005, 0.3, 1.0])  # of the cells of a cube filled; the first makes events of one voxel
sizes = st.sampled_from([1, 3, 7])


@pytest.fixture(scope="module")
def engines() -> dict[str, Engine]:
    """Both, by name. An installed MinkowskiEngine that cannot be imported is a failure, not a skip."""
    return {name: get_engine(name) for name in ("native", "minkowski")}


def random_tensor(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_near(found: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    """Equal within a tolerance relative to the largest number: sums of many terms may cancel."""
    scale = float(expected.detach().abs().max())
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * scale)


def assert_same_with_gradients(outputs: list[torch.Tensor], inputs: tuple[torch.Tensor, ...], tolerance: float) -> None:
    expected, found = outputs
    assert_near(found, expected, tolerance)
    upstream = random_tensor(7, *expected.shape).to(expected.dtype)
    wanted = torch.autograd.grad(expected, inputs, upstream)
    for one, other in zip(torch.autograd.grad(found, inputs, upstream), wanted, strict=True):
        assert_near(one, other, tolerance)


def geometries(engines: dict[str, Engine], batch: SparseBatch, strides: tuple[int, ...], kernel: int) -> list[Geometry]:
    return [engine.geometry(batch, strides, kernel) for engine in engines.values()]


@needs_minkowski
@given(seed=seeds, size=sizes, filled=kinds, stride=st.sampled_from([1, 2, 4]), channels=st.sampled_from([1, 3, 8]))
@fixture_is_stateless
def test_strided_convolutions_agree(make_batch, engines, seed, size, filled, stride, channels):
    batch = make_batch(seed, size=size, edge=9, filled=filled, channels=channels)
    inputs = [batch.features, random_tensor(seed, stride**3, channels, 5), random_tensor(seed + 1, 5)]
    inputs += [random_tensor(seed + 2, 8, 5, 2), random_tensor(seed + 3, 2)]
    for tensor in inputs:
        tensor.requires_grad_()
    features, weight, bias, next_weight, next_bias = inputs
    firsts, seconds = [], []
    native, minkowski = geometries(engines, batch, (stride, 2), 3)
    for geometry in (native, minkowski):
        firsts.append(geometry.strided(0, features, weight, bias))
        seconds.append(geometry.strided(1, firsts[-1], next_weight, next_bias))
    for level in range(2):
        assert torch.equal(minkowski.offsets(level), native.offsets(level))
    assert_near(*firsts[::-1], 1e-10)
    assert_same_with_gradients(seconds, tuple(inputs), 1e-10)


@needs_minkowski
@given(seed=seeds, size=sizes, filled=kinds, kernel=st.sampled_from([1, 3, 7]), channels=st.sampled_from([1, 3]))
@fixture_is_stateless
def test_depthwise_convolutions_agree(make_batch, engines, seed, size, filled, kernel, channels):
    batch = make_batch(seed, size=size, edge=9, filled=filled)
    weight, bias = random_tensor(seed, kernel**3, channels), random_tensor(seed + 1, channels)
    both = geometries(engines, batch, (1, 2), kernel)
    for level in range(2):
        features = random_tensor(seed + 2, int(both[0].offsets(level)[-1]), channels)
        inputs = (features.requires_grad_(), weight.requires_grad_(), bias.requires_grad_())
        assert_same_with_gradients([geometry.depthwise(level, *inputs) for geometry in both], inputs, 1e-10)


def backbones(preset: str, dtype: torch.dtype) -> tuple[Backbone, Backbone]:
    """The same weights in a network for each engine."""
    torch.manual_seed(0)
    native, minkowski = (build_backbone(preset, engine=name).to(dtype) for name in ("native", "minkowski"))
    for name, parameter in native.named_parameters():
        # At its start the normalisation is the identity and the embeddings are tiny: neither would test much.
        if "grn" in name or "weight" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    minkowski.load_state_dict(native.state_dict())
    return native, minkowski


@needs_minkowski
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
@pytest.mark.parametrize("preset", ["tiny", pytest.param("small", marks=pytest.mark.slow)])
def test_whole_networks_agree(make_batch, preset, dtype, tolerance):
    batch = make_batch(3, size=6, edge=40, filled=0.003, channels=1)
    results = []
    for network in backbones(preset, dtype):
        features = batch.features.detach().to(dtype).requires_grad_()
        out = network(SparseBatch(batch.coords, batch.event, features, batch.size))
        out.square().sum().backward()
        results.append([out, features.grad, *(parameter.grad for parameter in network.parameters())])
    for expected, found in zip(*results, strict=True):
        assert_near(found, expected, tolerance)


@needs_minkowski
@pytest.mark.parametrize("kind", ["max", "mean", "sum"])
def test_pooling_is_right_from_five_events_on(make_batch, engines, kind):
    batch = make_batch(5, size=9, channels=2)
    geometry = engines["minkowski"].geometry(batch, (2,), 3)
    features = geometry.strided(0, batch.features, random_tensor(1, 8, 2, 4), random_tensor(2, 4))
    found = pool(features, geometry.offsets(0), kind)
    for event in range(batch.size):
        rows = slice(batch.offsets[event], batch.offsets[event + 1])
        alone = SparseBatch(batch.coords[rows], batch.event[rows] - event, batch.features[rows], 1)
        apart = engines["minkowski"].geometry(alone, (2,), 3)
        expected = apart.strided(0, alone.features, random_tensor(1, 8, 2, 4), random_tensor(2, 4))
        assert_near(found[event], pool(expected, apart.offsets(0), kind)[0], 1e-10)


@needs_minkowski
def test_empty_tensors_raise_before_they_end_the_process(make_batch, engines):
    with pytest.raises(ValueError, match="at least one event with one voxel"):
        SparseBatch(torch.zeros(0, 3).int(), torch.zeros(0).long(), torch.zeros(0, 1), 0)
    geometry = engines["minkowski"].geometry(make_batch(1, channels=1), (2,), 3)
    with pytest.raises(ValueError, match="got features of 0"):
        geometry.strided(0, torch.zeros(0, 1), torch.zeros(8, 1, 2), torch.zeros(2))


@needs_minkowski
def test_repeated_voxels_are_refused_by_name(engines):
    coords = torch.tensor([[1, 2, 3], [1, 2, 3], [4, -5, 6], [1, 2, 3], [4, -5, 6]]).int()
    apart = SparseBatch(coords[:3], torch.tensor([0, 1, 1]), torch.ones(3, 1), 2)
    assert engines["minkowski"].geometry(apart, (2,), 3).offsets(0).tolist() == [0, 1, 3]
    repeated = SparseBatch(coords, torch.tensor([0, 1, 1, 1, 1]), torch.ones(5, 1), 2)
    with pytest.raises(ValueError, match=r"voxel \((1, 2, 3|4, -5, 6)\) does in event 1 of the batch"):
        engines["minkowski"].geometry(repeated, (2,), 3)


@needs_minkowski
def test_half_precision_and_autocast_are_refused(make_batch, engines):
    batch = make_batch(1, channels=1)
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(UsageError, match="cannot run under autocast"):
        engines["minkowski"].geometry(batch, (2,), 3)
    geometry = engines["minkowski"].geometry(batch, (2,), 3)
    with pytest.raises(UsageError, match=r"float32 or float64; got torch\.bfloat16"):
        geometry.strided(0, batch.features.bfloat16(), torch.zeros(8, 1, 2).bfloat16(), torch.zeros(2).bfloat16())


@needs_minkowski
@pytest.mark.parametrize(
    ("strides", "kernel", "error", "message"),
    [
        ((2, 3), 3, UsageError, "strides that are 1 or even; got 3"),
        ((0,), 3, UsageError, "strides that are 1 or even; got 0"),
        ((2,), 4, ValueError, "kernel must be odd; got 4"),
    ],
)
def test_what_it_would_compute_otherwise_is_refused(make_batch, engines, strides, kernel, error, message):
    with pytest.raises(error, match=message):
        engines["minkowski"].geometry(make_batch(1), strides, kernel)


@needs_minkowski
def test_other_devices_are_refused(engines):
    with pytest.raises(UsageError, match="runs on the CPU alone; got cuda"):
        engines["minkowski"].geometry(SimpleNamespace(device=torch.device("cuda")), (2,), 3)


@needs_minkowski
def test_it_draws_no_random_numbers_and_leaves_the_threads(make_batch):
    network = build_backbone("tiny", in_channels=3, engine="minkowski").double()
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    network(make_batch(1)).sum().backward()
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


@needs_minkowski
def test_a_network_with_it_can_be_copied(make_batch):
    network = build_backbone("tiny", in_channels=3, engine="minkowski").double()
    batch = make_batch(2)
    with torch.no_grad():
        assert torch.equal(copy.deepcopy(network)(batch), network(batch))


@needs_minkowski
def test_importing_it_leaves_no_trace():
    program = """
import os, sys, warnings
os.environ.pop("OMP_NUM_THREADS", None)
os.cpu_count = lambda: 64
warnings.simplefilter("error")
from nubench.sparse.engine import get_engine
path = list(sys.path)
get_engine("minkowski")
assert "MinkowskiEngine" in sys.modules
assert sys.path == path, set(sys.path) - set(path)
assert "OMP_NUM_THREADS" not in os.environ
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


import_anew = minkowski_import.import_minkowski_engine.__wrapped__  # whatever was imported before


def test_without_it_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"0\.5\.4, which is not installed; `make minkowski`.*Linux"):
        import_anew()


def test_a_build_for_another_torch_is_told_from_a_missing_one(monkeypatch, tmp_path):
    tmp_path.joinpath("MinkowskiEngine.py").write_text("import sys; sys.path.append('/its'); raise ImportError('sym')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "MinkowskiEngine", raising=False)
    path = list(sys.path)
    with pytest.raises(UsageError, match=r"installed but cannot be imported: sym.*make minkowski"):
        import_anew()
    assert sys.path == path
