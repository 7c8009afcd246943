import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifvit.training.state import make_optimizer, schedule


@pytest.fixture
def params():
    return {
        "transformer": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)},
        "backbone": {"kernel": jnp.ones((2, 2))},
    }


def updates_of(config, params, merged, gradient=1.0):
    optimizer = make_optimizer(config, merged)
    grads = jax.tree.map(lambda p: jnp.full_like(p, gradient), params)
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    return updates


def test_the_schedule_warms_up_and_ends_with_the_run(tiny, tmp_path):
    config = tiny(tmp_path, "trainer.max_steps=1000", "optimizer.warmup_steps=100", "optimizer.final_lr=0.1")
    rate = schedule(config)
    rates = [float(rate(step)) for step in (0, 100, 550, 1000)]
    assert rates == pytest.approx([1e-5, 1e-3, 0.55e-3, 1e-4], rel=1e-3)


def test_a_run_shorter_than_its_warm_up_still_learns(tiny, tmp_path):
    rate = schedule(tiny(tmp_path, "trainer.max_steps=4", "optimizer.warmup_steps=100"))
    assert max(float(rate(k)) for k in range(4)) == pytest.approx(1e-3)


def test_merged_weights_move_slower_or_not_at_all(tiny, tmp_path, params):
    merged = {"transformer/kernel", "transformer/bias"}
    plain = updates_of(tiny(tmp_path), params, ())
    slow = updates_of(tiny(tmp_path, "dense.merged_lr=0.1"), params, merged)
    frozen = updates_of(tiny(tmp_path, "dense.merged_lr=0"), params, merged)
    np.testing.assert_allclose(slow["transformer"]["kernel"], 0.1 * plain["transformer"]["kernel"], rtol=1e-6)
    assert (frozen["transformer"]["kernel"] == 0).all() and (frozen["transformer"]["bias"] == 0).all()
    for updates in (slow, frozen):
        np.testing.assert_array_equal(updates["backbone"]["kernel"], plain["backbone"]["kernel"])


def test_weight_decay_spares_biases(tiny, tmp_path, params):
    updates = updates_of(tiny(tmp_path, "optimizer.weight_decay=1"), params, (), gradient=0.0)
    assert (updates["transformer"]["kernel"] < 0).all() and (updates["transformer"]["bias"] == 0).all()
