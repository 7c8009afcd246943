import dataclasses

import jax
import numpy as np
import pytest

from ifvit.data.loader import TRAIN, Batches
from ifvit.data.sources import load
from ifvit.models.dense import DenseModel
from ifvit.training.state import init_variables, make_optimizer, new_state
from ifvit.training.step import make_eval_step, make_train_step


@pytest.fixture(scope="module")
def setting(tiny, tmp_path_factory):
    config = tiny(tmp_path_factory.mktemp("none"), "trainer.batch_size=8", "data.pairs.impostor_share=0.5")
    impressions = load(config.data, config.seed)
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    batches = Batches(config, impressions, np.arange(len(impressions)), TRAIN, sharding)
    model = DenseModel.from_config(config.dense, np.float32)
    optimizer = make_optimizer(config, ())
    state = new_state(init_variables(model, 0, config.data.frame), optimizer)
    return config, model, optimizer, state, next(batches.pairs(0, 1))


def stepped(setting, pairs=None, **trainer):
    config, model, optimizer, state, batch = setting
    config = dataclasses.replace(config, trainer=dataclasses.replace(config.trainer, **trainer))
    return jax.jit(make_train_step(model, optimizer, config))(state, batch if pairs is None else pairs)


def moves(before, after):
    """By parameter, how far it moved."""
    paths = jax.tree_util.tree_leaves_with_path(jax.tree.map(lambda a, b: np.abs(a - b).max(), before, after))
    return {jax.tree_util.keystr(path): float(far) for path, far in paths}


def test_every_parameter_gets_a_gradient(setting):
    state, said = stepped(setting)
    still = [name for name, far in moves(setting[3].params, state.params).items() if far == 0]
    assert still == []
    assert int(state.step) == 1 and np.isfinite(said["loss"]) and said["grad_norm"] > 0


def test_pairs_of_different_fingers_alone_move_the_network(setting):
    """Their gradient was once zero."""
    pairs = setting[4]
    others = jax.tree.map(lambda x: x[~np.asarray(pairs.genuine)], pairs)
    assert len(others.genuine) >= 2
    _, said = stepped(setting, pairs=others)
    assert said["positive"] == 0 and said["negative"] > 0 and said["grad_norm"] > 1e-6


def test_accumulating_equal_parts_is_one_batch_of_them(setting):
    """Two copies of one half: the parts' mean gradient is the half's, whatever the order of the samples."""
    pairs = setting[4]
    doubled = jax.tree.map(lambda x: np.repeat(np.asarray(x)[:4], 2, axis=0), pairs)
    half = jax.tree.map(lambda x: x[:4], pairs)
    parted, said = stepped(setting, pairs=doubled, accumulate=2)
    alone, said_alone = stepped(setting, pairs=half)
    assert said["loss"] == pytest.approx(float(said_alone["loss"]), rel=1e-5)
    for name, far in moves(parted.params, alone.params).items():
        assert far < 2e-4, name


def test_a_part_without_labels_weighs_nothing(setting):
    """Part 0 is four genuine pairs, part 1 four pairs of different fingers: the labels are all part 0's."""
    pairs = setting[4]
    genuine, others = (np.flatnonzero(np.asarray(pairs.genuine) == kind) for kind in (True, False))
    order = np.stack([np.resize(genuine, 4), np.resize(others, 4)], 1).ravel()
    _, parted = stepped(setting, pairs=jax.tree.map(lambda x: np.asarray(x)[order], pairs), accumulate=2)
    _, alone = stepped(setting, pairs=jax.tree.map(lambda x: np.asarray(x)[np.resize(genuine, 4)], pairs))
    for name in ("positive", "exact", "within_one"):
        assert parted[name] == pytest.approx(float(alone[name]), rel=1e-4), name


def test_validation_does_not_depend_on_the_batch(setting):
    """Running statistics, not the batch's own."""
    config, model, _, state, pairs = setting
    evaluate = make_eval_step(model, config)
    whole = evaluate(state, pairs)
    part = evaluate(state, jax.tree.map(lambda x: x[:2], pairs))
    for name, (total, count) in part.totals.items():
        np.testing.assert_allclose(total, whole.totals[name][0][:2], rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(count, whole.totals[name][1][:2])
