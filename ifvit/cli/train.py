"""`train.py` and `ifvit train`: one run, a sweep (-m), help, or a question to Hydra (--cfg, --info, ...)."""

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

from ifvit import console, program
from ifvit.cli.common import check_options
from ifvit.cli.train_help import help_text
from ifvit.config import ConfigError, home
from ifvit.config.folder_names import AUTO, auto_run_dir
from ifvit.config.overrides import literal, parsed, readable
from ifvit.launch import SEARCH, Configs, composed, hydra_tree, plain_tree, run
from ifvit.program import refuse
from ifvit.sweep.jobs import run_sweep

_QUESTIONS = ("hydra_help", "cfg", "info")


def train_command(argv: Sequence[str]) -> float | None:
    """Run what `argv` says; the validation's objective, None where not one run was asked for.

    Ends the process with a status other than 0 when something is refused, fails or stops before its last step.
    """
    console.guard()
    command = f"{program.command('train')} {shlex.join(argv)}".rstrip()
    flags = _flags(argv)
    try:
        if flags.help:
            print(help_text(flags.overrides, _searched([], flags)[1].folders))
            return None
        overrides, configs = _searched(readable(flags.overrides, sweep=flags.multirun), flags)
        if any(getattr(flags, name) for name in _QUESTIONS):
            _hydra_answers(flags, overrides, configs)
            return None
        _refuse_idle(overrides, flags.multirun)
        if flags.multirun:
            run_sweep(overrides, configs, command)
            return None
        config = composed(overrides, configs)
        if not flags.run:
            _refuse_sweep(argv)
    except ConfigError as error:
        refuse(error.problems)
    return run(config, command)


def _flags(argv: Sequence[str]) -> argparse.Namespace:
    """Hydra's flags and the overrides, wherever they stand."""
    parser = get_args_parser()
    parser.allow_abbrev = False
    parser.error = lambda message: refuse([message])
    check_options(parser, argv)
    flags = parser.parse_intermixed_args(list(argv))
    shown = "--cfg" if flags.cfg else "--info" if flags.info else None
    problems = []
    if flags.experimental_rerun:
        problems.append("--experimental-rerun: runs code from a file; type the command again instead")
    if flags.multirun and (shown or flags.run):
        problems.append(f"{shown or '--run'}: is of one run; leave out -m")
    if flags.resolve and not flags.cfg:
        problems.append("--resolve: only with --cfg")
    if flags.shell_completion:
        problems.append(f"--shell-completion: of Hydra's; type {program.command('completion bash')}, zsh or fish")
    if problems:
        refuse(problems)
    return flags


def _searched(overrides: Sequence[str], flags: argparse.Namespace) -> tuple[list[str], Configs]:
    """The overrides without hydra.searchpath, and all places to look for YAML files in.

    Raises:
        ConfigError: there is no such folder, or no list of them.
    """
    given = {}
    if flags.config_name:
        given["main"] = flags.config_name
    if flags.config_path:
        given["folder"] = _folder("--config-path", flags.config_path)
    if flags.config_dir:
        given["added"] = _folder("--config-dir", flags.config_dir)
    others = [override for override in overrides if not override.startswith(f"{SEARCH}=")]
    for override in set(overrides) - set(others):
        value = parsed([override])[0].value()
        if not isinstance(value, list):
            raise ConfigError([f"{override}: expected a list of folders, like {SEARCH}=[conf]"])
        given["searched"] = tuple(_place(str(folder)) for folder in value)
    return others, Configs(**given)


def _place(typed: str) -> str:
    """An entry of hydra.searchpath: a folder, or pkg://name.of.a.package."""
    scheme, separator, folder = typed.rpartition("://")
    return typed if separator and scheme != "file" else f"file://{_folder(SEARCH, folder)}"


def _folder(name: str, typed: str) -> Path:
    """A folder that was typed, absolute.

    Raises:
        ConfigError: there is no such folder.
    """
    try:
        path = Path(home(typed)).resolve()
    except ValueError as error:
        raise ConfigError([f"{name}: {error}"]) from error
    if not path.is_dir():
        raise ConfigError([f"{name}: there is no folder {path}"])
    return path


def _refuse_idle(overrides: Sequence[str], sweep: bool) -> None:
    """Nothing that was typed is ignored: of Hydra's own keys most change nothing here.

    Raises:
        ConfigError: naming each of those.
    """
    advice = (
        "a run writes only into run_dir, and the jobs of a sweep (-m) into folders of RUN_DIR_sweep; of Hydra's own "
        f"keys {SEARCH} is read, in a sweep also hydra.sweeper.* and hydra/sweeper"
    )
    allowed = ("hydra.sweeper.", "hydra/sweeper=") if sweep else ()
    idle = [override for override in overrides if override.lstrip("+~").startswith(("hydra.", "hydra/"))]
    if problems := [f"{override}: {advice}" for override in idle if not override.lstrip("+").startswith(allowed)]:
        raise ConfigError(problems)


def _refuse_sweep(argv: Sequence[str]) -> None:
    """A sweep that the YAML files describe is not one run.

    Raises:
        ConfigError: with the command that runs it.
    """
    config = HydraConfig.get()
    params = config.sweeper.get("params")
    asked = f"hydra.sweeper.params: {', '.join(params)}" if params else "hydra.mode: MULTIRUN"
    if params or config.mode is RunMode.MULTIRUN:
        raise ConfigError(
            [
                f"the config describes a sweep ({asked}), which needs -m; for one run without it add --run; for the "
                f"sweep type:\n  {program.command('train')} -m {shlex.join(argv)}"
            ]
        )


def _hydra_answers(flags: argparse.Namespace, overrides: Sequence[str], configs: Configs) -> None:
    """What Hydra itself shows of the config; nothing is run."""
    if flags.cfg:
        tree = hydra_tree(overrides, configs)  # refused in our words
        if flags.resolve and plain_tree(tree).get("run_dir") == AUTO:
            overrides = [*overrides, f"run_dir={literal(auto_run_dir(overrides))}"]
    words = [f"--{name.replace('_', '-')}" for name in (*_QUESTIONS, "resolve") if getattr(flags, name) is True]
    words += [f"--{name}={getattr(flags, name)}" for name in ("cfg", "info", "package") if getattr(flags, name)]
    sys.argv = [sys.argv[0], *words, *configs.arguments(), *overrides]
    hydra_main(str(configs.folder), configs.main, version_base="1.3")(_runs_nothing)()


def _runs_nothing(_: object) -> None:
    """The task of a command line that only asks."""
