"""stage=matcher from end to end: it begins as Module 1, learns everywhere, and goes on as if it had never stopped."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ifvit.config import ConfigError, build, inherit_network
from ifvit.data.batches import TRAIN, Renewal
from ifvit.data.loader import supply
from ifvit.launch import compose_tree
from ifvit.storage import checkpoint
from ifvit.training import loop
from ifvit.training.devices import Devices
from ifvit.training.loop import train
from ifvit.training.matcher_stage import MatcherStage, resolution_note, score_sheet
from ifvit.training.matcher_step import CLASSES, new_classes, renew_classes
from ifvit.training.matcher_validate import score_figures
from ifvit.training.run_dir import RunDirError
from tests.helpers.runs import TINY_MATCHER
from tests.helpers.states import arrays_of, same_bits

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def module1_run(finished):
    return finished[0]


@pytest.fixture(scope="module")
def config(module1_run, tiny_matcher):
    return lambda run_dir, *more: tiny_matcher(run_dir, module1_run, *more)


@pytest.fixture(scope="module")
def matcher(finished_matcher):
    return finished_matcher


def test_what_a_run_leaves(matcher, module1_run):
    run_dir, outcome = matcher
    metrics = json.loads((run_dir / "metrics.json").read_text())
    assert {"auc", "eer", "global_exact", "local_exact", "genuine_score", "loss"} <= metrics.keys()
    assert metrics["auc"] == pytest.approx(outcome.value, abs=1e-6) and metrics["untrained"].keys() >= {"auc", "eer"}
    assert (run_dir / "scores.png").exists() and checkpoint.saved_steps(run_dir / "states") == [2, 4]
    stored = json.loads((run_dir / "config.json").read_text())["config"]
    assert stored["dense"]["d_model"] == 8 and stored["data"]["image_size"] == 64
    # By itself: its Module 1 is within.
    _, _, network = checkpoint.read_variables(run_dir / "dense")
    assert checkpoint.digest_of(network) == checkpoint.digest_of(checkpoint.read_variables(module1_run)[2])


def test_it_begins_as_module_1_to_the_bit(config, module1_run, tmp_path):
    settings = config(tmp_path / "run")
    devices = Devices(settings.trainer)
    stage = MatcherStage(settings, devices.dtype)
    stage.check_start()
    batches = supply(settings, devices.split).batches(TRAIN)
    variables, _ = stage.begin(stage.new_variables(batches))
    _, _, dense = checkpoint.read_variables(module1_run)
    for kind in ("params", "batch_stats"):
        for branch in ("global_branch", "local_branch"):
            network = {key: value for key, value in variables[kind][branch].items() if key != "embed"}
            dense_leaves = dict(jax.tree_util.tree_leaves_with_path(dense[kind]))
            stored = dict(jax.tree_util.tree_leaves_with_path(network))
            assert stored.keys() == dense_leaves.keys() and len(stored) > 5
            assert all(np.asarray(stored[path]).tobytes() == dense_leaves[path].tobytes() for path in stored)
    assert variables["params"][CLASSES]["global"].shape == (4, 256)


def test_everything_learns_of_genuine_and_of_impostor_pairs(config, tmp_path):
    run = loop.begin(config(tmp_path / "run"), started=0.0)
    batch = next(run.train_batches.iterate(0, 1))
    start = jax.tree.map(np.asarray, run.state)
    before = dict(jax.tree_util.tree_leaves_with_path(start.params))
    for kind in (True, False):
        pairs_of_kind = batch._replace(pairs=batch.pairs._replace(genuine=jnp.full_like(batch.pairs.genuine, kind)))
        state, metrics = run.step(jax.tree.map(jnp.array, start), pairs_of_kind)
        assert all(np.isfinite(value) for value in metrics.values())
        after = dict(jax.tree_util.tree_leaves_with_path(state.params))
        still = [jax.tree_util.keystr(path) for path in before if (before[path] == after[path]).all()]
        assert still == []
    run.close()


def test_a_stopped_run_goes_on_with_the_same_bits(config, matcher, module1_run, tmp_path):
    run_dir = tmp_path / "run"
    copy = tmp_path / "module_1"
    shutil.copytree(module1_run, copy)
    first = config(run_dir, "trainer.max_hours=1e-9", f"init.dense={copy}")
    assert train(first).stopped
    shutil.rmtree(copy)  # its own Module 1 is enough
    again = config(run_dir, f"init.dense={copy}")
    assert train(again).stopped is None
    assert same_bits(arrays_of(run_dir, 4), arrays_of(matcher[0], 4))


def test_other_weights_are_refused(config, matcher, module1_run, tiny, tmp_path):
    other = tmp_path / "other"
    train(tiny(other, "seed=5"))
    with pytest.raises(RunDirError, match="init.dense: .* whose weights are others than it began from"):
        train(config(matcher[0], f"init.dense={other}"))


def test_a_trained_module_2_is_trained_further(config, matcher, tmp_path, capsys):
    overrides = [*TINY_MATCHER, f"init.matcher={matcher[0]}", f"run_dir={tmp_path / 'run'}", "seed=3"]
    settings = build(inherit_network(compose_tree(overrides), overrides))
    devices = Devices(settings.trainer)
    stage = MatcherStage(settings, devices.dtype)
    stage.check_start()
    variables, _ = stage.begin(stage.new_variables(supply(settings, devices.split).batches(TRAIN)))
    stored = checkpoint.read_variables(matcher[0])[2]["params"]
    np.testing.assert_array_equal(
        variables["params"]["global_branch"]["embed"]["kernel"], stored["global_branch"]["embed"]["kernel"]
    )
    assert (np.asarray(variables["params"][CLASSES]["global"]) != stored[CLASSES]["global"]).any()  # of other fingers
    assert np.isfinite(train(settings).value)
    assert "; of synthetic fingers: real prints are harder" in capsys.readouterr().out


@pytest.mark.parametrize(
    "typed, message",
    [
        ("dense.d_model=64", "dense.d_model: 64 asked for, the Module 1 of .* has 8"),
        ("data.ppi=500", "data.ppi: 500 asked for, the Module 1 of .* has 250"),
        ("data.image_size=128", "data.image_size: 128 asked for"),
        ("dense=loftr", "has use_loftr=False, which cannot be changed"),
    ],
)
def test_what_is_the_runs_cannot_be_said_otherwise(config, tmp_path, typed, message):
    with pytest.raises(ConfigError, match=message):
        config(tmp_path / "run", typed)


def test_runs_of_the_other_stage_and_none(module1_run, matcher, tmp_path):
    for init, message in (
        (f"init.matcher={module1_run}", "is a run of stage=dense; did you mean init.dense"),
        (f"init.dense={matcher[0]}", "is a run of stage=matcher; did you mean init.matcher"),
        (f"init.dense={tmp_path / 'none'}", f"is no run directory, .* no config.json in .*none or {tmp_path / 'run'};"),
    ):
        overrides = [*TINY_MATCHER, init, f"run_dir={tmp_path / 'run'}"]
        with pytest.raises(ConfigError, match=message):
            inherit_network(compose_tree(overrides), overrides)
    with pytest.raises(ConfigError, match="stage=matcher begins from a trained Module 1"):
        build(inherit_network(compose_tree(TINY_MATCHER), TINY_MATCHER))


@pytest.mark.parametrize("content", ["[]", "{", '{"config": 3}', '{"config": {"dense": [], "data": {}}}'])
def test_a_strangers_config(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    overrides = [*TINY_MATCHER, f"init.dense={tmp_path}"]
    with pytest.raises(ConfigError, match="config.json"):
        inherit_network(compose_tree(overrides), overrides)


def test_classes_whose_finger_is_another_begin_anew():
    classes = new_classes(0, 7, 4)
    renewed = renew_classes(classes, Renewal(first=2, count=5, each=2), 0, jnp.int32(3))
    for name in classes:
        changed = np.flatnonzero((np.asarray(renewed[name]) != np.asarray(classes[name])).any(1))
        np.testing.assert_array_equal(changed, [2, 6])  # the fifth and the sixth replacement: places 4 and 0
    unchanged = renew_classes(classes, Renewal(0, 5, 2), 0, jnp.int32(0))
    np.testing.assert_array_equal(unchanged["global"], classes["global"])


def test_a_run_whose_fingers_are_renewed(config, tmp_path):
    assert np.isfinite(train(config(tmp_path / "run", "data.renew=1")).value)


def test_figures_by_hand():
    figures = score_figures(np.array([0.9, 0.4, 0.5, 0.1]), np.array([True, True, False, False]))
    assert figures["auc"] == 0.75 and figures["eer"] == 0.5 and figures["genuine_score"] == pytest.approx(0.65)
    assert np.isnan(score_figures(np.array([0.9]), np.array([True]))["auc"])


def test_scores_of_one_kind_alone_are_drawn():
    for genuine in (np.array([True, False]), np.array([True, True])):
        assert score_sheet(np.array([0.9, 0.1]), genuine, ["heading"], "cosine").shape[2] == 3


def test_an_equal_error_that_so_few_pairs_cannot_tell():
    genuine = np.arange(44) < 40
    assert resolution_note(0.0, genuine) == "; 4 pairs of a kind cannot tell an EER below 75%"
    assert resolution_note(0.8, genuine) == "" and resolution_note(float("nan"), genuine[:40]) == ""
