"""What every test may ask for."""

import fcntl
import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from ifvit.config import build, inherit_network
from ifvit.launch import compose_tree
from tests.helpers.places import REPOSITORY
from tests.helpers.runs import TINY, TINY_MATCHER

# Read by JAX when it is imported, here and in the processes that tests start. Most of a small run's time is
# compilation; what one test compiled, the next one finds.
assert "jax" not in sys.modules, "JAX was imported before its settings: nothing that this file imports may import it"
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # else this is one of several workers
    _compiled = tempfile.TemporaryDirectory(prefix="ifvit-tests-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _compiled.name
os.environ |= {
    "JAX_PLATFORMS": "cpu",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # of XLA: the runs are tiny, compiling them is what takes time
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}

# Under nohup this process ignores SIGHUP, and so would every one that a test starts.
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="module", autouse=True)
def compiled_programs():
    """Forget a module's compiled programs after it: kept, a worker grows to 5 GB. The next finds them on disk."""
    yield
    if jax := sys.modules.get("jax"):
        jax.clear_caches()


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with the golden files and real prints: $IFVIT_SHARED, or `shared/` beside the checkout."""
    folder = Path(os.environ.get("IFVIT_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "golden").is_dir():
        pytest.skip(f"golden files and real prints are not at {folder} (set IFVIT_SHARED to their folder)")
    return folder


@pytest.fixture(scope="session")
def prints(tmp_path_factory):
    """A folder of four drawn fingers, two images each."""
    return shared_folder(tmp_path_factory, "prints", draw_prints)


def draw_prints(root):
    y, x = np.mgrid[:90, :90]
    for finger in range(4):
        for impression in range(2):
            phase = (x * np.cos(finger) + y * np.sin(finger)) / 4.5 + np.sin((x + y) / (9 + finger))
            grey = np.where((x - 45) ** 2 + (y - 45) ** 2 < 1500, 128 + 90 * np.cos(2 * np.pi * phase), 235)
            noise = np.random.default_rng(10 * finger + impression).normal(0, 4, grey.shape)
            path = root / f"finger{finger}" / f"{impression}.png"
            path.parent.mkdir(exist_ok=True)
            cv2.imwrite(str(path), np.clip(grey + noise, 0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def overrides(prints):
    """Hydra overrides of the tiny run, with further ones."""
    return lambda run_dir, *more: [*TINY, f"data.root={prints}", f"run_dir={run_dir}", *more]


@pytest.fixture(scope="session")
def tiny(overrides):
    """The tiny run's config, with further overrides."""
    return lambda run_dir, *more: build(compose_tree(overrides(run_dir, *more)))


@pytest.fixture(scope="session")
def tiny_matcher():
    """The config of the smallest run of stage=matcher, from a run of Module 1, with further overrides."""

    def config(run_dir, module_1, *more):
        overrides = [*TINY_MATCHER, f"init.dense={module_1}", f"run_dir={run_dir}", *more]
        return build(inherit_network(compose_tree(overrides), overrides))

    return config


@pytest.fixture(scope="session")
def runs(tiny, tiny_matcher, tmp_path_factory):
    """A folder with a Module 1 (`dense`) and a Module 2 (`matcher`) of four steps; both find next to nothing. Nothing
    is written into them.
    """
    from ifvit.training.loop import train

    def trained(root):
        outcomes = {"dense": train(tiny(root / "dense"))}
        outcomes["matcher"] = train(tiny_matcher(root / "matcher", root / "dense"))
        (root / "outcomes.json").write_text(json.dumps({name: [of.value, of.stopped] for name, of in outcomes.items()}))

    return shutil.copytree(shared_folder(tmp_path_factory, "runs", trained), tmp_path_factory.mktemp("runs") / "runs")


@pytest.fixture(scope="session")
def finished(runs):
    """The tiny run of Module 1, whole, and its outcome."""
    return finished_run(runs, "dense")


@pytest.fixture(scope="session")
def finished_matcher(runs):
    """The smallest run of Module 2, whole, and its outcome."""
    return finished_run(runs, "matcher")


def finished_run(runs, name):
    from ifvit.training.loop import Outcome

    return runs / name, Outcome(*json.loads((runs / "outcomes.json").read_text())[name])


def shared_folder(tmp_path_factory, name, make):
    """The folder that `make(folder)` fills, one for all workers; it is called by the first of them that asks."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # else there is one process, and its folder is its own
        root = root.parent
    shared = root / f"shared-{name}"
    with open(root / f"shared-{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not shared.exists():
            unfinished = root / f"shared-{name}-unfinished"
            unfinished.mkdir()
            make(unfinished)
            unfinished.rename(shared)
    return shared
