"""What a run directory must be before anything is written into it: new, or this very run's."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ifvit import checkpoint
from ifvit.checkpoint import MODULE_1
from ifvit.config import Config, Stage, as_tree, differences
from ifvit.data.loader import Supply
from ifvit.files import write_whole

OWN = {
    ".lock", "config.json", "merge_report.json", "metrics.json", "split.csv", "matches.png", "placements.png",
    "scores.png", "states", "best", "tb", MODULE_1,
}  # fmt: skip


class RunDirError(RuntimeError):
    """The run directory belongs to something else; the message says to what."""


def claim(config: Config) -> Any:
    """Lock the run directory, after `init.resume_from` was copied into an empty one; keep the returned handle.

    Raises:
        RunDirError: it holds other files, or another config's states.
        CheckpointError: it cannot be written, another process uses it, or there is nothing to resume from.
    """
    run_dir = Path(config.run_dir)
    if run_dir.exists():
        if not run_dir.is_dir():
            raise RunDirError(f"run_dir: {run_dir} is a file; set run_dir=FOLDER")
        others = sorted(path.name for path in run_dir.iterdir() if path.name not in OWN and path.name[0] != ".")
        # A run's own directory may gather notes and logs; what must not happen is to write among somebody's files.
        if others and not (run_dir / "config.json").exists():
            raise RunDirError(
                f"run_dir: {run_dir} holds something else than a run ({', '.join(others[:4])}); set run_dir=FOLDER"
            )
    handle = checkpoint.lock(run_dir)
    if not has_states(run_dir) and config.init.resume_from:
        source = Path(config.init.resume_from)
        if not has_states(source):
            raise RunDirError(
                f"init.resume_from: {source} holds no saved state (expected {source / 'states'}/STEP/, as in a run_dir)"
            )
        # Compared at the source too, so that a refusal copies nothing.
        _same_run(config, source)
        step = checkpoint.copy_run(source, run_dir)
        print(f"copied step {step} of {source} into {run_dir}")
    if has_states(run_dir) or checkpoint.saved_steps(run_dir / "best"):
        _same_run(config, run_dir)
    return handle


def leave_nothing(config: Config) -> None:
    """Remove the run directory of a run that was refused before it wrote anything; its lock must still be held."""
    run_dir = Path(config.run_dir)
    rooms = [run_dir / name for name in ("states", "best")]  # made before what they are to hold may be refused
    found = set(run_dir.iterdir()) if run_dir.is_dir() else set()
    if run_dir / ".lock" in found <= {run_dir / ".lock", *rooms} and not any(map(_holds, rooms)):
        for room in found.intersection(rooms):
            room.rmdir()
        (run_dir / ".lock").unlink()
        run_dir.rmdir()


def _holds(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def has_states(run_dir: Path) -> bool:
    """Whether a state was saved there."""
    return bool(checkpoint.saved_steps(run_dir / "states"))


def _same_run(config: Config, folder: Path) -> None:
    held = checkpoint.read_json(folder / "config.json")
    if held is None:
        raise RunDirError(f"run_dir: {folder} has no config.json beside its states; set run_dir=FOLDER for a new run")
    changed = differences(held["config"], as_tree(config)) + _other_weights(config, held)
    if changed:
        raise RunDirError(
            f"run_dir: {folder} holds a run of another config ({'; '.join(changed)}); "
            "set run_dir=FOLDER for a new run, or repeat the old settings to go on with that one"
        )


def _other_weights(config: Config, held: Mapping[str, Any]) -> list[str]:
    """What differs between the weights that a run started from and those asked for; their path may."""
    began, now = held.get("weights"), weights_digest(config)
    if config.stage is Stage.matcher:
        key = "init.matcher" if config.init.matcher else "init.dense"
        other = now is not None and began is not None and now != began
        return [f"{key}: {getattr(config.init, key[5:])}, whose weights are others than it began from"] if other else []
    path = config.dense.loftr_pretrained_ckpt
    if (path is None) == (began is None) and (now is None or now == began):
        return []
    return [f"dense.loftr_pretrained_ckpt: {held['config']['dense']['loftr_pretrained_ckpt']} -> {path}, other weights"]


def module_1_of(config: Config) -> Path:
    """The run directory of the Module 1 that a Module 2's run begins from, or its own copy."""
    own = Path(config.run_dir) / MODULE_1
    if has_states(Path(config.run_dir)) or config.init.matcher is None and config.init.dense is None:
        return own
    return Path(config.init.matcher) / MODULE_1 if config.init.matcher else Path(config.init.dense)


def weights_digest(config: Config) -> str | None:
    """What the configured weights are: of a file, or of the run that a Module 2 begins from; None without any, or
    where they are no longer there.
    """
    before = config.init.matcher or config.init.dense
    if before:
        try:
            return checkpoint.digest_of(checkpoint.read_variables(Path(before))[2])
        except checkpoint.CheckpointError:
            return None
    path = config.dense.loftr_pretrained_ckpt
    if path is None or not Path(path).is_file():
        return None
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def same_data(config: Config, data: Supply) -> None:
    """Compare the impressions, and who of them trains, with those that the saved states were trained on.

    Raises:
        RunDirError: they are others.
    """
    run_dir = Path(config.run_dir)
    held = checkpoint.read_json(run_dir / "config.json")
    if not held or not has_states(run_dir):
        return
    if held["data"] != data.fingerprint:
        raise RunDirError(
            f"run_dir: {run_dir} was trained on other data ({held['data']}; now {data.fingerprint}); "
            "give it the same images, or set run_dir=FOLDER for a new run"
        )
    before = held.get("split")  # runs of earlier versions remember none
    if before and before != digest(data):
        raise RunDirError(
            f"run_dir: {run_dir} was trained under another split ({before}; now {digest(data)}), so that who was "
            f"trained on would validate; go on with data.split={run_dir / 'split.csv'}, or set run_dir=FOLDER"
        )


def digest(data: Supply) -> str | None:
    """What the split of the real impressions is; None without any."""
    return data.split.digest() if data.split else None


def remember(config: Config, data: Supply) -> None:
    """Write the config, and what data, split and weights were, into the run directory."""
    path = Path(config.run_dir) / "config.json"
    held = checkpoint.read_json(path) if has_states(path.parent) else None
    weights = held["weights"] if held else weights_digest(config)
    if data.split:
        text = data.split.text().encode()
        write_whole(path.with_name("split.csv"), lambda file: file.write(text))
    told = {"config": as_tree(config), "data": data.fingerprint, "split": digest(data), "weights": weights}
    checkpoint.write_json(path, told)
