import dataclasses

import jax
import numpy as np
import pytest

from ifvit.config import build
from ifvit.data import loader
from ifvit.data.loader import TRAIN, VALIDATE, CopiedBatches
from ifvit.data.sources import DataError, Impressions
from ifvit.launch import compose_tree

FINGERS, EACH, SIDE = 5, 3, 32


@pytest.fixture(scope="module")
def config():
    overrides = [
        "debug=smoke",
        f"data.image_size={SIDE}",
        "data.pairs.elastic_px=0.5",
        "trainer.batch_size=8",
    ]
    return build(compose_tree(overrides))


@pytest.fixture(scope="module")
def impressions():
    count, rng = FINGERS * EACH, np.random.default_rng(0)
    return Impressions(
        grey=rng.integers(0, 255, (count, 2 * SIDE, 2 * SIDE)).astype(np.uint8),
        ridges=np.ones((count, 2 * SIDE, 2 * SIDE), bool),
        background=np.full(count, 255, np.uint8),
        identity=np.repeat(np.arange(FINGERS), EACH),
        finger=tuple(f"db/{k}" for k in range(FINGERS)),
        fingerprint="test",
    )


def batches(config, impressions, stream=TRAIN, chosen=None, **changes):
    trainer, pairs = config.trainer, config.data.pairs
    pairs = dataclasses.replace(pairs, impostor_share=changes.pop("impostor_share", pairs.impostor_share))
    data = dataclasses.replace(config.data, pairs=pairs, threads=changes.pop("threads", 0))
    config = dataclasses.replace(config, data=data, trainer=trainer, **changes)
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    chosen = np.arange(len(impressions)) if chosen is None else chosen
    return CopiedBatches(config, impressions, chosen, stream, sharding)


def test_batch_n_is_a_function_of_seed_and_n(config, impressions):
    whole = [p.image_b for p in batches(config, impressions).pairs(0, 4)]
    resumed = [p.image_b for p in batches(config, impressions).pairs(2, 4)]
    for one, other in zip(whole[2:], resumed, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(whole[0], whole[1])
    other_seed = next(batches(config, impressions, seed=1).pairs(0, 1)).image_b
    assert not np.array_equal(whole[0], other_seed)
    validation = next(batches(config, impressions, VALIDATE).pairs(0, 1)).image_b
    assert not np.array_equal(whole[0], validation)


def test_threads_change_nothing(config, impressions):
    alone = [p.image_a for p in batches(config, impressions, threads=0).pairs(0, 6)]
    threaded = [p.image_a for p in batches(config, impressions, threads=3).pairs(0, 6)]
    for one, other in zip(alone, threaded, strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_epoch_sees_every_impression_once(config, impressions):
    held = batches(config, impressions)
    seen = np.concatenate([held.choose(n)[0] for n in range(15)])  # 15 x 8 = 8 epochs of 15
    for epoch in range(8):
        assert sorted(seen[15 * epoch : 15 * (epoch + 1)]) == list(range(15))
    assert seen[:15].tolist() != seen[15:30].tolist()


def test_impostors_are_other_fingers_and_genuine_pairs_the_same_impression(config, impressions):
    held = batches(config, impressions, impostor_share=0.4)
    drawn = [held.choose(n) for n in range(200)]
    first, second, genuine = (np.concatenate(part) for part in zip(*drawn, strict=True))
    assert (first[genuine] == second[genuine]).all()
    assert (impressions.identity[first] != impressions.identity[second])[~genuine].all()
    assert np.mean(~genuine) == pytest.approx(0.4, abs=0.04)
    assert len(set(second[~genuine])) == 15


def test_only_the_chosen_impressions_are_used(config, impressions):
    chosen = np.arange(3, 9)
    held = batches(config, impressions, chosen=chosen, impostor_share=0.5)
    for n in range(20):
        first, second, _ = held.choose(n)
        assert set(first) | set(second) <= set(chosen)


def test_one_finger_has_no_impostors(config, impressions):
    with pytest.raises(DataError, match="impostor_share"):
        batches(config, impressions, chosen=np.arange(3))
    batches(config, impressions, chosen=np.arange(3), impostor_share=0.0)


def test_synthetic_fingers_are_split_before_any_is_grown(config, monkeypatch):
    """The last ones validate; what each batch is made of, and what the data is, is known without growing."""
    monkeypatch.setattr(loader, "Pool", lambda *_: pytest.fail("grown"))
    changes = {"data.source": "synthetic", "data.fingers": 7, "data.val_fingers": 3, "trainer.batch_size": 64}
    settings = build(compose_tree([f"{key}={value}" for key, value in changes.items()]))
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("data",))
    held = loader.supply(settings, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data")))
    assert held.fingerprint.startswith("synthetic fingers 7, seed 0, recipe")
    for stream, fingers in ((TRAIN, {0, 1, 2, 3}), (VALIDATE, {4, 5, 6})):
        batches = held.batches(stream)
        picks = batches.on_host(0)
        assert set(picks.finger_a.tolist()) == set(picks.finger_b.tolist()) == fingers
        assert batches.fingers == len(batches) == len(fingers)
        np.testing.assert_array_equal(picks.finger_a == picks.finger_b, picks.genuine)
