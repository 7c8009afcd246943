import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ifvit import launch

REPOSITORY = Path(__file__).resolve().parent.parent


def refused(capsys, *overrides):
    """The lines with which the overrides are refused."""
    with pytest.raises(SystemExit) as ended:
        launch.compose_config(overrides)
    assert ended.value.code == launch.EXIT_REFUSED
    return capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    "override, said",
    [
        ("+dense.temprature=1", "error: dense.temprature: unknown key; did you mean dense.temperature?"),
        ("dense.temprature=1", "error: dense.temprature: unknown key; did you mean dense.temperature?"),
        ("+dense.typo=1", "error: dense.typo: unknown key; known are dense.use_loftr"),
        ("+typo=1", "error: typo: unknown key; known are stage, seed, run_dir"),
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
        ("data=fcv", "error: data=fcv: there is no such choice; did you mean fvc? known are folder, fpgan"),
        ("run_dir=${nothing}", "error: "),
        ("seed", "error: "),
    ],
)
def test_each_refusal_is_one_line(capsys, override, said):
    lines = refused(capsys, override)
    assert len(lines) == 1 and lines[0].startswith(said), lines


@pytest.mark.parametrize("group", ["experiment", "debug", "dense", "data"])
def test_every_config_composes_and_is_valid(group, tmp_path):
    names = sorted(path.stem for path in (REPOSITORY / "configs" / group).glob("*.yaml"))
    (tmp_path / "config.json").write_text(json.dumps({"config": launch.compose_tree([])}))
    (tmp_path / "matcher").mkdir()
    (tmp_path / "matcher" / "config.json").write_text(json.dumps({"config": launch.compose_tree(["stage=matcher"])}))
    after = {  # what trains Module 2 begins from a run
        "prepared": ["stage=matcher", f"init.dense={tmp_path}"],
        "matcher_small": [f"init.dense={tmp_path}"],
        "matcher_synthetic": [f"init.dense={tmp_path}"],
        "matcher_real": [f"init.matcher={tmp_path / 'matcher'}", "data.root=/somewhere"],
    }
    for name in set(names) - {"base"}:
        root = {"mixture": ["data.mixture.sd4.root=/somewhere"], "paper": ["data.mixture.sd4.root=/somewhere"]}
        root = root.get(name, ["data.root=/somewhere"]) if group == "data" else []
        launch.compose_config([f"{group}={name}", *root, *after.get(name, [])])


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
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=REPOSITORY).stdout
    assert said == "False\n"


def ran(*command, cwd):
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=cwd, env=environment)


def test_any_folder_will_do_and_paths_start_there(tmp_path):
    ended = ran("-m", "ifvit", "train", "dense=loftr", "debug=smoke", "run_dir=here", cwd=tmp_path)
    assert ended.returncode == 2
    assert "checkpoints/loftr_transformer.npz does not exist" in ended.stderr and "convert" in ended.stderr
    assert list(tmp_path.iterdir()) == []  # refused, it leaves nothing


def test_no_device_of_that_kind_is_an_error(tmp_path):
    ended = ran("-m", "ifvit", "train", "debug=smoke", "trainer.device=tpu", cwd=tmp_path)
    assert ended.returncode == 2 and ended.stderr.startswith("error: trainer.device: tpu was asked for, JAX found cpu")


def test_a_sweep_runs_each_job_in_a_process_and_directory_of_its_own(overrides, tmp_path):
    tiny = [o for o in overrides("swept") if o != "trainer.max_steps=4"]
    ended = ran(str(REPOSITORY / "train.py"), "-m", "seed=1,2", "trainer.max_steps=2", *tiny, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    folders = sorted(path.parent for path in (tmp_path / "swept_sweep").glob("*/metrics.json"))
    assert len(folders) == 2
    seeds = [json.loads((folder / "config.json").read_text())["config"]["seed"] for folder in folders]
    assert seeds == [1, 2] and [folder.name for folder in folders] == ["seed=1", "seed=2"]
    assert ended.stdout.count("IFViT") == 2 and not (tmp_path / "outputs").exists()
    assert not (tmp_path / "swept").exists()


def test_a_diverging_sweep_job_does_not_keep_the_next_from_running(overrides, tmp_path):
    tiny = [o for o in overrides("swept") if o != "trainer.max_steps=4"]
    ended = ran("-m", "ifvit", "train", "-m", "optimizer.lr=1e30,1e-3", "trainer.max_steps=2", *tiny, cwd=tmp_path)
    assert ended.returncode == 1
    assert "1 of 2 sweep jobs failed: optimizer.lr=1e+30" in ended.stderr
    assert json.loads((tmp_path / "swept_sweep" / "optimizer.lr=0.001" / "metrics.json").read_text())["step"] == 2


def test_a_sweeps_parent_leaves_signals_to_the_job():
    """Ctrl-C reaches both: the job saves and ends, the parent waits for it. SIGTERM it hands on."""
    job = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1), sys.exit(75)))\n"
    program = (
        "import os, signal, subprocess, sys, threading, time\nfrom ifvit.launch import _wait\n"
        f"child = subprocess.Popen([sys.executable, '-c', {job + 'time.sleep(60)'!r}])\n"
        "def send():\n    time.sleep(1)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n    os.kill(os.getpid(), signal.SIGTERM)\n"
        "threading.Thread(target=send).start()\nprint(_wait(child))"
    )
    assert ran("-c", program, cwd=REPOSITORY).stdout == "75\n"


@pytest.mark.parametrize("typo", ["dense.temprature=1,2", "+dense.temprature=1", "dense.temprature=1"])
def test_a_typing_error_in_a_sweep_is_one_line(typo, tmp_path):
    ended = ran("-m", "ifvit", "train", "-m", "seed=1,2", typo, cwd=tmp_path)
    said = ["error: dense.temprature: unknown key; did you mean dense.temperature?"]
    assert ended.returncode == 2 and ended.stderr.splitlines() == said
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_needs_no_run_dir(tmp_path):
    """Its jobs lie beside the run directory that the same command would have without -m."""
    ended = ran("-m", "ifvit", "train", "-m", "seed=1,2", "dense=loftr", cwd=tmp_path)
    assert ended.returncode == 2 and "loftr_transformer.npz does not exist" in ended.stderr
    assert "seed=1 -> checkpoints/dense-loftr-synthetic_sweep/seed=1" in ended.stdout


def test_a_failing_sweep_job_is_said(tmp_path):
    sweep = ["-m", "ifvit", "train", "-m", "seed=1,2", "debug=smoke", "dense=loftr", "run_dir=r"]
    ended = ran(*sweep, cwd=tmp_path)
    assert ended.returncode == 2 and "error: sweep job" in ended.stderr and "seed=1" in ended.stderr


def test_job_names_are_stable_and_safe():
    swept = launch.swept_keys(["-m", "seed=1,2", "a=x/y,z", "b=3", "c=[1,2]"])
    assert swept == {"seed", "a"}
    names = {launch.job_name(order, swept) for order in (["seed=1", "a=x/y", "b=3"], ["a=x/y", "b=3", "seed=1"])}
    assert names == {"a=x_y,seed=1"}
    long = [launch.job_name([f"a={'x' * 300}{k}"], {"a"}) for k in (1, 2)]
    assert long[0] != long[1] and max(map(len, long)) < 200


def test_a_full_disk_is_said_and_costs_nothing(tmp_path, monkeypatch, capsys):
    from ifvit.training import loop

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(loop, "train", full)
    with pytest.raises(SystemExit) as ended:
        launch.run(launch.compose_config([f"run_dir={tmp_path}"]), "command")
    assert ended.value.code == launch.EXIT_FAILED
    said = capsys.readouterr().err
    assert "No space left on device" in said and "untouched" in said and said.count("\n") == 1
