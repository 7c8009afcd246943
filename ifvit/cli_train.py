"""`train.py` and `python -m ifvit train`: one run, a sweep (-m), or a question to Hydra (--cfg, --help, ...)."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra import main as hydra_main
from hydra._internal.utils import get_args_parser  # Hydra's own flags, so that none of them is missed
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from ifvit.config import ConfigError, home
from ifvit.launch import SEARCH, Configs, composed, config_dir, hydra_tree, refuse, run
from ifvit.overrides import parsed, quoted, readable
from ifvit.sweep import run_sweep

_QUESTIONS = ("help", "hydra_help", "shell_completion", "cfg", "info")
_OF_SWEEPS = ("hydra.sweeper.", "hydra/sweeper=", "hydra.launcher.", "hydra/launcher=")


def train_command(argv: Sequence[str], program: Sequence[str]) -> float | None:
    """Run what `argv` says; the validation's objective, None where not one run was asked for.

    program: how this command was typed, for the line that says how to resume. Ends the process with a status other
    than 0 when something is refused, fails or stops before its last step.
    """
    command = shlex.join([*program, *argv])
    flags = _flags(argv)
    try:
        configs = _configs(flags)
        overrides = readable(flags.overrides, sweep=flags.multirun)
        if any(getattr(flags, name) for name in _QUESTIONS):
            _hydra_answers(flags, configs, overrides)
            return None
        overrides = _searched(flags, _own(overrides, flags.multirun))
        if flags.multirun:
            run_sweep(overrides, configs, command)
            return None
        config = composed(overrides, configs)
        if HydraConfig.get().mode is RunMode.MULTIRUN:
            raise ConfigError(["the config asks for a sweep (hydra.mode: MULTIRUN): add -m"])
    except ConfigError as error:
        refuse(error.problems)
    return run(config, command)


def _flags(argv: Sequence[str]) -> argparse.Namespace:
    """Hydra's flags and the overrides, wherever they stand."""
    parser = get_args_parser()
    parser.error = lambda message: refuse([message])
    flags = parser.parse_intermixed_args(list(argv))
    shown = "--cfg" if flags.cfg else "--info" if flags.info else None
    problems = []
    if flags.experimental_rerun:
        problems.append("--experimental-rerun: runs code from a file; type the command again instead")
    if flags.multirun and (shown or flags.run):
        problems.append(f"{shown or '--run'}: is of one run; leave out -m")
    if flags.resolve and not (flags.cfg or flags.help):
        problems.append("--resolve: only with --cfg")
    if problems:
        refuse(problems)
    return flags


def _configs(flags: argparse.Namespace) -> Configs:
    folder = _folder("--config-path", flags.config_path) if flags.config_path else config_dir()
    return Configs(folder, *([flags.config_name] if flags.config_name else []))


def _folder(flag: str, typed: str) -> Path:
    """A folder of YAML files that was typed, absolute.

    Raises:
        ConfigError: there is no such folder.
    """
    try:
        path = Path(home(typed)).resolve()
    except ValueError as error:
        raise ConfigError([f"{flag}: {error}"]) from error
    if not path.is_dir():
        raise ConfigError([f"{flag}: there is no folder {path}"])
    return path


def _own(overrides: Sequence[str], sweep: bool) -> list[str]:
    """The overrides, without Hydra's own keys that change nothing here.

    Raises:
        ConfigError: naming each of those; nothing that was typed is ignored.
    """
    allowed = (f"{SEARCH}=", *(_OF_SWEEPS if sweep else ()))
    idle = [o for o in overrides if o.lstrip("+").startswith(("hydra.", "hydra/")) and not o.startswith(allowed)]
    if idle:
        advice = (
            "a run writes only into run_dir, and the jobs of a sweep (-m) into folders of RUN_DIR_sweep; of Hydra's "
            f"own keys {SEARCH} is read, in a sweep also hydra.sweeper.* and hydra/sweeper"
        )
        raise ConfigError([f"{override}: {advice}" for override in idle])
    return list(overrides)


def _searched(flags: argparse.Namespace, overrides: Sequence[str]) -> list[str]:
    """The overrides with all folders to look for YAML files in as one: so the jobs of a sweep find them as well.

    Raises:
        ConfigError: there is no such folder, or it is no list.
    """
    folders = [str(_folder("--config-dir", flags.config_dir))] if flags.config_dir else []
    others = []
    for override in overrides:
        if not override.startswith(f"{SEARCH}="):
            others.append(override)
            continue
        value = parsed([override])[0].value()
        if not isinstance(value, list):
            raise ConfigError([f"{override}: expected a list of folders, like {SEARCH}=[conf]"])
        for folder in map(str, value):
            packaged = "://" in folder and not folder.startswith("file://")  # pkg://name.of.a.package
            folders.append(folder if packaged else str(_folder(SEARCH, folder.removeprefix("file://"))))
    return [*others, *([f"{SEARCH}=[{','.join(map(quoted, folders))}]"] if folders else [])]


def _hydra_answers(flags: argparse.Namespace, configs: Configs, overrides: Sequence[str]) -> None:
    """What Hydra itself shows of the config; nothing is run."""
    overrides = _searched(flags, overrides)
    if flags.cfg:
        hydra_tree(overrides, configs)  # refused in our words
    words = [f"--{name.replace('_', '-')}" for name in (*_QUESTIONS, "resolve") if getattr(flags, name) is True]
    words += [f"--{name}={getattr(flags, name)}" for name in ("cfg", "info", "package") if getattr(flags, name)]
    sys.argv = [sys.argv[0], *words, *overrides]
    hydra_main(str(configs.folder), configs.main, version_base="1.3")(_runs_nothing)()


def _runs_nothing(_: object) -> None:
    """The task of a command line that only asks."""
