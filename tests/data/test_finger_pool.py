import jax
import numpy as np
import pytest

from ifvit.config import build
from ifvit.data import finger_pool
from ifvit.data.finger_pool import FingerPool, finger_keys, grow_packed, grow_pool
from ifvit.launch import compose_tree
from ifvit.storage.cache import Cache
from ifvit.synthesis.master import Skin, grow_finger, pack

pytestmark = pytest.mark.slow


BLOCK = 3


@pytest.fixture(scope="module", autouse=True)
def small_blocks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finger_pool, "BLOCK", BLOCK)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def skins(folder):
    """Five fingers, so two blocks, the second of them whole in the cache."""
    return grow_pool(7, 5, Cache(folder, "fingers", 10**9))


def nth(skins: Skin, index) -> Skin:
    return jax.tree.map(lambda leaf: leaf[index], skins)


def same(skins_a: Skin, other: Skin) -> None:
    for a, b in zip(skins_a, other, strict=True):
        np.testing.assert_array_equal(a, b)


def settings(folder, *overrides):
    return build(compose_tree(["data.fingers=5", "data.val_fingers=2", f"data.cache_dir={folder}", *overrides])).data


def test_a_finger_is_a_number_under_the_seed(skins):
    assert skins.wave.shape == (5, 736, 512) and skins.wave.dtype == np.int8
    assert skins.creases.shape == (5, 368, 256) and skins.creases.dtype == np.uint8
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(7), finger_pool.STREAM), 4)
    same(nth(skins, 4), pack(grow_finger(key).skin))
    assert jax.random.key_data(finger_keys(7, np.array([4])))[0].tolist() == jax.random.key_data(key).tolist()


def test_the_second_time_nothing_grows(skins, folder, monkeypatch):
    monkeypatch.setattr(finger_pool, "grow_packed", None)
    same(grow_pool(7, 5, Cache(folder, "fingers", 10**9)), skins)
    same(nth(grow_pool(7, 6, Cache(folder, "fingers", 10**9)), np.s_[:5]), skins)  # its last block was kept whole


def test_after_a_wipe_the_same_bits(skins, tmp_path):
    same(grow_pool(7, 2, Cache(tmp_path, "fingers", 10**9)), nth(skins, np.s_[:2]))


def test_any_seed_of_the_config_has_fingers():
    keys = jax.random.key_data(finger_keys(3_000_000_000, np.arange(2)))
    assert len({tuple(key) for key in keys.tolist()}) == 2


def test_another_seed_has_other_fingers(skins):
    other = np.asarray(grow_packed(8, np.arange(3)).wave)
    assert abs(np.corrcoef(other[0].ravel(), skins.wave[0].ravel())[0, 1]) < 0.2


SMALL = {"waves": np.zeros((BLOCK, 480, 400), np.int8)}  # of an earlier recipe
BARE = {"wave": np.zeros((BLOCK, 736, 512), np.int8)}
FLOATS = {"wave": np.zeros((BLOCK, 736, 512), np.int8), "creases": np.zeros((BLOCK, 368, 256), np.float32)}


@pytest.mark.parametrize("block", [SMALL, BARE, FLOATS], ids=["small", "bare", "floats"])
def test_a_foreign_block_is_grown_anew(skins, tmp_path, block):
    cache = Cache(tmp_path, "fingers", 10**9)
    cache.write(finger_pool._block_name(7, 0), **block)
    same(grow_pool(7, 2, cache), nth(skins, np.s_[:2]))


def test_fingers_of_an_earlier_recipe_are_not_read(skins, folder, tmp_path, monkeypatch):
    """Its blocks have another name, whatever is in them."""
    cache = Cache(tmp_path, "fingers", 10**9)
    with monkeypatch.context() as patch:
        patch.setattr(finger_pool, "RECIPE", finger_pool.RECIPE - 1)
        cache.write(finger_pool._block_name(7, 0), **nth(skins, np.s_[2:5])._asdict())
        same(grow_pool(7, 2, cache), nth(skins, np.s_[2:4]))
    same(grow_pool(7, 2, cache), nth(skins, np.s_[:2]))


def test_what_is_too_large_is_not_cached(skins, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(finger_pool, "CACHE_LIMIT", 10**5)
    same(grow_pool(7, 2, Cache(tmp_path, "fingers", 10**5)), nth(skins, np.s_[:2]))
    assert "not cached" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_renewal_takes_the_slots_in_turn(skins, folder):
    pool = FingerPool(settings(folder, "data.renew=2"), 7)
    numbers = [pool.numbers_at(step).tolist() for step in range(5)]
    # Three are trained on; the new fingers are numbered from 5 on.
    assert numbers == [[0, 1, 2], [5, 6, 2], [8, 6, 7], [8, 9, 10], [11, 12, 10]]
    still = FingerPool(settings(folder), 7)
    assert still.numbers_at(1000).tolist() == [0, 1, 2]


def test_the_pool_holds_what_its_numbers_say_however_it_came_there(skins, folder):
    stepwise, direct = (FingerPool(settings(folder, "data.renew=2"), 7) for _ in range(2))
    for step in range(4):
        stepwise.move_to(step)
    direct.move_to(3)
    same(stepwise.skins, direct.skins)
    same(nth(stepwise.skins, np.s_[:3]), grow_packed(7, stepwise.numbers_at(3)))
    same(nth(stepwise.skins, np.s_[3:]), nth(skins, np.s_[3:]))  # those held out stay


def test_without_renewal_nothing_moves(skins, folder):
    pool = FingerPool(settings(folder), 7)
    pool.move_to(50)
    same(pool.skins, skins)
