"""A run's weights as a file: every array of its state, under either program's names, from the run directory alone."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from ifvit.errors import CheckpointError
from ifvit.models.dense import DenseModel
from ifvit.storage import checkpoint
from ifvit.storage.json_files import write_json
from ifvit.training.export import export
from ifvit.training.loop import train
from ifvit.training.state import init_variables
from ifvit.weights import WeightsError, merge, read_weights
from ifvit.weights.official import Provenance

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config(tiny, tmp_path_factory):
    """Of LoFTR whole, in little; trained."""
    config = tiny(
        tmp_path_factory.mktemp("runs") / "whole",
        "dense=loftr",
        "dense.loftr_pretrained_ckpt=null",
        "dense.temp_bug_fix=true",
        "dense.backbone=resnet_fpn_8_2",
        "dense.fine=loftr",
        "trainer.max_steps=2",
        "trainer.checkpoint_every=1",
        "trainer.validate_every=2",
    )
    train(config)
    return config


@pytest.fixture
def run_dir(config, tmp_path):
    return shutil.copytree(config.run_dir, tmp_path / "my_run")


def saved(run_dir, step):
    manager = checkpoint.Checkpoints(run_dir)._latest
    stored = manager.restore(step)
    manager.close()
    return {"params": stored["params"], "batch_stats": stored["batch_stats"]}


def same(first, second):
    jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.mark.parametrize("name", ["w.npz", "w.safetensors"])
def test_every_array_comes_back_into_a_fresh_model(config, run_dir, tmp_path, name):
    message = export(run_dir, tmp_path / name)
    assert message.startswith(f"the best state of {run_dir}, step 2: ")
    assert "dense.temp_bug_fix=true goes with them" in message and message.endswith(f"written to {tmp_path / name}")
    weights = read_weights(tmp_path / name)
    assert weights.origin == Provenance("run my_run, step 2", None, True)
    model = DenseModel.from_config(config.dense, jnp.float32)
    fresh = jax.eval_shape(lambda: init_variables(model, 0, config.data.frame))
    kinds = {"layer_kinds": model.layer_kinds, "backbone": model.backbone}
    merged, report = merge(fresh, weights.arrays, source=name, **kinds)
    assert report.fresh == () and report.skipped == {} and report.arrays["fine"] == 24
    same(merged, saved(run_dir, 2))


def test_loftrs_names_are_all_there(run_dir, tmp_path):
    export(run_dir, tmp_path / "w.safetensors")
    stored = load_file(tmp_path / "w.safetensors")
    means = [name for name in stored if name.endswith("running_mean")]
    assert means and all(stored[name.replace("running_mean", "num_batches_tracked")].shape == () for name in means)
    assert {name.partition(".")[0] for name in stored} == {"backbone", "loftr_coarse", "fine_preprocess", "loftr_fine"}


def test_the_latest_state_where_none_was_best(run_dir, tmp_path):
    shutil.rmtree(run_dir / "best")
    shutil.rmtree(run_dir / "states" / "2")
    assert f"the latest state of {run_dir}, step 1: " in export(run_dir, tmp_path / "w.npz")
    step_1 = saved(run_dir, 1)
    kernel = step_1["params"]["transformer"]["layers_0"]["q_proj"]["kernel"]
    np.testing.assert_array_equal(read_weights(tmp_path / "w.npz").arrays["layers.0.0/q_proj/kernel"], kernel)


def test_the_run_is_only_read(run_dir, tmp_path):
    before = sorted((path, path.stat().st_mtime_ns) for path in [run_dir, *run_dir.rglob("*")])
    export(run_dir, tmp_path / "out" / "w.npz")
    assert before == sorted((path, path.stat().st_mtime_ns) for path in [run_dir, *run_dir.rglob("*")])


def test_runs_that_cannot_be_exported_are_refused_plainly(run_dir, tmp_path):
    output = tmp_path / "w.npz"
    with pytest.raises(WeightsError, match=r"\.npz .*or \.safetensors"):
        export(run_dir, tmp_path / "w.ckpt")
    with pytest.raises(CheckpointError, match="no run directory"):
        export(tmp_path / "nothing", output)
    shutil.rmtree(run_dir / "best" / "2" / "default" / "d")
    shutil.rmtree(run_dir / "best" / "2" / "default" / "ocdbt.process_0")
    with pytest.raises(CheckpointError, match=r"best/2: cannot be restored"):
        export(run_dir, output)
    shutil.rmtree(run_dir / "best")
    shutil.rmtree(run_dir / "states")
    with pytest.raises(CheckpointError, match="saved no state"):
        export(run_dir, output)
    content = json.loads((run_dir / "config.json").read_text())
    content["config"]["dense"]["use_loftr"] = False
    write_json(run_dir / "config.json", content)
    with pytest.raises(WeightsError, match="plain encoder .dense.use_loftr=false."):
        export(run_dir, output)
    assert not output.exists()
