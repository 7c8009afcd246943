import dataclasses

import jax
import numpy as np
import pytest

from ifvit.config import build
from ifvit.data.batches import TRAIN, VALIDATE, BatchSpec, CopiedBatches
from ifvit.errors import DataError
from ifvit.image import Canvas
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


class Drawn:
    """Canvases of noise in place of prints."""

    identity = np.repeat(np.arange(FINGERS), EACH)

    def __init__(self):
        grey = np.random.default_rng(0).integers(0, 255, (FINGERS * EACH, 2 * SIDE, 2 * SIDE)).astype(np.uint8)
        self.canvases = [Canvas(grey, np.ones(grey.shape, bool), 255) for grey in grey]
        self.requests = []

    def __len__(self):
        return len(self.canvases)

    def canvas(self, k):
        self.requests.append(k)
        return self.canvases[k]


@pytest.fixture(scope="module")
def impressions():
    return Drawn()


def batches(config, impressions, stream=TRAIN, chosen=None, **changes):
    trainer, pairs = config.trainer, config.data.pairs
    pairs = dataclasses.replace(pairs, impostor_share=changes.pop("impostor_share", pairs.impostor_share))
    data = dataclasses.replace(config.data, pairs=pairs, threads=changes.pop("threads", 0))
    config = dataclasses.replace(config, data=data, trainer=trainer, **changes)
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    chosen = np.arange(len(impressions)) if chosen is None else chosen
    return CopiedBatches(config, impressions, chosen, BatchSpec(config.trainer.batch_size, sharding, stream))


def test_batch_n_is_a_function_of_seed_and_n(config, impressions):
    images = [p.images.b for p in batches(config, impressions).iterate(0, 4)]
    resumed = [p.images.b for p in batches(config, impressions).iterate(2, 4)]
    for first, other in zip(images[2:], resumed, strict=True):
        np.testing.assert_array_equal(first, other)
    assert not np.array_equal(images[0], images[1])
    other_seed = next(batches(config, impressions, seed=1).iterate(0, 1)).images.b
    assert not np.array_equal(images[0], other_seed)
    validation = next(batches(config, impressions, VALIDATE).iterate(0, 1)).images.b
    assert not np.array_equal(images[0], validation)


def test_threads_change_nothing(config, impressions):
    alone = [p.images.a for p in batches(config, impressions, threads=0).iterate(0, 6)]
    threaded = [p.images.a for p in batches(config, impressions, threads=3).iterate(0, 6)]
    for first, other in zip(alone, threaded, strict=True):
        np.testing.assert_array_equal(first, other)


def test_an_epoch_sees_every_impression_once(config, impressions):
    stream = batches(config, impressions)
    chosen_a = np.concatenate([stream.choose(n)[0].a for n in range(15)])  # 15 x 8 = 8 epochs of 15
    for epoch in range(8):
        assert sorted(chosen_a[15 * epoch : 15 * (epoch + 1)]) == list(range(15))
    assert chosen_a[:15].tolist() != chosen_a[15:30].tolist()


def test_impostors_are_other_fingers_and_genuine_pairs_the_same_impression(config, impressions):
    stream = batches(config, impressions, impostor_share=0.4)
    choices = [(*indices, genuine) for indices, genuine in map(stream.choose, range(200))]
    first, second, genuine = (np.concatenate(part) for part in zip(*choices, strict=True))
    assert (first[genuine] == second[genuine]).all()
    assert (impressions.identity[first] != impressions.identity[second])[~genuine].all()
    assert np.mean(~genuine) == pytest.approx(0.4, abs=0.04)
    assert len(set(second[~genuine])) == 15


def test_only_the_chosen_impressions_are_used(config, impressions):
    chosen = np.arange(3, 9)
    stream = batches(config, impressions, chosen=chosen, impostor_share=0.5)
    for n in range(20):
        indices, _ = stream.choose(n)
        assert np.isin(indices, chosen).all()


def test_one_finger_has_no_impostors(config, impressions):
    with pytest.raises(DataError, match="impostor_share"):
        batches(config, impressions, chosen=np.arange(3))
    batches(config, impressions, chosen=np.arange(3), impostor_share=0.0)


def test_a_canvas_is_asked_for_once_a_batch(config, impressions):
    stream = batches(config, impressions)
    indices, _ = stream.choose(5)
    impressions.requests.clear()
    stream.on_host(5)
    assert sorted(impressions.requests) == np.unique(indices).tolist()


def test_sources_of_a_mixture_draw_by_their_names(config, impressions):
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    choices = [
        CopiedBatches(config, impressions, np.arange(15), BatchSpec(8, sharding, TRAIN, name)).choose(0)[0].a.tolist()
        for name in ("", "one", "other")
    ]
    assert len({tuple(choice) for choice in choices}) == 3
