import dataclasses
import json
import os
import subprocess
import sys

import jax.numpy as jnp
import pytest

from ifvit.config import Device, Precision
from ifvit.training import devices
from ifvit.training.devices import DeviceError, Devices
from ifvit.training.loop import train
from tests.helpers.places import REPOSITORY

pytestmark = pytest.mark.slow


def trainer(tiny, tmp_path, **changes):
    return dataclasses.replace(tiny(tmp_path).trainer, **changes)


def test_another_backend_than_asked_is_an_error(tiny, tmp_path):
    with pytest.raises(DeviceError, match="trainer.device: gpu was asked for, JAX found cpu"):
        Devices(trainer(tiny, tmp_path, device=Device.gpu))


def test_precision(tiny, tmp_path):
    assert Devices(trainer(tiny, tmp_path)).dtype == jnp.float32  # auto, on a CPU
    assert Devices(trainer(tiny, tmp_path, precision=Precision.bfloat16)).dtype == jnp.bfloat16


def test_bfloat16_trains(tiny, tmp_path):
    outcome = train(tiny(tmp_path / "run", "trainer.precision=bfloat16"))
    assert 0 <= outcome.value <= 1


def test_compiler_options_that_xla_does_not_know_are_left_out(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "CPU_OPTIONS", {"xla_cpu_has_no_such_option": "1"})
    assert Devices(trainer(tiny, tmp_path)).compiler_options == {}


def run_on(count, overrides, run_dir, *more):
    flags = f"--xla_force_host_platform_device_count={count}"
    command = [sys.executable, "train.py", *overrides(run_dir, *more)]
    return subprocess.run(
        command, cwd=REPOSITORY, env=os.environ | {"XLA_FLAGS": flags}, capture_output=True, text=True
    )


def test_two_devices_compute_what_one_does(overrides, tiny, tmp_path):
    """The first validation is the same; one step later sums were added in another order."""
    ended = run_on(2, overrides, tmp_path / "two", "trainer.max_steps=1", "trainer.accumulate=2")
    assert ended.returncode == 0, ended.stderr
    assert "2 x cpu" in ended.stdout
    train(tiny(tmp_path / "one", "trainer.max_steps=1", "trainer.accumulate=2"))
    single, double = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two"))
    assert double["untrained"]["loss"] == pytest.approx(single["untrained"]["loss"], rel=1e-4)
    assert double["loss"] == pytest.approx(single["loss"], rel=1e-2)


def test_a_batch_that_devices_cannot_share_is_refused(overrides, tmp_path):
    ended = run_on(3, overrides, tmp_path / "run")
    assert ended.returncode == 2
    assert "4 pairs cannot be split over 3 devices x trainer.accumulate=1; the nearest that can: 3" in ended.stderr
