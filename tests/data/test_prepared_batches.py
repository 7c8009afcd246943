"""Prepared pairs as batches for Module 2, and what a run is told of them."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest

from ifvit.data import loader
from ifvit.data.aligned_pairs import NO_CLASS, make_aligned_pairs
from ifvit.data.batches import TRAIN, VALIDATE, BatchSpec
from ifvit.data.matcher_batches import PreparedBatches
from ifvit.data.prepared import Prepared
from ifvit.databases.prepared_table import read_records
from ifvit.databases.splits import read_split
from ifvit.errors import DataError
from tests.helpers.aligned_prints import (
    EACH,
    FINGERS,
    SIDE,
    config_of,
    data_of,
    fvc_tree,
    module1,
    prepare,
    sharding,
)

pytestmark = pytest.mark.slow


COUNT = 2 * FINGERS * EACH


@pytest.fixture
def batches(folder):
    def configured(stream=TRAIN, *more, **changes):
        config = config_of(folder, *more)
        pairs = dataclasses.replace(config.data.pairs, **changes)
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, pairs=pairs))
        return loader.supply(config, sharding()).batches(stream)

    return configured


def test_an_epoch_sees_every_genuine_pair_once(folder, batches):
    streamed = batches(impostor_share=0.0)
    prints = streamed._prepared
    part = read_split(folder / "split.csv").part
    trains = np.array([part[record.subject] == "train" for record in prints.records])
    expected = prints.genuine & ~prints.failed & trains[prints.first] & trains[prints.second]
    count = int(expected.sum())
    assert 8 < count < prints.genuine.sum()
    chosen_pairs = np.concatenate([streamed.choose(n)[0] for n in range(2 * count)])
    for epoch in range(16):
        assert sorted(chosen_pairs[count * epoch : count * (epoch + 1)]) == np.flatnonzero(expected).tolist()
    assert chosen_pairs[:count].tolist() != chosen_pairs[count : 2 * count].tolist()


def test_impostors_are_drawn_as_often_as_asked(batches):
    streamed = batches(impostor_share=0.4)
    prints, chosen = streamed._prepared, np.concatenate([streamed.choose(n)[0] for n in range(200)])
    assert np.mean(~prints.genuine[chosen]) == pytest.approx(0.4, abs=0.04)
    assert not prints.failed[chosen].any()
    inputs = streamed.on_host(0)
    np.testing.assert_array_equal(inputs.labels.a == inputs.labels.b, inputs.genuine)


@pytest.mark.parametrize("stream, part", [(TRAIN, "train"), (VALIDATE, "validate")])
def test_both_prints_are_of_the_streams_people(folder, batches, stream, part):
    streamed = batches(stream, impostor_share=0.0)
    prints, parts = streamed._prepared, read_split(folder / "split.csv").part
    for n in range(10):
        chosen, _ = streamed.choose(n)
        people = {prints.records[k].subject for side in (prints.first, prints.second) for k in side[chosen].tolist()}
        assert {parts[person] for person in people} == {part}
    fingers = FINGERS - 1 if stream == TRAIN else 1
    assert streamed.fingers == 2 * fingers and len(streamed) == 2 * fingers * EACH


def test_a_class_is_an_identitys_rank_among_those_trained_on(folder):
    config, rows = config_of(folder), read_records(folder)
    prints = Prepared(folder, rows.values())
    subjects = np.array([record.subject for record in rows.values()])
    chosen = np.flatnonzero(np.char.find(subjects, "104") < 0)
    streamed = PreparedBatches(config, prints, chosen, BatchSpec(8, sharding(), TRAIN, first_class=10))
    order = list(dict.fromkeys(subjects[chosen]))
    assert streamed.classes == len(order) == 2 * (FINGERS - 1)
    chosen_pairs = set()
    for n in range(20):
        inputs = streamed.on_host(n)
        grey_of = {prints.grey[k].tobytes(): subjects[k] for k in range(COUNT)}
        for grey, label in zip(
            *map(np.concatenate, (inputs.prints.map(lambda side: side.grey), inputs.labels)), strict=True
        ):
            assert label == 10 + order.index(grey_of[grey.tobytes()])
        chosen_pairs |= {*inputs.labels.a.tolist()}
    assert chosen_pairs == set(range(10, 16)) and inputs.labels.a.dtype == np.int32


def test_who_validates_has_no_class(batches):
    streamed = batches(VALIDATE, impostor_share=0.0)
    inputs = streamed.on_host(0)
    assert streamed.classes == 0 and (np.array(inputs.labels) == NO_CLASS).all()


def test_a_label_of_somebody_else_is_a_mistake(batches):
    streamed = batches(impostor_share=0.0)
    streamed._labels[:] = streamed.classes
    with pytest.raises(AssertionError, match="another part of the split"):
        streamed.on_host(0)


def test_sides_change_with_the_map_back(batches):
    streamed = batches()
    prints, swaps = streamed._prepared, set()
    for n in range(5):
        (chosen, swapped), inputs = streamed.choose(n), streamed.on_host(n)
        for k, (pair, swap) in enumerate(zip(chosen.tolist(), swapped.tolist(), strict=True)):
            first, second = (prints.first[pair], prints.second[pair])[:: -1 if swap else 1]
            np.testing.assert_array_equal(inputs.prints.a.grey[k], prints.grey[first])
            np.testing.assert_array_equal(inputs.prints.b.enhanced[k], prints.enhanced[second])
            expected = (prints.to_second if swap else prints.to_first)[pair]
            np.testing.assert_array_equal(inputs.map_ba[k], expected)
            swaps.add(swap)
    assert swaps == {True, False} and inputs.map_ba.dtype == np.float32


def test_batch_n_is_the_same_whatever_the_threads(batches):
    alone = list(batches(TRAIN, "data.threads=0").iterate(0, 5))
    threaded = list(batches(TRAIN, "data.threads=3").iterate(2, 5))
    for first, other in zip(alone[2:], threaded, strict=True):
        jax.tree.map(np.testing.assert_array_equal, first, other)
    assert alone[0].pairs.images.a.shape == (8, SIDE, SIDE) and alone[0].pairs.sides.a.valid.any()
    assert (np.asarray(alone[0].pairs.images.a) != np.asarray(alone[1].pairs.images.a)).any()
    other = next(batches(TRAIN, "seed=1").iterate(0, 1))
    assert (np.asarray(alone[0].pairs.images.a) != np.asarray(other.pairs.images.a)).any()


def test_validation_is_the_same_every_time(batches):
    streamed = batches(VALIDATE, impostor_share=0.0)
    for first, other in zip(streamed.iterate(0, 2), streamed.iterate(0, 2), strict=True):
        jax.tree.map(np.testing.assert_array_equal, first, other)


def test_as_they_were_registered_where_nothing_is_added(batches):
    """Without turn, registration noise and wear, B is the print itself, and a pair's map is the identity."""
    noise = ("registration_noise_deg", "registration_noise_px", "noise")
    keys = ("rotation_deg", "shift_px", *noise, "dryness", "pressure", "partial_share")
    still = dict.fromkeys(keys, 0.0)
    streamed = batches(**still)
    inputs = streamed.on_host(3)
    aligned = make_aligned_pairs(jax.random.key(0), inputs, streamed._settings)
    np.testing.assert_allclose(aligned.enhanced.b, inputs.prints.b.enhanced / 255, atol=1e-3)
    grid = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), -1)
    to_b = aligned.pairs.sides.a.to_other
    np.testing.assert_allclose(to_b, np.broadcast_to(grid, to_b.shape), atol=1e-3)


def test_no_pair_of_a_kind_is_refused_in_words(folder, batches):
    with pytest.raises(DataError, match="no impostor pair .* to validate on: its 2 fingers have none; hold out"):
        batches(VALIDATE)  # of each database one finger is held out
    prints = Prepared(folder, read_records(folder).values())
    prints.failed = prints.failed | prints.genuine
    with pytest.raises(DataError, match="no genuine pair .* to train on of mine: none of 24 could be registered"):
        PreparedBatches(config_of(folder), prints, np.arange(COUNT), BatchSpec(8, sharding(), TRAIN, "mine"))


def test_the_supply_says_what_was_prepared(folder, tmp_path):
    streamed = loader.supply(config_of(folder), sharding())
    assert streamed.module1 == module1().digest() and streamed.prints is None
    assert streamed.fingerprint.startswith("24 prepared prints, ")
    moved = shutil.copytree(folder, tmp_path / "moved")
    assert loader.supply(config_of(moved), sharding()).fingerprint == streamed.fingerprint
    with np.load(moved / "pairs" / "00001.npz") as block:
        arrays = dict(block)
    arrays["to_first"][0, 0, 0] += 1
    np.savez_compressed(moved / "pairs" / "00001.npz", **arrays)
    assert loader.supply(config_of(moved), sharding()).fingerprint != streamed.fingerprint


@pytest.mark.parametrize(
    "override, message",
    [
        ("data.image_size=96", "prepared as 64x64 px at 250 ppi, this run sees 96x96 px at 250 ppi"),
        ("data.ppi=200", "at 250 ppi, this run sees 64x64 px at 200 ppi"),
        ("matcher.enhancement=gabor", "set matcher.enhancement=none"),
    ],
)
def test_prints_that_this_run_would_see_otherwise(folder, override, message):
    with pytest.raises(DataError, match=message):
        loader.supply(config_of(folder, override), sharding())


def test_several_sources_at_once(folder, tmp_path, monkeypatch):
    """Classes are counted on from source to source; and all must be of one Module 1."""

    def supply_both(other):
        return loader.supply(
            config_of(folder, "data=mixture", "data.root=null", "data.val_fingers=2", "data.mixture.synthetic.weight=0",
                      f"data.mixture.prepared.root={folder}", "data.mixture.prepared.val_fingers=1",
                      f"+data.mixture.mine={{source: prepared, root: {other}, val_fingers: 1, weight: 1}}"),
            sharding(),
        )  # fmt: skip

    tree = fvc_tree(tmp_path / "fvc", ("DB3_B",))
    prepare(monkeypatch, tmp_path / "same", module1(), data_of(tree))
    prepare(monkeypatch, tmp_path / "other", module1(2.0), data_of(tree))
    streamed = supply_both(tmp_path / "same")
    train = streamed.batches(TRAIN)
    first, mine = train.on_host(0)
    assert train.classes == 9 and len(first.genuine) == len(mine.genuine) == 4
    assert set(first.labels.a.tolist()) <= set(range(6)) and set(mine.labels.a.tolist()) <= {6, 7, 8}
    assert "prepared: 24 prepared prints" in streamed.fingerprint and "mine: 12 prepared prints" in streamed.fingerprint
    with pytest.raises(DataError, match="prepared, mine were prepared by different Modules 1"):
        supply_both(tmp_path / "other")
