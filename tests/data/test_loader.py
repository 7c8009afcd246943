import shutil

import cv2
import jax
import numpy as np
import pytest

from ifvit.config import build
from ifvit.data import finger_pool, loader
from ifvit.data.batches import TRAIN, VALIDATE
from ifvit.data.loader import shares
from ifvit.errors import DataError
from ifvit.launch import compose_tree

pytestmark = pytest.mark.slow


def mesh_sharding(devices=1):
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:devices]), ("data",))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))


def test_synthetic_fingers_are_split_before_any_is_grown(monkeypatch):
    """The last ones validate; what each batch is made of, and what the data is, is known without growing."""
    monkeypatch.setattr(loader, "FingerPool", lambda *_: pytest.fail("grown"))
    changes = {"data.source": "synthetic", "data.fingers": 7, "data.val_fingers": 3, "trainer.batch_size": 64}
    settings = build(compose_tree([f"{key}={value}" for key, value in changes.items()]))
    data = loader.supply(settings, mesh_sharding())
    assert data.fingerprint.startswith("synthetic fingers 7, seed 0, recipe")
    for stream, fingers in ((TRAIN, {0, 1, 2, 3}), (VALIDATE, {4, 5, 6})):
        batches = data.batches(stream)
        picks = batches.on_host(0)
        assert set(picks.fingers.a.tolist()) == set(picks.fingers.b.tolist()) == fingers
        assert batches.fingers == len(batches) == len(fingers)
        np.testing.assert_array_equal(picks.fingers.a == picks.fingers.b, picks.genuine)


@pytest.mark.parametrize(
    "weights, total, unit, expected",
    [
        ([1, 1], 16, 1, [8, 8]),
        ([1, 1, 1], 16, 1, [6, 5, 5]),
        ([3, 1], 16, 1, [12, 4]),
        ([1, 0.001], 16, 1, [15, 1]),  # one of each at least
        ([1, 1], 16, 4, [8, 8]),
        ([3, 2], 16, 4, [8, 8]),  # in whole units of the devices
        ([1000, 1], 4, 2, [2, 2]),
        ([2400, 12000, 11000], 128, 1, [12, 61, 55]),
        ([5], 7, 1, [7]),
    ],
)
def test_a_batch_is_shared_by_weight(weights, total, unit, expected):
    assert shares(weights, total, unit) == expected and sum(expected) == total


def test_more_sources_than_places():
    with pytest.raises(DataError, match="set trainer.batch_size=12 or more"):
        shares([1, 1, 1], 8, 4)


@pytest.fixture
def mixture(prints, tmp_path):
    """Synthetic fingers and two folders of drawn ones: a config maker."""
    second = tmp_path / "second"
    for k, folder in enumerate(sorted(prints.iterdir())):
        for image in folder.iterdir():
            picture = cv2.imread(str(image), cv2.IMREAD_GRAYSCALE)
            (second / f"other{k}").mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(second / f"other{k}" / image.name), np.flip(picture, 1))

    def configured(*more):
        return build(compose_tree([
            "debug=smoke", "data=mixture", "data.image_size=32", "data.pairs.elastic_px=0.5", "trainer.batch_size=8",
            "data.fingers=3", "data.mixture.synthetic.val_fingers=1", "data.pairs.impostor_share=0",
            f"data.mixture.folder.root={prints}", "data.mixture.folder.file_ppi=250",
            f"+data.mixture.mine={{source: folder, root: {second}, file_ppi: 250, weight: 2}}", *more,
        ]))  # fmt: skip

    return configured


def test_every_batch_of_a_mixture_holds_each_source_by_weight(mixture):
    data = loader.supply(mixture("data.mixture.synthetic.weight=0"), mesh_sharding())
    batches = data.batches(TRAIN)
    assert batches.fingers == 4 and len(batches) == 8  # of four fingers in each folder two are held out
    for n in (0, 5):
        folder, mine = batches.on_host(n)
        assert len(folder.genuine) == 3 and len(mine.genuine) == 5
        pairs = batches.on_device(n, (folder, mine))
        assert pairs.images.a.shape == (8, 32, 32)
    assert "16 images" in data.fingerprint and "synthetic" not in data.fingerprint
    assert set(data.split.part.values()) == {"train", "validate"} and len(data.split.part) == 8


def test_the_sources_of_a_mixture_do_not_touch_each_other(mixture):
    """With one source less, and the places that it leaves, the other draws what it drew."""
    both = loader.supply(mixture("data.mixture.synthetic.weight=0", "data.mixture.mine.weight=1"), mesh_sharding())
    alone = loader.supply(
        mixture("data.mixture.synthetic.weight=0", "data.mixture.mine.weight=0", "trainer.batch_size=4"),
        mesh_sharding(),
    )
    jax.tree.map(np.testing.assert_array_equal, both.batches(TRAIN).on_host(3)[0], alone.batches(TRAIN).on_host(3)[0])


def test_a_mixture_with_synthetic_fingers_is_the_same_whatever_the_threads(mixture, tmp_path, monkeypatch):
    monkeypatch.setattr(finger_pool, "BLOCK", 4)

    def batches_of(*more, start=0):
        config = mixture(f"data.cache_dir={tmp_path / 'cache'}", *more)
        return list(loader.supply(config, mesh_sharding()).batches(TRAIN).iterate(start, 4))

    alone, threaded = batches_of("data.threads=0"), batches_of("data.threads=3", "data.memory_gb=0", start=2)
    assert len(alone) == 4 and alone[0].genuine.all() and alone[0].sides.a.valid.any()
    for first, other in zip(alone[2:], threaded, strict=True):
        jax.tree.map(np.testing.assert_array_equal, first, other)


def test_who_is_kept_for_tests_is_not_even_read(prints, tmp_path, capsys):
    root = shutil.copytree(prints, tmp_path / "prints")
    (root / "finger2" / "0.png").write_bytes(b"damaged")
    parts = enumerate(("train", "validate", "test", "unused"))
    (tmp_path / "split.csv").write_text("subject,part\n" + "".join(f"folder/finger{k},{part}\n" for k, part in parts))
    overrides = ["debug=smoke", "data=folder", f"data.root={root}", f"data.split={tmp_path / 'split.csv'}",
                 "data.pairs.impostor_share=0"]  # fmt: skip
    data = loader.supply(build(compose_tree(overrides)), mesh_sharding())
    assert len(data.prints) == 4 and len(data.split.part) == 4


def test_one_image_on_both_sides_of_the_split_is_refused(prints, tmp_path):
    root = shutil.copytree(prints, tmp_path / "prints")
    shutil.copy(root / "finger0" / "0.png", root / "finger3" / "again.png")
    overrides = ["debug=smoke", "data=folder", f"data.root={root}", "data.image_size=32", "data.pairs.elastic_px=0.5"]
    with pytest.raises(DataError, match="finger0/0.png and .*finger3/again.png are one image"):
        loader.supply(build(compose_tree(overrides)), mesh_sharding())


def test_a_stream_that_nobody_is_left_for(prints, tmp_path):
    (tmp_path / "split.csv").write_text("subject,part\n" + "".join(
        f"folder/finger{k},{part}\n" for k, part in enumerate(("train", "train", "unused", "test"))
    ))  # fmt: skip
    overrides = ["debug=smoke", "data=folder", f"data.root={prints}", f"data.split={tmp_path / 'split.csv'}"]
    with pytest.raises(DataError, match="no subject is left to validate on"):
        loader.supply(build(compose_tree(overrides)), mesh_sharding())
