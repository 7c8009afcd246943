"""A run directory and the states saved in it: Orbax behind one small class.

run_dir/
  config.json         the run's config, the fingerprint of its data and of their split
  split.csv           which subjects train, validate or are kept for tests
  merge_report.json   what the pretrained weights filled, when there were any
  metrics.json        the latest validation, the untrained figures, the best step
  states/STEP/        full training state after STEP updates, the latest two
  best/STEP/          the state that validated best
  tb/                 the curves, and what of the latest updates is not yet drawn
  dense/              of a Module 2's run: the Module 1 that it began from, as config.json, split.csv and best/STEP
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from ifvit import backend
from ifvit.errors import UserError
from ifvit.program import EXIT_FAILED
from ifvit.storage.files import outside_cause, write_whole

KEEP_LATEST = 2
KEEP_BEST = 1
BESIDE = ("config.json", "merge_report.json", "metrics.json", "split.csv")
CURVES = "tb"  # TensorBoard's events
MODULE_1 = "dense"  # a run directory in a Module 2's run directory, copied with it


class CheckpointError(UserError):
    """A state cannot be saved or restored; the message names the folder and says what to do."""


class UnsavedError(CheckpointError):
    """A state could not be saved; those saved before are untouched."""

    exit_status = EXIT_FAILED


def write_json(path: Path, tree: Any) -> None:
    """The tree as JSON, whole or not at all."""
    write_whole(path, lambda file: file.write((json.dumps(tree, indent=2) + "\n").encode()))


def read_json(path: Path) -> Any:
    """The tree of a JSON file, or None where there is none.

    Raises:
        CheckpointError: the file is not JSON.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: not valid JSON ({error}); restore the file or choose another run_dir"
        ) from error


def lock(run_dir: Path) -> Any:
    """Hold the run directory for this process until it ends; keep the returned handle.

    Where the file system knows no locks the run goes on without one, and says so.

    Raises:
        CheckpointError: another process trains here, or the folder cannot be written.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        handle = open(run_dir / ".lock", "w")  # noqa: SIM115 - held open for the life of the run
    except OSError as error:
        raise CheckpointError(f"run_dir: {run_dir} cannot be written ({error.strerror}); set run_dir=FOLDER") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        handle.close()
        raise CheckpointError(f"run_dir: another process trains in {run_dir}; wait for it or set run_dir") from error
    except OSError as error:
        print(f"{run_dir} cannot be locked ({error.strerror}): see that no other run uses it", file=sys.stderr)
    return handle


class Checkpoints:
    """The states of one run directory. States are pytrees of arrays only."""

    def __init__(self, run_dir: Path):
        backend.start()
        self._run_dir = run_dir.resolve()  # Orbax wants absolute paths
        self._latest = _manager(self._run_dir / "states", KEEP_LATEST)
        self._best = _manager(self._run_dir / "best", KEEP_BEST)

    def latest_step(self) -> int | None:
        """The number of updates of the newest saved state; None when nothing was saved."""
        return self._latest.latest_step()

    def save(self, step: int, state: Any) -> None:
        """Save the state after `step` updates; returns once it is copied off the device, and writes on meanwhile."""
        self._save(self._latest, "states", step, state)

    def save_best(self, step: int, state: Any) -> None:
        """Save the state as the best so far, in place of the one before."""
        self._save(self._best, "best", step, state)

    def _save(self, manager: ocp.CheckpointManager, name: str, step: int, state: Any) -> None:
        if step in manager.all_steps():
            return  # a run that resumed comes by again, and one step of one run is one state
        try:
            manager.wait_until_finished()
            manager.save(step, args=ocp.args.StandardSave(state), force=True)
        except (MemoryError, jax.errors.JaxRuntimeError):
            raise  # of the computation that makes the state, not of the disk
        except Exception as error:
            raise self._unsaved(name, step, error) from error

    def wait(self) -> None:
        """Block until everything is on disk.

        Raises:
            CheckpointError: it could not be written.
        """
        for name, manager in (("states", self._latest), ("best", self._best)):
            try:
                manager.wait_until_finished()
            except Exception as error:
                raise self._unsaved(name, manager.latest_step() or 0, error) from error

    def close(self) -> None:
        """Wait, then release Orbax's threads."""
        self.wait()
        self._latest.close()
        self._best.close()

    def _unsaved(self, name: str, step: int, error: Exception) -> UnsavedError:
        folder = self._run_dir / name
        free = shutil.disk_usage(self._run_dir).free / 2**20
        return UnsavedError(
            f"{folder}: the state of step {step} was not saved ({_first_line(error)}); {free:.0f} MB are free there. "
            "Earlier states are untouched: make room and run the same command again"
        )

    def restore(self, like: Any) -> Any:
        """The latest state, in the shapes, dtypes and shardings of `like` (a pytree of jax.ShapeDtypeStruct).

        Raises:
            CheckpointError: the state is damaged, or holds other arrays than `like`.
        """
        step = self.latest_step()
        folder = self._run_dir / "states" / str(step)
        try:
            self._compare(step, like, folder)
            return self._latest.restore(step, args=ocp.args.StandardRestore(like))
        except CheckpointError:
            raise
        except Exception as error:
            raise _unreadable(folder, error, "; move that folder away to go on from the state before it") from error

    def _compare(self, step: int, like: Any, folder: Path) -> None:
        """Orbax casts dtypes without a word, so shapes and dtypes are compared before anything is restored."""
        metadata = self._latest.item_metadata(step)
        metadata = getattr(metadata, "tree", metadata)
        if metadata is None:
            raise CheckpointError(f"{folder}: holds no state; move that folder away to go on from the one before it")
        saved, wanted = _arrays(metadata), _arrays(like)
        wrong = [
            f"{k}: {saved.get(k)} saved, {wanted.get(k)} expected"
            for k in sorted(saved.keys() | wanted.keys())
            if saved.get(k) != wanted.get(k)
        ]
        if wrong:
            more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
            raise CheckpointError(f"{folder}: another model's state: {'; '.join(wrong[:5])}{more}")


def read_variables(run_dir: Path) -> tuple[str, int, dict[str, Any]]:
    """The model's variables in a run's best state, else in its latest: 'best' or 'latest', the step, and
    {'params': …, 'batch_stats': …} of NumPy arrays.

    The run directory is only read; the devices that saved the state are not needed, nor is the optimiser's part.

    Raises:
        CheckpointError: no state was saved yet, or it cannot be read.
        BackendError: JAX has no device; the state was not looked at.
    """
    backend.start()  # Orbax needs one, and its failure must not pass for a damaged state
    for which, saved in (("best", run_dir / "best"), ("latest", run_dir / "states")):
        if steps := saved_steps(saved):
            folder = saved / str(steps[-1])
            try:
                return which, steps[-1], _variables_in(folder)
            except Exception as error:  # Orbax lets through whatever its storage raises
                raise _unreadable(folder, error) from error
    raise CheckpointError(f"{run_dir}: the run saved no state yet; let it train to its first validation")


def _variables_in(folder: Path) -> dict[str, Any]:
    here = (folder / "default").resolve()  # where Orbax's manager puts a state; it wants absolute paths
    reader = ocp.PyTreeCheckpointHandler()
    tree = reader.metadata(here).tree
    wanted = {name: _like(tree[name], np.zeros(())) for name in ("params", "batch_stats")}
    how = ocp.args.PyTreeRestore(
        item=wanted, restore_args=_like(wanted, ocp.RestoreArgs(restore_type=np.ndarray)), partial_restore=True
    )
    return reader.restore(here, args=how)


def _like(tree: Any, leaf: Any) -> Any:
    """A tree of the same nested keys with `leaf` in every place."""
    return {key: _like(value, leaf) for key, value in tree.items()} if isinstance(tree, dict) else leaf


def _manager(folder: Path, keep: int) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True, enable_async_checkpointing=True)
    # The handler is named so that the manager can tell the arrays' shapes before it restores any.
    return ocp.CheckpointManager(folder, item_handlers=ocp.StandardCheckpointHandler(), options=options)


def _arrays(tree: Any) -> dict[str, str]:
    """'float32 (3, 4)' for each array by its path; the same for metadata, structs and dataclasses."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda x: hasattr(x, "shape"))
    return {
        "/".join(_plain(part) for part in path): f"{leaf.dtype} {tuple(leaf.shape)}"
        for path, leaf in leaves
        if hasattr(leaf, "shape")
    }


def _plain(part: Any) -> str:
    return str(getattr(part, "key", getattr(part, "name", getattr(part, "idx", part))))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _unreadable(folder: Path, error: Exception, advice: str = "") -> CheckpointError:
    """What to say of a state that cannot be restored; advice: what to do about one that is damaged."""
    if cause := outside_cause(error):
        return CheckpointError(
            f"{folder}: cannot be read ({cause}); the state may be whole: see to that, and try again"
        )
    # A newer Orbax may lay states out otherwise.
    return CheckpointError(
        f"{folder}: cannot be restored, it is damaged or incomplete, or of a newer Orbax than {ocp.__version__} "
        f"({_first_line(error)}){advice}"
    )


def copy_run(source: Path, run_dir: Path) -> int:
    """Copy the latest and the best state of another run, its curves and what lies beside them into `run_dir`; the step.

    The source may be read-only. The latest state is put in place last, by a rename: a copy that is cut short is
    started over. There must be one (`saved_steps`).

    Raises:
        OSError: it cannot be read or written.
    """
    steps = saved_steps(source / "states")
    for name in BESIDE:
        if (source / name).exists():
            shutil.copyfile(source / name, run_dir / name)
    for step in saved_steps(source / "best")[-1:]:
        _copy_tree(source / "best" / str(step), run_dir / "best" / str(step))
    if (source / MODULE_1).is_dir():
        copy_best(source / MODULE_1, run_dir / MODULE_1)
    if (source / CURVES).is_dir():
        _copy_tree(source / CURVES, run_dir / CURVES)
    _copy_tree(source / "states" / str(steps[-1]), run_dir / "states" / str(steps[-1]))
    return steps[-1]


def copy_best(source: Path, run_dir: Path) -> None:
    """Copy the state that `read_variables` reads, and what lies beside it, into a folder of its own.

    Raises:
        OSError: it cannot be read or written.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    which = next((name for name in ("best", "states") if saved_steps(source / name)), None)
    if which is None or source.resolve() == run_dir.resolve():
        return
    step = saved_steps(source / which)[-1]
    for other in saved_steps(run_dir / "best"):  # of a run that was begun from another and left no state
        shutil.rmtree(run_dir / "best" / str(other))
    _copy_tree(source / which / str(step), run_dir / "best" / str(step))
    for name in BESIDE:
        (run_dir / name).unlink(missing_ok=True)
        if (source / name).exists():
            shutil.copyfile(source / name, run_dir / name)


def digest_of(variables: Any) -> str:
    """What a model's variables are, whatever file they came from: of every array its path, dtype, shape and bytes."""
    digest = hashlib.sha256()
    for path, leaf in sorted(jax.tree_util.tree_leaves_with_path(variables), key=lambda item: str(item[0])):
        value = np.ascontiguousarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {value.dtype} {value.shape}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()[:16]


def saved_steps(folder: Path) -> list[int]:
    """The steps saved in a folder, ascending. Folders that Orbax had not finished bear other names."""
    return sorted(int(p.name) for p in folder.glob("*") if p.name.isdigit() and p.is_dir())


def _copy_tree(source: Path, target: Path) -> None:
    """A copy with ordinary permissions (those of a read-only folder would come along with shutil.copytree)."""
    partial = target.parent / f".copying-{target.name}"
    shutil.rmtree(partial, ignore_errors=True)
    for folder, _, files in os.walk(source):
        here = partial / Path(folder).relative_to(source)
        here.mkdir(parents=True)
        for file in files:
            shutil.copyfile(Path(folder) / file, here / file)
    shutil.rmtree(target, ignore_errors=True)  # of a copy that was cut short later on
    partial.rename(target)
