import jax
import numpy as np
import pytest

from ifvit.cache import Cache
from ifvit.config import build
from ifvit.data import pool
from ifvit.data.pool import Pool, finger_keys, grow_packed, grown
from ifvit.launch import compose_tree
from ifvit.synthesis.ridges import grow_finger, pack

BLOCK = 3


@pytest.fixture(scope="module", autouse=True)
def small_blocks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "BLOCK", BLOCK)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def waves(folder):
    """Five fingers, so two blocks, the second of them whole in the cache."""
    return grown(7, 5, Cache(folder, "fingers", 10**9))


def settings(folder, *overrides):
    return build(compose_tree(["data.fingers=5", "data.val_fingers=2", f"data.cache_dir={folder}", *overrides])).data


def test_a_finger_is_a_number_under_the_seed(waves):
    assert waves.shape == (5, 480, 400) and waves.dtype == np.int8
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(7), pool.STREAM), 4)
    np.testing.assert_array_equal(waves[4], pack(grow_finger(key).wave))
    assert jax.random.key_data(finger_keys(7, np.array([4])))[0].tolist() == jax.random.key_data(key).tolist()


def test_the_second_time_nothing_grows(waves, folder, monkeypatch):
    monkeypatch.setattr(pool, "grow_packed", None)
    np.testing.assert_array_equal(grown(7, 5, Cache(folder, "fingers", 10**9)), waves)
    np.testing.assert_array_equal(
        grown(7, 6, Cache(folder, "fingers", 10**9))[:5], waves
    )  # its last block was kept whole


def test_after_a_wipe_the_same_bits(waves, tmp_path):
    np.testing.assert_array_equal(grown(7, 2, Cache(tmp_path, "fingers", 10**9)), waves[:2])


def test_any_seed_of_the_config_has_fingers():
    keys = jax.random.key_data(finger_keys(3_000_000_000, np.arange(2)))
    assert len({tuple(key) for key in keys.tolist()}) == 2


def test_another_seed_has_other_fingers(waves):
    other = np.asarray(grow_packed(8, np.arange(3)))
    assert abs(np.corrcoef(other[0].ravel(), waves[0].ravel())[0, 1]) < 0.2


def test_a_foreign_block_is_grown_anew(waves, tmp_path):
    cache = Cache(tmp_path, "fingers", 10**9)
    cache.write(pool._block_name(7, 0), waves=np.zeros((BLOCK, 4, 4), np.int8))
    np.testing.assert_array_equal(grown(7, 2, cache), waves[:2])


def test_what_is_too_large_is_not_cached(waves, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pool, "CACHE_LIMIT", 10**5)
    np.testing.assert_array_equal(grown(7, 2, Cache(tmp_path, "fingers", 10**5)), waves[:2])
    assert "not cached" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_renewal_takes_the_slots_in_turn(waves, folder):
    held = Pool(settings(folder, "data.renew=2"), 7)
    numbers = [held.numbers_at(step).tolist() for step in range(5)]
    # Three are trained on; the new fingers are numbered from 5 on.
    assert numbers == [[0, 1, 2], [5, 6, 2], [8, 6, 7], [8, 9, 10], [11, 12, 10]]
    still = Pool(settings(folder), 7)
    assert still.numbers_at(1000).tolist() == [0, 1, 2]


def test_the_pool_holds_what_its_numbers_say_however_it_came_there(waves, folder):
    walked, jumped = (Pool(settings(folder, "data.renew=2"), 7) for _ in range(2))
    for step in range(4):
        walked.move_to(step)
    jumped.move_to(3)
    np.testing.assert_array_equal(walked.waves, jumped.waves)
    np.testing.assert_array_equal(walked.waves[:3], grow_packed(7, walked.numbers_at(3)))
    np.testing.assert_array_equal(walked.waves[3:], waves[3:])  # those held out stay


def test_without_renewal_nothing_moves(waves, folder):
    held = Pool(settings(folder), 7)
    held.move_to(50)
    np.testing.assert_array_equal(held.waves, waves)
