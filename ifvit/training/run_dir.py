"""What a run directory must be before anything is written into it: new, or this very run's."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ifvit.config import Config, StageName, as_tree
from ifvit.data.loader import RunData
from ifvit.databases.records import listed
from ifvit.errors import UserError
from ifvit.storage import checkpoint
from ifvit.storage.checkpoint import MODULE1_FOLDER
from ifvit.storage.files import write_whole
from ifvit.storage.json_files import read_json, write_json
from ifvit.training.taken import holds_run, not_a_run, other_run


class RunDirError(UserError):
    """The run cannot begin from its run directory, or from another run; the message says why."""


class RunDirTakenError(RunDirError):
    """The run directory belongs to something else; the message says to what. In another one the run can begin."""


def claim(config: Config) -> Any:
    """Lock the run directory, after `init.resume_from` was copied into an empty one; keep the returned handle.

    Raises:
        RunDirTakenError: it holds other files, or another config's states.
        RunDirError: `init.resume_from` holds no state, or another config's.
        CheckpointError: it cannot be written, another process uses it, or there is nothing to resume from.
    """
    run_dir = Path(config.run_dir)
    if problem := not_a_run(run_dir):
        raise RunDirTakenError(f"run_dir: {problem}; set another run_dir")
    handle = checkpoint.lock(run_dir)
    try:
        _take(config, run_dir)
    except BaseException:
        leave_nothing(config)
        handle.close()
        raise
    return handle


def _take(config: Config, run_dir: Path) -> None:
    """See that what lies in the locked run directory, or is copied into it, is of this very run."""
    if not has_states(run_dir) and config.init.resume_from:
        source = Path(config.init.resume_from)
        if not has_states(source):
            raise RunDirError(_no_run(source))
        # Compared at the source too, so that a refusal copies nothing.
        if problem := _other_run(config, source):
            raise RunDirError(f"init.resume_from: {problem}; repeat its settings to go on with it")
        step = checkpoint.copy_run(source, run_dir)
        print(f"copied step {step} of {source} into {run_dir}")
    if holds_run(run_dir) and (problem := _other_run(config, run_dir)):
        raise RunDirTakenError(f"run_dir: {problem}; repeat its settings to go on with it, or set another run_dir")


def _no_run(source: Path) -> str:
    """Why `init.resume_from` is no run, and which was meant."""
    if not source.is_dir():
        return f"init.resume_from: {source} is {'no folder' if source.exists() else 'not there'}; name a run_dir"
    below = [states.parent for pattern in ("*/states", "*/*/states") for states in sorted(source.glob(pattern))]
    looked = f"init.resume_from: {source} holds no saved state (looked for {source / 'states'}/STEP/)"
    if runs := [str(folder) for folder in below if has_states(folder)]:
        return f"{looked}; runs below it: {listed(runs)}; set init.resume_from={runs[0]}"
    there = listed(sorted(path.name for path in source.iterdir())) or "nothing"
    return f"{looked}, nor does a folder below it; it holds {there}. Name the run_dir of a run"


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


def _other_run(config: Config, folder: Path) -> str | None:
    """Why the states in a folder are not this config's; None where they are."""
    stored = read_json(folder / "config.json")
    return other_run(config, folder, stored, _other_weights(config, stored) if stored else [])


def _other_weights(config: Config, stored: Mapping[str, Any]) -> list[str]:
    """What differs between the weights that a run started from and those asked for; their path may."""
    began, now = stored.get("weights"), weights_digest(config)
    if config.stage is StageName.matcher:
        key = "init.matcher" if config.init.matcher else "init.dense"
        changed = now is not None and began is not None and now != began
        return (
            [f"{key}: {getattr(config.init, key[5:])}, whose weights are others than it began from"] if changed else []
        )
    path = config.dense.loftr_pretrained_ckpt
    if (path is None) == (began is None) and (now is None or now == began):
        return []
    return [
        f"dense.loftr_pretrained_ckpt: {stored['config']['dense']['loftr_pretrained_ckpt']} -> {path}, other weights"
    ]


def module_1_of(config: Config) -> Path:
    """The run directory of the Module 1 that a Module 2's run begins from, or its own copy."""
    own = Path(config.run_dir) / MODULE1_FOLDER
    if has_states(Path(config.run_dir)) or config.init.matcher is None and config.init.dense is None:
        return own
    return Path(config.init.matcher) / MODULE1_FOLDER if config.init.matcher else Path(config.init.dense)


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


def same_data(config: Config, data: RunData) -> None:
    """Compare the impressions, and who of them trains, with those that the saved states were trained on.

    Raises:
        RunDirTakenError: they are others.
    """
    run_dir = Path(config.run_dir)
    stored = read_json(run_dir / "config.json")
    if not stored or not has_states(run_dir):
        return
    if stored["data"] != data.fingerprint:
        raise RunDirTakenError(
            f"run_dir: {run_dir} was trained on other data ({stored['data']}; now {data.fingerprint}); "
            "give it the same images, or set another run_dir"
        )
    before = stored.get("split")  # runs of earlier versions remember none
    if before and before != digest(data):
        raise RunDirTakenError(
            f"run_dir: {run_dir} was trained under another split ({before}; now {digest(data)}), so that who was "
            f"trained on would validate; go on with data.split={run_dir / 'split.csv'}, or set another run_dir"
        )


def digest(data: RunData) -> str | None:
    """What the split of the real impressions is; None without any."""
    return data.split.digest() if data.split else None


def remember(config: Config, data: RunData) -> None:
    """Write the config, and what data, split and weights were, into the run directory."""
    path = Path(config.run_dir) / "config.json"
    stored = read_json(path) if has_states(path.parent) else None
    weights = stored["weights"] if stored else weights_digest(config)
    if data.split:
        text = data.split.text().encode()
        write_whole(path.with_name("split.csv"), lambda file: file.write(text))
    # Prepared prints may have come here without their images.
    databases = (stored or {}).get("databases", {}) | data.contents
    content = {"config": as_tree(config), "data": data.fingerprint, "split": digest(data), "weights": weights}
    write_json(path, content | ({"databases": databases} if databases else {}))
