"""A run directory and the states saved in it. All calls to Orbax are in this file.

run_dir/
  config.json         the run's config, and fingerprints of its data and of its split
  split.csv           which subjects are used for training, for validation and for tests
  merge_report.json   which parameters the pretrained weights filled; only with pretrained weights
  metrics.json        the metrics of the latest validation and of the untrained network, and the best step
  states/STEP/        the full training state after STEP updates; the latest two
  best/STEP/          the state with the best validation
  tb/                 the curves, and the latest updates that have no point in the curves yet
  dense/              only in a run of Module 2: its Module 1, as config.json, split.csv and best/STEP
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from ifvit import backend
from ifvit.errors import CheckpointError, UnsavedError
from ifvit.storage.files import outside_cause

# Imported where a state is read or written: it takes .4 s, and a comparison without a run needs none of it.
if TYPE_CHECKING:
    import orbax.checkpoint as ocp

KEEP_LATEST = 2
KEEP_BEST = 1
CURVES = "tb"  # the folder of TensorBoard's events
MODULE1_FOLDER = "dense"  # in the run directory of Module 2: the run directory of its Module 1


def lock(run_dir: Path) -> Any:
    """Lock the run directory for this process. The lock ends with the process or with the returned handle.

    On a file system without locks the run goes on without one, with a message on standard error.

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
    """The saved states of one run directory. A state is a pytree of arrays."""

    def __init__(self, run_dir: Path):
        backend.start()
        self._run_dir = run_dir.resolve()  # Orbax needs absolute paths
        self._latest = _manager(self._run_dir / "states", KEEP_LATEST)
        self._best = _manager(self._run_dir / "best", KEEP_BEST)

    def latest_step(self) -> int | None:
        """The number of updates of the newest saved state; None if nothing was saved."""
        return self._latest.latest_step()

    def save(self, step: int, state: Any) -> None:
        """Save the state after `step` updates.

        It returns when the state is copied from the device; a thread writes it to disk.

        Raises:
            UnsavedError: an earlier state, or this one, could not be written.
        """
        self._save(self._latest, "states", step, state)

    def save_best(self, step: int, state: Any) -> None:
        """Save the state as the best one; it replaces the earlier best one. Returns and raises as `save`."""
        self._save(self._best, "best", step, state)

    def _save(self, manager: ocp.CheckpointManager, name: str, step: int, state: Any) -> None:
        if step in manager.all_steps():
            return  # after a resume the run reaches a saved step again; the state is the same
        import orbax.checkpoint as ocp

        try:
            manager.wait_until_finished()
            manager.save(step, args=ocp.args.StandardSave(state), force=True)
        except (MemoryError, jax.errors.JaxRuntimeError):
            raise  # the computation of the state failed, not the disk
        except Exception as error:
            raise self._unsaved(name, step, error) from error

    def wait(self) -> None:
        """Wait until all states are on disk.

        Raises:
            UnsavedError: a state could not be written.
        """
        for name, manager in (("states", self._latest), ("best", self._best)):
            try:
                manager.wait_until_finished()
            except Exception as error:
                raise self._unsaved(name, manager.latest_step() or 0, error) from error

    def close(self) -> None:
        """Wait until all states are on disk, then end Orbax's threads. Raises as `wait`."""
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
        """The latest state, with the shapes, dtypes and shardings of `like` (a pytree of jax.ShapeDtypeStruct).

        Raises:
            CheckpointError: the state is damaged, or has other arrays than `like`.
        """
        import orbax.checkpoint as ocp

        step = self.latest_step()
        assert step is not None
        folder = self._run_dir / "states" / str(step)
        try:
            self._compare(step, like, folder)
            return self._latest.restore(step, args=ocp.args.StandardRestore(like))
        except CheckpointError:
            raise
        except Exception as error:
            raise _unreadable(folder, error, "; move that folder away to go on from the state before it") from error

    def _compare(self, step: int, like: Any, folder: Path) -> None:
        """Compare shapes and dtypes before the restore: Orbax casts dtypes without a message.

        Raises:
            CheckpointError: they differ, or there is no state in the folder.
        """
        metadata = self._latest.item_metadata(step)
        metadata = getattr(metadata, "tree", metadata)
        if metadata is None:
            raise CheckpointError(f"{folder}: holds no state; move that folder away to go on from the one before it")
        saved, expected = _arrays(metadata), _arrays(like)
        differences = [
            f"{k}: {saved.get(k)} saved, {expected.get(k)} expected"
            for k in sorted(saved.keys() | expected.keys())
            if saved.get(k) != expected.get(k)
        ]
        if differences:
            more = f" and {len(differences) - 5} more" if len(differences) > 5 else ""
            raise CheckpointError(f"{folder}: another model's state: {'; '.join(differences[:5])}{more}")


def read_variables(run_dir: Path) -> tuple[str, int, dict[str, Any]]:
    """The model's variables of a run's best state, or of its latest state if there is no best one.

    Returns 'best' or 'latest', the step, and {'params': …, 'batch_stats': …} of NumPy arrays. The run directory is only
    read. The optimiser's part is not read, and the devices that saved the state are not needed.

    Raises:
        CheckpointError: no state was saved yet, or it cannot be read.
        BackendError: JAX has no device; the state was not read.
    """
    backend.start()  # Orbax needs a device; without one its error would look like a damaged state
    for which, saved in (("best", run_dir / "best"), ("latest", run_dir / "states")):
        if steps := saved_steps(saved):
            folder = saved / str(steps[-1])
            try:
                return which, steps[-1], _variables_in(folder)
            except Exception as error:  # Orbax passes on any error of its storage
                raise _unreadable(folder, error) from error
    raise CheckpointError(f"{run_dir}: the run saved no state yet; let it train to its first validation")


def _variables_in(folder: Path) -> dict[str, Any]:
    """The variables of the state in a folder, as NumPy arrays."""
    import orbax.checkpoint as ocp

    state_dir = (folder / "default").resolve()  # where Orbax's manager puts a state; it needs absolute paths
    reader = ocp.PyTreeCheckpointHandler()
    tree = reader.metadata(state_dir).tree
    item = {name: _like(tree[name], np.zeros(())) for name in ("params", "batch_stats")}
    arguments = ocp.args.PyTreeRestore(
        item=item, restore_args=_like(item, ocp.RestoreArgs(restore_type=np.ndarray)), partial_restore=True
    )
    return reader.restore(state_dir, args=arguments)


def _like(tree: Any, leaf: Any) -> Any:
    """A tree with the same nested keys, and `leaf` for each of its leaves."""
    return {key: _like(value, leaf) for key, value in tree.items()} if isinstance(tree, dict) else leaf


def _manager(folder: Path, keep: int) -> ocp.CheckpointManager:
    import orbax.checkpoint as ocp

    options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True, enable_async_checkpointing=True)
    # With a handler the manager knows the arrays' shapes before it restores them.
    return ocp.CheckpointManager(folder, item_handlers=ocp.StandardCheckpointHandler(), options=options)


def _arrays(tree: Any) -> dict[str, str]:
    """The dtype and shape of each array, as 'float32 (3, 4)', by its path; also of metadata, structs, dataclasses."""
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
    """The error for a state that cannot be restored; advice: what to do about a damaged one."""
    if cause := outside_cause(error):
        return CheckpointError(
            f"{folder}: cannot be read ({cause}); the state may be whole: see to that, and try again"
        )
    import orbax.checkpoint as ocp

    # A newer Orbax may have another file format.
    return CheckpointError(
        f"{folder}: cannot be restored, it is damaged or incomplete, or of a newer Orbax than {ocp.__version__} "
        f"({_first_line(error)}){advice}"
    )


def digest_of(variables: Any) -> str:
    """A hash of a model's variables: of the path, dtype, shape and bytes of each array, not of the file's format."""
    digest = hashlib.sha256()
    for path, leaf in sorted(jax.tree_util.tree_leaves_with_path(variables), key=lambda item: str(item[0])):
        value = np.ascontiguousarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {value.dtype} {value.shape}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()[:16]


def saved_steps(folder: Path) -> list[int]:
    """The steps saved in a folder, ascending. Folders that Orbax has not finished have other names."""
    return sorted(int(p.name) for p in folder.glob("*") if p.name.isdigit() and p.is_dir())
