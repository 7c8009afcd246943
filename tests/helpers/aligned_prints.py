"""A small FVC tree of drawn prints, and a stand-in for a trained Module 1 that aligns pairs by their content."""

from pathlib import Path

import cv2
import jax
import numpy as np

from ifvit.comparison.compared import Compared
from ifvit.comparison.matcher import Matcher
from ifvit.comparison.run_networks import RunNetworks
from ifvit.config import Enhancement, build
from ifvit.data import prepare as preparing
from ifvit.launch import compose_tree
from ifvit.registration.agreement import Agreement
from ifvit.registration.elastic import ElasticMap
from ifvit.registration.minutia_pairing import PairedMinutiae
from ifvit.registration.module1 import Module1
from ifvit.registration.registrar import GuessSource, RidgeAlignment

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
    """Some homography from the second of two prints to the first, px at 500 ppi, another for every pair of images."""
    tx, ty, turn, p = np.random.default_rng([int(a.sum()), int(b.sum())]).uniform(-1, 1, 4)
    turn *= 0.5
    rows = [[np.cos(turn), -np.sin(turn), 10 * tx], [np.sin(turn), np.cos(turn), 10 * ty], [5e-5 * p, 0, 1]]
    return np.array(rows)


def cause_of(a: np.ndarray, b: np.ndarray, genuine: bool) -> str:
    """Why a pair of images is left out: an eleventh hardly overlaps, of others a seventh of the mates disagrees."""
    total = int(a.sum()) + int(b.sum())
    if total % 11 == 0:
        return "small_overlap"
    return "ridges_disagree" if genuine and total % 7 == 0 else ""


class Aligner(Matcher):
    """Aligns pairs, listed in `asked`, by `homography_of` and `cause_of`, without networks and ridges."""

    def __init__(self, trained: Module1, cache_dir: str | None, stop: int | None = None):
        super().__init__(RunNetworks(trained), Enhancement.gabor, cache_dir)
        self.asked, self._stop = [], stop

    def by(self, at_once, frame=None):
        return self

    def compare_prints(self, pairs, use_module2=True):
        assert not use_module2
        for a, b in pairs:
            if len(self.asked) == self._stop:
                raise KeyboardInterrupt
            self.asked.append((a, b))
            canvases = a.of_networks.canvas.grey, b.of_networks.canvas.grey
            assert canvases[0].shape == (SIDE, SIDE) and a.of_ridges.ridges.any()
            elastic = ElasticMap(homography_of(*canvases).astype(np.float32), ())
            share = 0.1 if cause_of(*canvases, False) else 0.8
            mean = 0.0 if cause_of(*canvases, True) == "ridges_disagree" else 0.95
            agreement = Agreement(*[np.zeros((2, 2), np.float32)] * 2, *np.float32([mean, 1.0, 40_000.0, share]))
            nothing = np.zeros(0, int)
            paired = PairedMinutiae(np.arange(15), np.arange(15), np.ones(15, bool), nothing, nothing)
            yield Compared(RidgeAlignment(elastic, False, agreement, paired, GuessSource.flow))


class Module1(Module1):
    """A Module 1 of 64x64 px at 250 ppi without guesses; its aligner aligns the pairs, and stops before pair `stop`."""

    stop: int | None = None
    aligner: Aligner

    def registrar(self, **_):
        return None


def module1(weight: float = 1.0, stop: int | None = None, **changes) -> Module1:
    variables = {"params": {"w": np.full(2, weight, np.float32)}, "batch_stats": {}}
    trained = Module1("best", 1, None, variables, None, (SIDE, SIDE), 250.0, Enhancement.none)._replace(**changes)
    trained.stop = stop
    return trained


def data_of(root: Path, *more: str):
    """The data's config of a tree, the last finger of every database held out."""
    overrides = ["data=fvc", f"data.root={root}", "data.val_fingers=1", *more]
    return build(compose_tree(overrides)).data


def prepare(monkeypatch, out: Path, model: Module1, data, enhancement=Enhancement.none, **changes):
    """`preparing.prepare` with that Module 1."""
    model.aligner = Aligner(model, data.cache_dir, model.stop)
    monkeypatch.setattr(preparing, "load_dense", lambda _: model)
    monkeypatch.setattr(preparing, "matcher_of", lambda *_: model.aligner)
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
