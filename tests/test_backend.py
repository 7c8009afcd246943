"""A missing device is told as that, whichever command meets it first."""

import os
import subprocess
import sys

import pytest

from tests.helpers.places import REPOSITORY

pytestmark = pytest.mark.slow


def ran(platform, *command):
    environment = os.environ | {"JAX_PLATFORMS": platform, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=REPOSITORY, env=environment)


def commands(runs, prints, tmp_path):
    pair = [str(prints / "finger0" / f"{k}.png") for k in (0, 1)]
    folder = ["data=folder", f"data.root={prints}", "data.file_ppi=250"]
    return {
        "train": ["train", "debug=smoke", "trainer.device=auto", f"run_dir={tmp_path / 'run'}"],
        "register": ["register", *pair, "--run", str(runs / "dense")],
        "compare": ["compare", *pair, "--run", str(runs / "matcher")],
        "evaluate": ["evaluate", *folder, "--out", str(tmp_path / "out")],
        "prepare": ["data", "prepare", str(runs / "dense"), *folder, "--out", str(tmp_path / "prepared")],
        "synthesize": ["synthesize", "--fingers", "1", "--out", str(tmp_path / "set")],
    }


@pytest.mark.parametrize("name", ["train", "register", "compare", "evaluate", "prepare", "synthesize"])
def test_a_missing_backend_is_one_line_that_says_what_to_do(runs, prints, tmp_path, name):
    ended = ran("nonsense", "-m", "ifvit", *commands(runs, prints, tmp_path)[name])
    lines = ended.stderr.strip().splitlines()
    assert ended.returncode == 2 and "damaged" not in ended.stderr, ended.stderr
    assert "JAX_PLATFORMS=nonsense: JAX cannot start that here" in lines[-1] and "Unset JAX_PLATFORMS" in lines[-1]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_from_python_it_is_an_error_of_its_own(runs, platform):
    program = (
        "import ifvit; from ifvit.backend import BackendError\n"
        f"try: ifvit.load({str(runs / 'matcher')!r})\nexcept BackendError as error: print(error)"
    )
    ended = ran(platform, "-c", program)
    assert ended.stdout.startswith(f"JAX_PLATFORMS={platform}: JAX cannot start that here"), ended.stderr


def test_the_run_says_which_key_asked_for_it(tmp_path):
    ended = ran("cpu", "-m", "ifvit", "train", "debug=smoke", "trainer.device=gpu", f"run_dir={tmp_path / 'run'}")
    assert ended.returncode == 2 and "trainer.device: gpu was asked for, JAX found cpu" in ended.stderr
    assert "JAX_PLATFORMS=cpu is set" in ended.stderr and not (tmp_path / "run").exists()
