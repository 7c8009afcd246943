import dataclasses

import jax
import numpy as np
import pytest

from ifvit.data.batches import TRAIN, BatchSpec, CopiedBatches
from ifvit.data.impressions import load
from ifvit.models.dense import DenseModel
from ifvit.training.dense_step import make_dense_eval, make_dense_step
from ifvit.training.state import init_variables, make_optimizer, new_state
from tests.helpers.runs import FINE

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def setting(tiny, tmp_path_factory):
    return set_up(tiny, tmp_path_factory)


@pytest.fixture(scope="module")
def fine_setting(tiny, tmp_path_factory):
    return set_up(tiny, tmp_path_factory, *FINE)


def set_up(tiny, tmp_path_factory, *overrides):
    folder = tmp_path_factory.mktemp("none")
    config = tiny(folder, "trainer.batch_size=8", "data.pairs.impostor_share=0.5", *overrides)
    impressions = load(config.data)
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    batches = CopiedBatches(config, impressions, np.arange(len(impressions)), BatchSpec(8, sharding, TRAIN))
    model = DenseModel.from_config(config.dense, np.float32)
    optimizer = make_optimizer(config, ())
    state = new_state(init_variables(model, 0, config.data.frame), optimizer)
    return config, model, optimizer, state, next(batches.iterate(0, 1))


def stepped(setting, pairs=None, **trainer):
    config, model, optimizer, state, batch = setting
    config = dataclasses.replace(config, trainer=dataclasses.replace(config.trainer, **trainer))
    return jax.jit(make_dense_step(model, optimizer, config))(state, batch if pairs is None else pairs)


def moves(before, after):
    """By parameter, how far it moved."""
    paths = jax.tree_util.tree_leaves_with_path(jax.tree.map(lambda a, b: np.abs(a - b).max(), before, after))
    return {jax.tree_util.keystr(path): float(far) for path, far in paths}


def test_every_parameter_gets_a_gradient(setting):
    state, metrics = stepped(setting)
    still = [name for name, far in moves(setting[3].params, state.params).items() if far == 0]
    assert still == []
    assert int(state.step) == 1 and np.isfinite(metrics["loss"]) and metrics["grad_norm"] > 0


def test_every_parameter_of_the_fine_stage_gets_a_gradient(fine_setting):
    state, metrics = stepped(fine_setting)
    still = [name for name, far in moves(fine_setting[3].params, state.params).items() if far == 0]
    assert still == [] and {"fine_preprocess", "fine_transformer"} <= set(state.params)
    assert 0 < metrics["fine"] < 10
    rest = metrics["positive"] + fine_setting[0].loss.negative_weight * metrics["negative"]
    assert metrics["loss"] == pytest.approx(float(rest + metrics["fine"]), rel=1e-5)


def test_the_teacher_draws_anew_every_step(fine_setting):
    config, model, optimizer, state, batch = fine_setting
    run = jax.jit(make_dense_step(model, optimizer, config))
    fine = [float(run(state.replace(step=np.int32(step)), batch)[1]["fine"]) for step in (0, 0, 1)]
    assert fine[0] == fine[1] != fine[2]


def test_accumulating_shares_the_fine_loss_of_the_whole(fine_setting):
    """Part 0 is four genuine pairs, part 1 four pairs of different fingers: the places taught are all part 0's."""
    pairs = fine_setting[4]
    genuine, impostors = (np.flatnonzero(np.asarray(pairs.genuine) == kind) for kind in (True, False))
    order = np.stack([np.resize(genuine, 4), np.resize(impostors, 4)], 1).ravel()
    _, parted = stepped(fine_setting, pairs=jax.tree.map(lambda x: np.asarray(x)[order], pairs), accumulate=2)
    _, alone = stepped(fine_setting, pairs=jax.tree.map(lambda x: np.asarray(x)[np.resize(genuine, 4)], pairs))
    assert parted["fine"] == pytest.approx(float(alone["fine"]), rel=1e-4)


def test_pairs_of_different_fingers_alone_move_the_network(setting):
    """Their gradient was once zero."""
    pairs = setting[4]
    impostors = jax.tree.map(lambda x: x[~np.asarray(pairs.genuine)], pairs)
    assert len(impostors.genuine) >= 2
    _, metrics = stepped(setting, pairs=impostors)
    assert metrics["positive"] == 0 and metrics["negative"] > 0 and metrics["grad_norm"] > 1e-6


def test_accumulating_equal_parts_is_one_batch_of_them(setting):
    """Two copies of one half: the parts' mean gradient is the half's, whatever the order of the samples."""
    pairs = setting[4]
    doubled = jax.tree.map(lambda x: np.repeat(np.asarray(x)[:4], 2, axis=0), pairs)
    half = jax.tree.map(lambda x: x[:4], pairs)
    parted, metrics = stepped(setting, pairs=doubled, accumulate=2)
    alone, metrics_alone = stepped(setting, pairs=half)
    assert metrics["loss"] == pytest.approx(float(metrics_alone["loss"]), rel=1e-5)
    for name, far in moves(parted.params, alone.params).items():
        assert far < 2e-4, name


def test_a_part_without_labels_weighs_nothing(setting):
    """Part 0 is four genuine pairs, part 1 four pairs of different fingers: the labels are all part 0's."""
    pairs = setting[4]
    genuine, impostors = (np.flatnonzero(np.asarray(pairs.genuine) == kind) for kind in (True, False))
    order = np.stack([np.resize(genuine, 4), np.resize(impostors, 4)], 1).ravel()
    _, parted = stepped(setting, pairs=jax.tree.map(lambda x: np.asarray(x)[order], pairs), accumulate=2)
    _, alone = stepped(setting, pairs=jax.tree.map(lambda x: np.asarray(x)[np.resize(genuine, 4)], pairs))
    for name in ("positive", "exact", "within_one"):
        assert parted[name] == pytest.approx(float(alone[name]), rel=1e-4), name


def test_validation_does_not_depend_on_the_batch(setting):
    """Running statistics, not the batch's own."""
    config, model, _, state, pairs = setting
    evaluate = make_dense_eval(model, config)
    full = evaluate(state, pairs)
    part = evaluate(state, jax.tree.map(lambda x: x[:2], pairs))
    for name, (total, count) in part.totals.items():
        np.testing.assert_allclose(total, full.totals[name][0][:2], rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(count, full.totals[name][1][:2])


def test_validation_places_every_match_coarse_and_fine(fine_setting):
    config, model, _, state, pairs = fine_setting
    config = dataclasses.replace(config, dense=dataclasses.replace(config.dense, threshold=0.0, max_matches=20))
    validation = make_dense_eval(model, config)(state, pairs)
    present = np.asarray(validation.matches.cells[..., 0] >= 0)
    assert present.sum() > 8 and set(validation.points) == set(validation.errors) == {"coarse", "fine"}
    offset = np.abs(validation.points["fine"] - validation.points["coarse"]).max(-1)
    assert (offset[present] <= model.reach + 1e-3).all() and (offset[present] > 0).all()
    known = np.asarray(validation.known)
    assert known.any() and not known[~np.asarray(pairs.genuine)].any() and not known[~present].any()
    far = np.linalg.norm(validation.points["fine"] - validation.target, axis=-1)
    np.testing.assert_allclose(np.asarray(validation.errors["fine"])[known], far[known], rtol=1e-5)
