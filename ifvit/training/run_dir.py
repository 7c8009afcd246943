"""Checks of a run directory before anything is written into it: it is new, or belongs to this run."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

from ifvit.config import Config, StageName, to_dict
from ifvit.config.renamed import RENAMED, renamed_keys
from ifvit.config.run_config import FILE, RunConfig, stored_run
from ifvit.data.loader import RunData
from ifvit.databases.records import name_list
from ifvit.errors import CheckpointError, UserError
from ifvit.storage import checkpoint
from ifvit.storage.checkpoint import MODULE1_FOLDER
from ifvit.storage.files import write_whole
from ifvit.storage.json_files import write_json
from ifvit.storage.run_copies import copy_run
from ifvit.training.taken import config_difference, foreign_content, has_any_state


class RunDirError(UserError):
    """The run cannot begin from its run directory, or from another run. The message says why."""


class RunDirTakenError(RunDirError):
    """The run directory contains other files or another run. In another run directory the run can begin."""


def claim(config: Config) -> Any:
    """Lock the run directory, and copy `init.resume_from` into it if it is empty.

    The lock lasts as long as the returned handle is open.

    Raises:
        RunDirTakenError: it contains other files, or states of another config.
        RunDirError: `init.resume_from` contains no state, or states of another config.
        CheckpointError: it cannot be written, another process uses it, or there is nothing to resume from.
    """
    run_dir = Path(config.run_dir)
    if problem := foreign_content(run_dir):
        raise RunDirTakenError(f"run_dir: {problem}; set another run_dir")
    handle = checkpoint.lock(run_dir)
    try:
        _check_contents(config, run_dir)
    except BaseException:
        remove_if_unused(config)
        handle.close()
        raise
    return handle


def _check_contents(config: Config, run_dir: Path) -> None:
    """Check that the states in the locked run directory, or copied into it, belong to this run."""
    if not has_states(run_dir) and config.init.resume_from:
        source = Path(config.init.resume_from)
        if not has_states(source):
            raise RunDirError(_no_state_text(source))
        # Compared at the source too, so that nothing is copied in case of an error.
        if problem := _difference(config, source):
            raise RunDirError(f"init.resume_from: {problem}; repeat its settings to go on with it")
        step = copy_run(source, run_dir)
        print(f"copied step {step} of {source} into {run_dir}")
    if has_any_state(run_dir) and (problem := _difference(config, run_dir)):
        raise RunDirTakenError(f"run_dir: {problem}; repeat its settings to go on with it, or set another run_dir")


def _no_state_text(source: Path) -> str:
    """The message that `init.resume_from` has no state, with the runs in folders below it."""
    if not source.is_dir():
        return f"init.resume_from: {source} is {'no folder' if source.exists() else 'not there'}; name a run_dir"
    folders = [states.parent for pattern in ("*/states", "*/*/states") for states in sorted(source.glob(pattern))]
    problem = f"init.resume_from: {source} holds no saved state (looked for {source / 'states'}/STEP/)"
    if runs := [str(folder) for folder in folders if has_states(folder)]:
        return f"{problem}; runs below it: {name_list(runs)}; set init.resume_from={runs[0]}"
    content = name_list(sorted(path.name for path in source.iterdir())) or "nothing"
    return f"{problem}, nor does a folder below it; it holds {content}. Name the run_dir of a run"


def remove_if_unused(config: Config) -> None:
    """Remove the run directory if the run ended before it wrote anything. The caller still has the lock."""
    run_dir = Path(config.run_dir)
    subfolders = [run_dir / name for name in ("states", "best")]  # may exist without content
    content = set(run_dir.iterdir()) if run_dir.is_dir() else set()
    if run_dir / ".lock" in content <= {run_dir / ".lock", *subfolders} and not any(map(_has_files, subfolders)):
        for subfolder in content.intersection(subfolders):
            subfolder.rmdir()
        (run_dir / ".lock").unlink()
        run_dir.rmdir()


def _has_files(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def has_states(run_dir: Path) -> bool:
    """Whether the run directory contains a saved latest state."""
    return bool(checkpoint.saved_steps(run_dir / "states"))


def _difference(config: Config, folder: Path) -> str | None:
    """How the run in a folder differs from this config, in words; None if it does not."""
    stored = stored_run(folder)
    if stored and (renamed := renamed_keys(stored.content["config"])):
        keys = ", ".join(f"{key} is called {RENAMED[key]} now" for key in renamed)
        print(f"{folder}: the config of an earlier version; {keys}", file=sys.stderr)
    return config_difference(config, folder, stored, _weight_differences(config, stored) if stored else [])


def _weight_differences(config: Config, stored: RunConfig) -> list[str]:
    """How the weights that a run started from differ from the configured ones. Another path is no difference."""
    stored_digest, digest = stored.content.get("weights"), weights_digest(config)
    if config.stage is StageName.matcher:
        key = "init.matcher" if config.init.matcher else "init.dense"
        changed = digest is not None and stored_digest is not None and digest != stored_digest
        return (
            [f"{key}: {getattr(config.init, key[5:])}, whose weights are others than it began from"] if changed else []
        )
    path = config.dense.loftr_pretrained_ckpt
    if (path is None) == (stored_digest is None) and (digest is None or digest == stored_digest):
        return []
    return [f"dense.loftr_pretrained_ckpt: {stored.tree['dense']['loftr_pretrained_ckpt']} -> {path}, other weights"]


def module1_dir(config: Config) -> Path:
    """The run directory of the Module 1 that a run of Module 2 begins from, or the run's own copy of it."""
    own = Path(config.run_dir) / MODULE1_FOLDER
    if has_states(Path(config.run_dir)) or config.init.matcher is None and config.init.dense is None:
        return own
    if config.init.matcher:
        return Path(config.init.matcher) / MODULE1_FOLDER
    assert config.init.dense is not None
    return Path(config.init.dense)


def weights_digest(config: Config) -> str | None:
    """The digest of the configured weights: of a file, or of the run that a Module 2 begins from.

    None if no weights are configured, or if they no longer exist.
    """
    source = config.init.matcher or config.init.dense
    if source:
        try:
            return checkpoint.digest_of(checkpoint.read_variables(Path(source))[2])
        except CheckpointError:
            return None
    path = config.dense.loftr_pretrained_ckpt
    if path is None or not Path(path).is_file():
        return None
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_same_data(config: Config, data: RunData) -> None:
    """Check that the impressions and the split are those that the saved states were trained on.

    Raises:
        RunDirTakenError: they differ.
    """
    run_dir = Path(config.run_dir)
    stored = stored_run(run_dir) if has_states(run_dir) else None
    if not stored:
        return
    if stored.content["data"] != data.fingerprint:
        raise RunDirTakenError(
            f"run_dir: {run_dir} was trained on other data ({stored.content['data']}; now {data.fingerprint}); "
            "give it the same images, or set another run_dir"
        )
    stored_split = stored.content.get("split")  # runs of earlier versions stored none
    if stored_split and stored_split != split_digest(data):
        raise RunDirTakenError(
            f"run_dir: {run_dir} was trained under another split ({stored_split}; now {split_digest(data)}), "
            f"so that who was trained on would validate; go on with data.split={run_dir / 'split.csv'}, or set "
            "another run_dir"
        )


def split_digest(data: RunData) -> str | None:
    """The digest of the split of the real impressions; None without real impressions."""
    return data.split.digest() if data.split else None


def write_config(config: Config, data: RunData) -> None:
    """Write config.json and split.csv: the config, and the digests of data, split and weights."""
    run_dir = Path(config.run_dir)
    stored = stored_run(run_dir) if has_states(run_dir) else None
    weights = stored.content["weights"] if stored else weights_digest(config)
    if data.split:
        text = data.split.text().encode()
        write_whole(run_dir / "split.csv", lambda file: file.write(text))
    # Prepared prints may have been copied without their images: then the stored entries stay.
    databases = {**(stored.content.get("databases", {}) if stored else {}), **data.contents}
    content = {"config": to_dict(config), "data": data.fingerprint, "split": split_digest(data), "weights": weights}
    write_json(run_dir / FILE, content | ({"databases": databases} if databases else {}))
