"""Sharing events out, sorting them on disk, and masking crosstalk: properties that must hold whatever the events."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from nubench.containers import Deposits, Events, LabelledEvents, Primaries
from nubench.datasets.cards import SPLITS
from nubench.datasets.dataset import FIRST_EVENT_ID
from nubench.errors import DataError, UsageError
from nubench.events.store import TruthChunk
from nubench.importing.crosstalk import mask_crosstalk
from nubench.importing.spill import TruthSpill
from nubench.importing.splits import DEFAULT_FRACTIONS, assign_splits, number_events, parse_fractions, set_aside

CLASSES = ("muon", "proton")


@given(st.data())
def test_no_kinematics_stand_in_two_splits_and_none_is_empty(data: st.DataObject) -> None:
    sizes = [data.draw(st.lists(st.integers(1, 30), min_size=4, max_size=40)) for _ in CLASSES]
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    labels = np.concatenate([np.full(sum(groups), label) for label, groups in enumerate(sizes)])
    # The two classes have equal kinematics, which are not the same: another particle is another event.
    rows = np.concatenate([np.repeat(np.arange(len(groups)), groups) for groups in sizes]).astype(float)
    order = rng.permutation(len(labels))
    labels, kinematics = labels[order], np.column_stack([rows[order], np.sqrt(rows[order])])
    assigned = assign_splits(labels, kinematics, CLASSES, DEFAULT_FRACTIONS, seed=3)

    for label in range(2):
        for row in np.unique(kinematics[labels == label, 0]):
            assert len(np.unique(assigned.split[(labels == label) & (kinematics[:, 0] == row)])) == 1
        assert set(assigned.split[labels == label]) == {0, 1, 2, 3}
    assert assigned.sharing == sum(size for groups in sizes for size in groups if size > 1)


def test_the_result_depends_on_the_kinematics_and_the_seed_alone() -> None:
    rng = np.random.default_rng(1)
    labels, kinematics = rng.integers(0, 2, 300), rng.normal(size=(300, 7))
    first = assign_splits(labels, kinematics, CLASSES, DEFAULT_FRACTIONS, seed=0).split
    order = rng.permutation(300)
    shuffled = assign_splits(labels[order], kinematics[order], CLASSES, DEFAULT_FRACTIONS, seed=0).split
    assert np.array_equal(first[order], shuffled)
    other = assign_splits(labels, kinematics, CLASSES, DEFAULT_FRACTIONS, seed=1).split
    assert 0.3 < np.mean(first != other) < 0.7  # 48% for independent draws of these shares
    assert np.bincount(first).tolist() == pytest.approx([210, 30, 30, 30], abs=3)


def test_too_few_kinematics_are_named() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1])
    kinematics = np.array([0, 1, 2, 3, 0, 0, 1, 2, 2], float)[:, None]
    with pytest.raises(DataError, match=r"class 'proton' has 5 events of 3 different kinematics; each of train, val"):
        assign_splits(labels, kinematics, CLASSES, DEFAULT_FRACTIONS, seed=0)


@pytest.mark.parametrize("text", ["0.5,0.5", "a,b,c,d", "0.7,0.1,0.1,0.2", "1,0,0,0", "0.8,0.1,0.2,-0.1", ""])
def test_shares_must_be_four_with_the_sum_one(text: str) -> None:
    with pytest.raises(UsageError, match="--fractions must be four numbers above 0 with the sum 1"):
        parse_fractions(text)


def test_ids_count_up_in_each_split_in_random_order() -> None:
    split = np.repeat(np.arange(4), [100, 20, 10, 50])
    ids = number_events(split, seed=5)
    for index, name in enumerate(SPLITS):
        members = ids[split == index]
        assert sorted(members) == list(range(FIRST_EVENT_ID[name], FIRST_EVENT_ID[name] + len(members)))
        assert list(members) != sorted(members)
    assert np.array_equal(ids, number_events(split, seed=5))


def test_what_is_set_aside_is_a_share_that_depends_on_names_alone() -> None:
    keys = [f"test/muon/{index}" for index in range(400)]
    chosen = {keys[index] for index in set_aside(keys, 0.25, 0)}
    assert len(chosen) == 100
    backwards = keys[::-1]
    assert {backwards[index] for index in set_aside(backwards, 0.25, 0)} == chosen
    assert len(set_aside(keys[:2], 0.9, 0)) == 1


def _truth(ids: np.ndarray, rng: np.random.Generator) -> TruthChunk:
    lengths = rng.integers(0, 5, len(ids))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    rows = int(offsets[-1])
    event = np.repeat(ids, lengths)
    points = rng.normal(size=(rows, 3)).astype(np.float32)
    deposits = Deposits(offsets, points, points, event.astype(np.float32), np.zeros(rows, np.float32))
    unit = np.tile(np.float32([0, 0, 1]), (len(ids), 1))
    primaries = Primaries(ids, np.full(len(ids), 13), ids.astype(np.float32), unit, unit)
    return TruthChunk(primaries, ids % 2, deposits)


@hypothesis_settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(1, 200), bucket=st.integers(1, 90), chunk=st.integers(1, 70), seed=st.integers(0, 99))
def test_a_spill_gives_back_all_events_in_the_order_of_their_ids(
    count: int, bucket: int, chunk: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rng = np.random.default_rng(seed)
    ids = rng.permutation(count).astype(np.int64)
    spill = TruthSpill(tmp_path_factory.mktemp("spill"), bucket)
    chunks = [_truth(ids[first : first + chunk], rng) for first in range(0, count, chunk)]
    for part in chunks:
        spill.put(part)
    middle = count // 3
    taken = [*spill.take(0, middle), *spill.take(middle, count)]
    assert np.concatenate([part.primaries.event_id for part in taken]).tolist() == list(range(count))
    for part in taken:
        # Energies were set to the id of the event they belong to.
        expected = np.repeat(part.primaries.event_id, np.diff(part.deposits.offsets))
        assert np.array_equal(part.deposits.energy, expected)
        assert np.array_equal(part.labels, part.primaries.event_id % 2)
    assert sum(len(part.deposits.energy) for part in taken) == sum(len(part.deposits.energy) for part in chunks)


def _cubes(events: int, hits: int) -> LabelledEvents:
    rng = np.random.default_rng(2)
    coords = np.concatenate(
        [np.stack(np.unravel_index(rng.integers(0, 9000, 1) + 887 * np.arange(hits), (200,) * 3), 1) - 100] * events
    )
    unit = np.tile(np.float32([0, 0, 1]), (events, 1))
    truth = Primaries(np.arange(events) + 7, np.full(events, 13), np.ones(events, np.float32), unit, unit)
    voxels = Events(
        np.arange(events + 1) * hits, coords.astype(np.int32), rng.uniform(1, 9, (events * hits, 1)).astype(np.float32)
    )
    return LabelledEvents(voxels, np.zeros(events, np.int64), truth, rng.random(events * hits) < 0.4)


def _hits(events: LabelledEvents) -> set[tuple[int, ...]]:
    event = np.repeat(events.truth.event_id, events.events.voxels_per_event)
    return set(map(tuple, np.column_stack([event, events.events.coords]).tolist()))


def test_levels_of_crosstalk_nest_and_keep_the_track() -> None:
    whole = _cubes(20, 400)
    tags = whole.from_track
    assert tags is not None
    before: set[tuple[int, ...]] = set()
    for share in (0.0, 0.1, 0.25, 0.5, 0.9, 1.0):
        masked = mask_crosstalk(whole, share, seed=4)
        assert masked.from_track is not None
        assert masked.from_track.sum() == tags.sum()
        # 4,800 hits of crosstalk: three standard deviations of the share are 0.022.
        assert (~masked.from_track).sum() / (~tags).sum() == pytest.approx(share, abs=0.022)
        assert before <= _hits(masked)
        before = _hits(masked)
    assert np.array_equal(mask_crosstalk(whole, 1.0, 4).events.features, whole.events.features)
    assert _hits(mask_crosstalk(whole, 0.5, 4)) != _hits(mask_crosstalk(whole, 0.5, 5))


def test_masking_an_event_does_not_depend_on_its_company() -> None:
    whole = _cubes(6, 50)
    alone = mask_crosstalk(whole.select(np.array([4])), 0.5, 1)
    together = mask_crosstalk(whole, 0.5, 1).select(np.array([4]))
    assert np.array_equal(alone.events.coords, together.events.coords)


def test_events_without_tags_cannot_be_masked() -> None:
    whole = _cubes(1, 5)
    with pytest.raises(ValueError, match="from_track"):
        mask_crosstalk(LabelledEvents(whole.events, whole.labels, whole.truth), 0.5, 1)
