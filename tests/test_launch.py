import json
import os
import subprocess
import sys

import pytest

from ifvit import launch
from ifvit.config import ConfigError
from tests.helpers.places import REPOSITORY

pytestmark = pytest.mark.slow


def refused(capsys, *overrides):
    """The lines with which the overrides are refused."""
    with pytest.raises(SystemExit) as ended:
        launch.compose_config(overrides)
    assert ended.value.code == launch.EXIT_REFUSED
    return capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    "override, message",
    [
        ("+dense.temprature=1", "error: dense.temprature: unknown key; did you mean dense.temperature?"),
        ("dense.temprature=1", "error: dense.temprature: unknown key; did you mean dense.temperature?"),
        ("+dense.typo=1", "error: dense.typo: unknown key; known are dense.use_loftr"),
        ("+typo=1", "error: typo: unknown key; known are stage, seed, run_dir, init.*, dense.*, matcher.*"),
        ("lr=1e-4", "error: lr: unknown key; did you mean optimizer.lr?"),
        ("+lr=1e-4", "error: lr: unknown key; did you mean optimizer.lr?"),
        ("trainer.lr=1e-4", "error: trainer.lr: unknown key; did you mean optimizer.lr?"),
        ("batchsize=4", "error: batchsize: unknown key; did you mean trainer.batch_size?"),
        ("noise=1", "error: noise: unknown key; did you mean data.pairs.noise or data.impression.noise?"),
        ("model=loftr", "error: model: unknown key; did you mean dense=loftr?"),
        ("dens=loftr", "error: dens: unknown key; did you mean dense=loftr?"),
        ("dens=fo", "error: dens: unknown key; did you mean the group dense? its choices are dense, loftr, loftr_full"),
        ("recipe=quickstart", "error: recipe: unknown key; did you mean experiment=quickstart?"),
        (
            "epochs=3",
            "error: epochs: unknown key; known are stage, seed, run_dir, init.*, dense.*, matcher.*, data.*, loss.*, "
            "optimizer.*, trainer.*; groups are data, debug, dense, experiment, loss, matcher, optimizer, trainer; see "
            "python -m ifvit train --help",
        ),
        ("foo.bar=1", "error: foo.bar: unknown key; known are stage, seed, run_dir, init.*"),
        ("data=base", "error: data=base: there is no such choice; known are folder, fpgan, fvc"),
        ("data=null", "error: data=null: there is no such choice; known are folder, fpgan, fvc"),
        ("data=FVC", "error: data=FVC: there is no such choice; did you mean fvc? known are folder"),
        ("data=folde", "error: data=folde: there is no such choice; did you mean folder? known are folder, fpgan"),
        ("+a.b.c=1", "error: a: unknown key; known are stage"),
        ("dense=foo", "error: dense=foo: there is no such choice; known are dense, loftr, loftr_full"),
        ("trainer.device=cuda", "error: trainer.device: expected one of auto, cpu, gpu, tpu, got 'cuda'"),
        ("seed=one", "error: seed: expected a whole number, got 'one'"),
        (
            "data.image_size=100",
            "error: data.image_size: 100 is not a multiple of 16, the stride of resnet18",
        ),
        ("dense.num_heads=7", "error: dense.num_heads: 7 heads do not divide the width dense.d_model=256"),
        (
            "dense.loftr_pretrained_ckpt=x.npz",
            "error: dense.loftr_pretrained_ckpt: LoFTR's weights only fit LoFTR's",
        ),
        ("data=fvc", "error: data.root: data=fvc needs the folder of the images"),
        ("data.databases=DB1_B", "error: data.databases: synthetic fingers are grown, not read from files; name what"),
        ("data.root=/x", "error: data.root: synthetic fingers are grown, not read from files; name what the files"),
        ("data=fcv", "error: data=fcv: there is no such choice; did you mean fvc? known are folder, fpgan"),
        ("run_dir=${nothing}", "error: run_dir: Interpolation key 'nothing' not found"),
        ("seed", "error: 'seed': expected KEY=VALUE, like seed=1"),
        ("seed=a=b", "error: seed: expected a whole number, got 'a=b'"),
        ("trainer.device=cpu:0=x", "error: trainer.device: expected one of auto, cpu, gpu, tpu, got 'cpu:0=x'"),
        ("dense=a=b", "error: dense=a=b: there is no such choice; known are dense, loftr, loftr_full"),
        ("dense=5", "error: dense=5: there is no such choice; known are dense, loftr, loftr_full"),
        ("seed=1,2", "error: seed=1,2: one value is expected; a list is 'seed=[1,2]', and several jobs need -m"),
        ("run_dir=~nobody-at-all/x", "error: run_dir: ~nobody-at-all/x: there is no user nobody-at-all"),
        ("data.cache_dir=choice(a,b)", "error: Sweep parameters 'data.cache_dir=choice(a,b)' requires --multirun"),
    ],
)
def test_each_refusal_is_one_line(capsys, override, message):
    lines = refused(capsys, override)
    assert len(lines) == 1 and lines[0].startswith(message), lines


@pytest.mark.parametrize("group", ["experiment", "debug", "dense", "data"])
def test_every_config_composes_and_is_valid(group, tmp_path):
    names = sorted(path.stem for path in (REPOSITORY / "configs" / group).glob("*.yaml"))
    (tmp_path / "config.json").write_text(json.dumps({"config": launch.compose_tree([])}))
    (tmp_path / "matcher").mkdir()
    (tmp_path / "matcher" / "config.json").write_text(json.dumps({"config": launch.compose_tree(["stage=matcher"])}))
    after = {  # what trains Module 2 begins from a run
        "prepared": ["stage=matcher", f"init.dense={tmp_path}"],
        "small_matcher": [f"init.dense={tmp_path}"],
        "synthetic_matcher": [f"init.dense={tmp_path}"],
        "real_matcher": [f"init.matcher={tmp_path / 'matcher'}", "data.root=/somewhere"],
    }
    for name in set(names) - {"base"}:
        root = {"mixture": ["data.mixture.sd4.root=/somewhere"], "paper": ["data.mixture.sd4.root=/somewhere"]}
        root = root.get(name, ["data.root=/somewhere"]) if group == "data" and name != "synthetic" else []
        launch.compose_config([f"{group}={name}", *root, *after.get(name, [])])


def test_a_file_or_folder_in_place_of_a_choice_is_told_its_key(tmp_path, capsys):
    (tmp_path / "experiment").mkdir()
    own = tmp_path / "experiment" / "mine.yaml"
    own.touch()
    (line,) = refused(capsys, f"data={tmp_path}")
    assert f"there is no such choice; for the prints in it type data=folder data.root={tmp_path}, or their" in line
    (line,) = refused(capsys, f"experiment={own}")
    assert f"there is no such choice; for this file type --config-dir {tmp_path} experiment=mine; known are" in line


def test_choices_of_ones_own_are_suggested_too(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nseed: 7\n")
    for configs in (launch.Configs(added=tmp_path), launch.Configs(searched=(f"file://{tmp_path}",))):
        with pytest.raises(ConfigError) as caught:
            launch.validated_config(["recipe=mine"], configs)
        assert caught.value.problems == ["recipe: unknown key; did you mean experiment=mine?"]


def test_the_key_that_people_read_about():
    config = launch.compose_config(["dense=loftr"])
    assert config.dense.use_loftr and not config.dense.temp_bug_fix
    assert config.dense.loftr_pretrained_ckpt == "checkpoints/loftr_transformer.npz"
    assert config.run_dir == "checkpoints/dense-loftr-synthetic"
    assert launch.compose_config(["dense=loftr"]) == config


def test_a_refusal_needs_no_jax():
    program = (
        "import sys; from ifvit.launch import compose_config\n"
        "try: compose_config(['dense.num_heads=7'])\nexcept SystemExit: print('jax' in sys.modules)"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=REPOSITORY).stdout
    assert output == "False\n"


def ran(*command, cwd):
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=cwd, env=environment)


def test_any_folder_will_do_and_paths_start_there(tmp_path):
    ended = ran("-m", "ifvit", "train", "dense=loftr", "debug=smoke", "run_dir=here", cwd=tmp_path)
    assert ended.returncode == 2
    assert "checkpoints/loftr_transformer.npz does not exist" in ended.stderr and "convert" in ended.stderr
    assert "--output checkpoints/loftr_transformer.npz\n  (and" in ended.stderr
    assert list(tmp_path.iterdir()) == []  # refused, it leaves nothing


def test_no_device_of_that_kind_is_an_error(tmp_path):
    ended = ran("-m", "ifvit", "train", "debug=smoke", "trainer.device=tpu", cwd=tmp_path)
    assert ended.returncode == 2 and ended.stderr.startswith("error: trainer.device: tpu was asked for, JAX found cpu")


def test_a_full_disk_is_said_and_costs_nothing(tmp_path, monkeypatch, capsys):
    from ifvit.training import loop

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(loop, "train", full)
    with pytest.raises(SystemExit) as ended:
        launch.run(launch.compose_config([f"run_dir={tmp_path}"]), "command")
    assert ended.value.code == launch.EXIT_FAILED
    output = capsys.readouterr().err
    assert "No space left on device" in output and "untouched" in output and output.count("\n") == 1


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("python -m ifvit train seed=1", "python -m ifvit train seed=1 run_dir=auto"),
        ("python train.py run_dir={0} 'data.root=a b'", "python train.py 'data.root=a b' run_dir={0}-3"),
        ("python train.py run_dir=auto seed=1", "python train.py seed=1 run_dir={0}-3"),
    ],
)
def test_a_command_is_offered_with_a_run_directory_that_is_free(tmp_path, typed, offered):
    folder = tmp_path / "run"
    (tmp_path / "run-2").mkdir()
    assert launch.elsewhere(typed.format(folder), str(folder)) == offered.format(folder)


def test_a_run_dir_that_a_file_calls_auto_is_not_offered_as_another():
    offered = launch.elsewhere("python train.py experiment=mine", "checkpoints/auto/experiment=mine")
    assert offered == """python train.py experiment=mine "run_dir='checkpoints/auto/experiment=mine-2'\""""


def test_a_root_that_is_not_there_needs_no_jax():
    program = (
        "import sys; from ifvit.cli.train import train_command\n"
        "try: train_command(['data=fvc', 'data.root=/nowhere'])\nexcept SystemExit as e: "
        "print(e.code, 'jax' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=REPOSITORY)
    assert (ended.stdout, ended.stderr) == ("2 False\n", "error: data.root: /nowhere is not there\n")


@pytest.fixture
def taken(finished):
    """Refuses the finished run's directory to another config: (status, stderr)."""

    def refused(config, capsys):
        with pytest.raises(SystemExit) as ended:
            launch.run(config, f"python train.py seed=1 run_dir={finished[0]}")
        return ended.value.code, capsys.readouterr().err

    return refused


def test_a_directory_that_is_taken_is_refused_with_a_command_that_works(finished, taken, tiny, capsys):
    status, printed = taken(tiny(finished[0], "seed=1"), capsys)
    assert status == launch.EXIT_REFUSED and printed.splitlines() == [
        f"error: run_dir: {finished[0]} holds a run of another config (seed: 0 -> 1); repeat its settings to go on "
        "with it, or set another run_dir:",
        f"  python train.py seed=1 run_dir={finished[0]}-2",
    ]


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        (["data.root=/nowhere"], "error: data.root: /nowhere is not there"),
        (["data.databases=[DB7]"], "error: data.databases: there is no DB7"),
        (["data.val_fingers=[thumb]"], "error: data.val_fingers: no finger thumb"),
        (["dense.use_loftr=true", "dense.loftr_pretrained_ckpt=none.npz"], "error: dense.loftr_pretrained_ckpt: none"),
    ],
)
def test_what_is_missing_is_said_before_a_directory_is_refused(finished, taken, tiny, capsys, wrong, line):
    status, printed = taken(tiny(finished[0], "seed=1", *wrong), capsys)
    assert status == launch.EXIT_REFUSED and printed.startswith(line), printed
    assert "another config" not in printed


def test_a_missing_extra_is_said_before_a_directory_is_refused(finished, taken, tiny, capsys, monkeypatch):
    from ifvit.enhancement import enhancer
    from ifvit.enhancement.errors import EnhancementError

    def missing():
        raise EnhancementError("pyfing is not installed: pip install 'ifvit[enhance]'")

    monkeypatch.setattr(enhancer, "pyfing_version", missing)
    status, printed = taken(tiny(finished[0], "seed=1", "data.ridge_mask=pyfing"), capsys)
    assert status == launch.EXIT_REFUSED and printed.startswith("error: pyfing is not installed: pip install")
