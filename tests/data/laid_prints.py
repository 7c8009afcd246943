"""A small FVC tree of drawn prints, and in place of a trained Module 1 one that lays pairs by what their images are."""

from pathlib import Path

import cv2
import jax
import numpy as np

from ifvit.config import Enhancement, build
from ifvit.data import preparing
from ifvit.launch import compose_tree
from ifvit.recognition.alignment import Cause, Matches, Refusal
from ifvit.recognition.registration import Aligned, Registered
from ifvit.recognition.trained import Trained

FINGERS, EACH, SIDE = 4, 3, 64


def fvc_tree(root: Path, databases=("DB1_B", "DB2_B"), fingers: int = FINGERS, each: int = EACH) -> Path:
    """FVC2002's set B, fingers 101-..., with pictures of ridges; 90x90 px (500 ppi, DB2 569)."""
    y, x = np.mgrid[:90, :90]
    for d, database in enumerate(databases):
        for finger in range(fingers):
            for impression in range(each):
                angle = finger + 0.4 * d
                phase = (x * np.cos(angle) + y * np.sin(angle)) / 9 + np.sin((x + y) / (9 + finger))
                grey = np.where((x - 45) ** 2 + (y - 45) ** 2 < 1500, 128 + 90 * np.cos(2 * np.pi * phase), 235)
                grey = grey + np.random.default_rng([d, finger, impression]).normal(0, 4, grey.shape)
                path = root / "FVC2002" / database / f"{101 + finger}_{impression + 1}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), np.clip(grey, 0, 255).astype(np.uint8))
    return root


def homography_of(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Some homography for two images, another for every pair of them."""
    tx, ty, turn, p = np.random.default_rng([int(a.sum()), int(b.sum())]).uniform(-1, 1, 4)
    turn *= 0.5
    rows = [[np.cos(turn), -np.sin(turn), 5 * tx], [np.sin(turn), np.cos(turn), 5 * ty], [1e-4 * p, 0, 1]]
    return np.array(rows)


class Registrar:
    """Lays all pairs but every `fails`-th; of a pair, counted in `asked`, as `homography_of` says."""

    def __init__(self, fails: int | None, stop: int | None):
        self.asked, self._fails, self._stop = 0, fails, stop

    def register_many(self, pairs):
        for a, b in pairs:
            if self.asked == self._stop:
                raise KeyboardInterrupt
            self.asked += 1
            assert a.grey.shape == a.ridges.shape == (SIDE, SIDE) and a.ridges.any() and a.background > 150
            nothing = Matches(np.empty((0, 2)), np.empty((0, 2)), np.empty(0)), np.empty(0, bool), 0.0, 0.0
            homography = homography_of(a.grey, b.grey)
            if self._fails and int(a.grey.sum() + b.grey.sum()) % self._fails == 0:
                # As where the prints would hardly overlap: then nothing is laid.
                yield Registered(None, None, Refusal(Cause.small_overlap, "hardly"), *nothing)
            else:
                yield Registered(homography, Aligned(*[None] * 6), None, *nothing)


class Module1(Trained):
    """A Module 1 of 64x64 px at 250 ppi whose registrar is `lays`."""

    lays: Registrar

    def registrar(self, **_):
        return self.lays


def module1(weight: float = 1.0, fails: int | None = 5, stop: int | None = None, **changes) -> Module1:
    variables = {"params": {"w": np.full(2, weight, np.float32)}, "batch_stats": {}}
    made = Module1("best", 1, None, variables, None, (SIDE, SIDE), 250.0, Enhancement.none)._replace(**changes)
    made.lays = Registrar(fails, stop)
    return made


def data_of(root: Path, *more: str):
    """The data's config of a tree, the last finger of every database held out."""
    overrides = ["data=fvc", f"data.root={root}", "data.val_fingers=1", *more]
    return build(compose_tree(overrides)).data


def prepare(monkeypatch, out: Path, model: Module1, data, enhancement=Enhancement.none, **changes):
    """`preparing.prepare` with that Module 1."""
    monkeypatch.setattr(preparing, "load_dense", lambda _: model)
    return preparing.prepare(Path("run"), data, out, enhancement, **changes)


def config_of(folder: Path, *more: str):
    """A config of Module 2 on prepared prints."""
    overrides = ["debug=smoke", "stage=matcher", "init.dense=run", "data=prepared", f"data.root={folder}",
                 "data.val_fingers=1", f"data.image_size={SIDE}", "data.pairs.elastic_px=1", "trainer.batch_size=8",
                 "matcher.enhancement=none", "data.threads=0"]  # fmt: skip
    return build(compose_tree([*overrides, *more]))


def sharding():
    """Everything on one device."""
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("data",))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
