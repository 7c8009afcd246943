import json
import os
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint
import pytest

from ifvit.errors import CheckpointError
from ifvit.storage import checkpoint
from ifvit.storage.checkpoint import Checkpoints
from ifvit.storage.run_copies import copy_run


def state(value=0.0, dtype=jnp.float32, width=3):
    return {"step": jnp.asarray(int(value), jnp.int32), "w": {"kernel": jnp.full((2, width), value, dtype)}}


def like(**kwargs):
    return jax.eval_shape(lambda: state(**kwargs))


@pytest.fixture
def saved(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in (2, 4, 6):
        checkpoints.save(step, state(step))
    checkpoints.save_best(4, state(4))
    checkpoints.save_best(6, state(6))
    checkpoints.close()
    return tmp_path


def test_the_latest_two_and_the_best_are_kept(saved):
    assert checkpoint.saved_steps(saved / "states") == [4, 6]
    assert checkpoint.saved_steps(saved / "best") == [6]


def test_a_restored_state_is_the_saved_one(saved):
    checkpoints = Checkpoints(saved)
    restored = checkpoints.restore(like())
    assert checkpoints.latest_step() == 6 and restored["step"] == 6
    np.testing.assert_array_equal(restored["w"]["kernel"], np.full((2, 3), 6, np.float32))
    checkpoints.close()


@pytest.mark.parametrize(
    "other, message",
    [
        (dict(dtype=jnp.bfloat16), "w/kernel: float32 .* saved, bfloat16"),
        (dict(width=4), r"w/kernel: float32 \(2, 3\) saved, float32 \(2, 4\) expected"),
    ],
)
def test_another_models_state_is_refused(saved, other, message):
    checkpoints = Checkpoints(saved)
    with pytest.raises(CheckpointError, match=message):
        checkpoints.restore(like(**other))
    checkpoints.close()


def test_a_damaged_state_is_named(saved):
    for path in (saved / "states" / "6").rglob("*"):
        if path.is_file() and path.stat().st_size > 50:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    checkpoints = Checkpoints(saved)
    with pytest.raises(CheckpointError, match="states/6.*move that folder away"):
        checkpoints.restore(like())
    shutil.rmtree(saved / "states" / "6")
    checkpoints = Checkpoints(saved)
    assert checkpoints.restore(like())["step"] == 4


def test_copy_from_a_read_only_run(saved, tmp_path_factory):
    (saved / "config.json").write_text("{}")
    for path in [*saved.rglob("*"), saved]:
        os.chmod(path, 0o555 if path.is_dir() else 0o444)
    target = tmp_path_factory.mktemp("run")
    try:
        assert copy_run(saved, target) == 6
    finally:
        for path in [saved, *saved.rglob("*")]:
            os.chmod(path, 0o755)
    assert all(os.stat(path).st_mode & 0o200 for path in target.rglob("*"))
    checkpoints = Checkpoints(target)
    assert checkpoints.restore(like())["step"] == 6
    checkpoints.save(8, state(8))
    checkpoints.close()
    assert checkpoint.saved_steps(target / "states") == [6, 8]


def test_a_copy_that_was_cut_short_is_started_over(saved, tmp_path):
    target = tmp_path / "run"
    target.mkdir()
    copy_run(saved, target)
    (target / "states" / "6").rename(target / "states" / ".copying-6")  # as if it had been killed there
    assert checkpoint.saved_steps(target / "states") == []
    assert copy_run(saved, target) == 6
    assert checkpoint.saved_steps(target / "states") == checkpoint.saved_steps(target / "best") == [6]


def test_one_process_a_run_directory(tmp_path):
    handle = checkpoint.lock(tmp_path)
    program = (
        "from pathlib import Path; from ifvit.storage import checkpoint\n"
        f"try: checkpoint.lock(Path({json.dumps(str(tmp_path))}))\n"
        "except checkpoint.CheckpointError as error: print(error)"
    )
    message = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "another process trains" in message
    handle.close()
    checkpoint.lock(tmp_path).close()


@pytest.mark.parametrize(
    "error, message",
    [
        (PermissionError(13, "Permission denied", "/r/_METADATA"), "cannot be read .Permission denied: /r/_METADATA"),
        (OSError(5, "Input/output error"), "cannot be read .Input/output error"),
        (MemoryError(), "cannot be read .memory ran out"),
        (ValueError('PERMISSION_DENIED: Error opening "zarr" driver: ...'), "cannot be read .Permission denied"),
        (ValueError("RESOURCE_EXHAUSTED: Out of memory"), "cannot be read .memory ran out"),
        (ValueError("DATA_LOSS: Error decoding"), "damaged or incomplete, or of a newer Orbax than .*DATA_LOSS"),
        (FileNotFoundError(2, "No such file", "_METADATA"), "damaged or incomplete"),
        (KeyError("tree_metadata"), "damaged or incomplete"),
    ],
)
def test_only_damage_is_called_damage(saved, monkeypatch, error, message):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr(checkpoint, "_variables_in", fails)
    monkeypatch.setattr(orbax.checkpoint.CheckpointManager, "restore", fails)
    with pytest.raises(CheckpointError, match=message) as read:
        checkpoint.read_variables(saved)
    checkpoints = checkpoint.Checkpoints(saved)
    with pytest.raises(CheckpointError, match=message) as restored:
        checkpoints.restore(like())
    checkpoints.close()
    outside_cause = "cannot be read" in message
    assert all(("damaged" in str(raised.value)) != outside_cause for raised in (read, restored))
