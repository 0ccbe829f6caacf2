from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats
from torch.utils._python_dispatch import TorchDispatchMode

from nubench.augment import CHANGES, Augmentation, augment, random_rotations
from nubench.errors import UsageError
from nubench.sparse.batch import SparseBatch


def lines(size: int = 64, length: int = 60, channels: int = 1) -> SparseBatch:
    """Straight events along z, at different places."""
    coords = torch.zeros(size, length, 3, dtype=torch.int32)
    coords[:, :, 2] = torch.arange(length)
    coords += torch.arange(size, dtype=torch.int32)[:, None, None] * 10 - 100
    event = torch.arange(size).repeat_interleave(length)
    return SparseBatch(coords.view(-1, 3), event, torch.ones(size * length, channels), size)


@pytest.fixture(params=["compiled", "torch"], autouse=True)
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run every test with the compiled kernels, and with the torch forms that serve every other device."""
    if request.param == "torch":
        for module in ("augment", "sparse.coordinates"):
            monkeypatch.setattr(f"nubench.{module}.kernels_usable", lambda tensor: False)
    return request.param


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch):
    """A function that makes every draw the same change."""

    def choose(change: str) -> None:
        number = CHANGES.index(change)
        monkeypatch.setattr(
            "nubench.augment._draw", lambda batch, generator, draws: torch.full((batch.size, draws), number)
        )

    return choose


def test_rotations_are_uniform():
    matrices = random_rotations(20_000, generator())
    identity = torch.eye(3).expand(20_000, 3, 3)
    torch.testing.assert_close(matrices @ matrices.transpose(1, 2), identity, rtol=0, atol=1e-5)
    torch.testing.assert_close(torch.linalg.det(matrices), torch.ones(20_000), rtol=0, atol=1e-5)
    assert matrices.mean(0).abs().max() < 0.02
    for axis in range(3):
        assert stats.kstest(matrices[:, 2, axis].numpy(), "uniform", (-1, 2)).pvalue > 1e-3
    angle = torch.arccos(((matrices.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2).clamp(-1, 1)).numpy()
    assert stats.kstest(angle, lambda x: (x - np.sin(x)) / np.pi).pvalue > 1e-3


def test_a_further_rotation_changes_nothing_in_the_distribution():
    """What makes the measure Haar's: uniform angles and axes alone do not give it."""
    further = torch.linalg.matrix_exp(torch.tensor([[0.0, -2.1, 0.4], [2.1, 0.0, -0.9], [-0.4, 0.9, 0.0]]))
    for turned in (further @ random_rotations(20_000, generator()), random_rotations(20_000, generator(1)) @ further):
        angle = torch.arccos(((turned.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2).clamp(-1, 1)).numpy()
        assert stats.kstest(angle, lambda x: (x - np.sin(x)) / np.pi).pvalue > 1e-3


def test_rotated_events_point_everywhere_and_keep_centre_and_length(only):
    only("rotation")
    batch = lines(size=2000, length=40)
    turned = augment(batch, generator(), Augmentation(0.3))
    first = turned.offsets[:-1]
    ends = turned.coords[turned.offsets[1:] - 1] - turned.coords[first]
    length = ends.float().norm(dim=1)
    assert 34 < length.min() < length.max() < 43
    cosine = (ends[:, 2] / length).numpy()
    assert stats.kstest(cosine, "uniform", (-1, 2)).pvalue > 1e-3
    before, after = (
        torch.segment_reduce(events.coords.float(), "mean", lengths=events.offsets.diff(), axis=0)
        for events in (batch, turned)
    )
    assert (before - after).abs().max() < 1


def test_rotation_happens_in_centimetres(only):
    only("rotation")
    turned = augment(lines(size=200), generator(), Augmentation((0.3, 0.6, 1.2)))
    extent = turned.coords[turned.offsets[1:] - 1] - turned.coords[turned.offsets[:-1]]
    length = (extent * torch.tensor([0.3, 0.6, 1.2])).norm(dim=1)
    assert (length - 59 * 1.2).abs().max() < 2


def test_identity_changes_nothing(only):
    only("identity")
    batch = lines()
    same = augment(batch, generator(), Augmentation(0.3))
    assert torch.equal(same.coords, batch.coords)
    assert torch.equal(same.event, batch.event)
    assert torch.equal(same.features, batch.features)


def test_drops_follow_the_binomial_and_leave_one_voxel(only):
    only("drop")
    batch = lines(size=500, length=100)
    settings = Augmentation(0.3, drop=0.1)
    left = augment(batch, generator(), settings).offsets.diff().float()
    assert abs(left.mean() - 72.9) < 0.7
    assert abs(left.std() - (72.9 * 0.271) ** 0.5) < 0.5
    almost_all = augment(batch, generator(), Augmentation(0.3, drop=0.999))
    assert almost_all.offsets.diff().min() == 1
    survivors = almost_all.coords[almost_all.offsets[:-1], 2] - batch.coords[batch.offsets[:-1], 2]
    assert stats.kstest(survivors.numpy() + 0.5, "uniform", (0, 100)).pvalue > 1e-4


def test_energy_scales_the_raw_feature(only):
    only("energy")
    batch = lines(size=200, length=100)
    settings = Augmentation(0.3, energy=0.25, feature_offset=60.0, feature_scale=20.0, draws=1)
    raw = augment(batch, generator(), settings).features * 20 + 60
    assert abs(raw.mean() - 80) < 0.6
    assert abs(raw.std() - 20) < 0.5
    settings = Augmentation(0.3, energy=0.25, feature_offset=60.0, feature_scale=20.0, energy_reference=74.0, draws=1)
    raw = augment(batch, generator(), settings).features * 20 + 60
    assert abs(raw.mean() - 80) < 0.05
    assert abs(raw.std() - 1.5) < 0.05


def test_translation_blurs_and_moves_the_event(only):
    only("translation")
    batch = lines(size=1500, length=1)
    settings = Augmentation(0.3, translation_cm=0.0, event_translation_voxels=4.0, draws=1)
    moved = augment(batch, generator(), settings)
    shift = (moved.coords - batch.coords).float()
    # floor(uniform(-2, 2) + 0.5): -2 and 2 half as often as -1, 0 and 1.
    assert (
        stats.chisquare(torch.bincount((shift[:, 0] + 2).long(), minlength=5), [187.5, 375, 375, 375, 187.5]).pvalue
        > 1e-3
    )
    settings = Augmentation(0.3, translation_cm=3.0, event_translation_voxels=0.0, draws=1)
    shift = (augment(batch, generator(), settings).coords - batch.coords).float()
    assert abs(shift.std() - 10) < 0.4


def test_every_event_has_its_own_draws():
    batch = lines(size=64)
    changed = augment(batch, generator(), Augmentation(0.3, draws=1))
    counts = changed.offsets.diff()
    same = 0
    for event in range(batch.size):
        old = batch.coords[batch.event == event]
        new = changed.coords[changed.event == event]
        same += int(counts[event] == len(old) and torch.equal(old, new))
    assert 10 < same < 45  # identity and energy: two draws of five


def test_the_same_seed_gives_the_same_events():
    batch = lines(channels=2)
    one, other = (augment(batch, generator(3), Augmentation(0.3)) for _ in range(2))
    assert torch.equal(one.coords, other.coords)
    assert torch.equal(one.features, other.features)
    assert not torch.equal(one.offsets, augment(batch, generator(4), Augmentation(0.3)).offsets)


def test_never_empty_and_no_voxel_twice():
    batch = SparseBatch(torch.zeros(300, 3).int(), torch.arange(300), torch.ones(300, 1), 300)
    single = augment(batch, generator(), Augmentation(0.3, drop=0.9))
    assert single.offsets.diff().tolist() == [1] * 300
    many = augment(lines(), generator(), Augmentation(0.3, translation_cm=2.0))
    keyed = torch.cat([many.event[:, None], many.coords.long()], 1)
    assert len(keyed.unique(dim=0)) == len(keyed)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=20),
    drop=st.floats(0, 0.999),
    energy=st.floats(0, 2),
    translation_cm=st.floats(0, 5),
    draws=st.integers(0, 6),
    seed=st.integers(0, 2**31),
)
def test_events_stay_events_whatever_the_settings(sizes, drop, energy, translation_cm, draws, seed):
    rng = np.random.default_rng(seed)
    coords = np.concatenate([np.argwhere(np.ones((4, 4, 4)))[rng.permutation(64)[:size]] - 2 for size in sizes])
    event = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    batch = SparseBatch(torch.from_numpy(coords).int(), event, torch.ones(len(event), 1), len(sizes))
    changed = augment(
        batch,
        generator(seed),
        Augmentation(0.3, drop=drop, energy=energy, translation_cm=translation_cm, draws=draws),
    )
    left = changed.offsets.diff()
    assert changed.size == batch.size
    assert left.min() >= 1
    assert (left <= batch.offsets.diff()).all()
    assert torch.isfinite(changed.features).all()
    assert len(torch.cat([changed.event[:, None], changed.coords], 1).unique(dim=0)) == len(changed.coords)


class CountOperations(TorchDispatchMode):
    """Counts what torch is asked to do."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        return function(*args, **(kwargs or {}))


def test_a_batch_of_any_size_takes_the_same_operations():
    counts = []
    for size in (4, 64):
        batch = lines(size=size)
        with CountOperations() as operations:
            augment(batch, generator(), Augmentation(0.3))
        counts.append(operations.count)
    assert counts[0] == counts[1] > 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_batch_on_a_gpu_stays_there():
    batch = lines().to("cuda")
    changed = augment(batch, torch.Generator("cuda").manual_seed(0), Augmentation(0.3))
    assert changed.device.type == changed.coords.device.type == changed.event.device.type == "cuda"
    assert changed.offsets.diff().min() >= 1


def test_of_coinciding_voxels_the_first_is_kept(only):
    only("identity")
    coords = torch.tensor([[5, 0, 0], [1, 0, 0], [5, 0, 0], [5, 0, 0]]).int()
    batch = SparseBatch(coords, torch.tensor([0, 0, 0, 1]), torch.tensor([[1.0], [2.0], [3.0], [4.0]]), 2)
    kept = augment(batch, generator(), Augmentation(0.3))
    assert kept.coords[:, 0].tolist() == [5, 1, 5]
    assert kept.features[:, 0].tolist() == [1, 2, 4]


@pytest.mark.parametrize(
    "values",
    [
        {"voxel_size_cm": 0},
        {"feature_scale": 0.0},
        {"translation_cm": -1},
        {"drop": 1.0},
        {"energy": -1},
        {"draws": -1},
    ],
)
def test_impossible_settings_are_refused(values):
    with pytest.raises(UsageError, match="must"):
        Augmentation(**{"voxel_size_cm": 0.3, **values})


def test_both_forms_agree(monkeypatch):
    settings = Augmentation(0.3)
    one = augment(lines(), generator(), settings)
    monkeypatch.setattr("nubench.augment.kernels_usable", lambda tensor: False)
    other = augment(lines(), generator(), settings)
    # Only a position within rounding of a voxel's face may fall on either side.
    keys = [set(map(tuple, torch.cat([b.event[:, None], b.coords.long()], 1).tolist())) for b in (one, other)]
    assert len(keys[0] ^ keys[1]) <= 1e-3 * len(keys[0])


def test_events_too_long_for_the_hash_are_refused(only, form):
    if form == "torch":
        pytest.skip("the torch form has no such limit")
    only("identity")
    coords = torch.tensor([[0, 0, 0], [2**29, 0, 0]]).int()
    batch = SparseBatch(coords, torch.zeros(2).long(), torch.ones(2, 1), 1)
    with pytest.raises(ValueError, match="2\\^20 voxels long"):
        augment(batch, generator(), Augmentation(0.3))
