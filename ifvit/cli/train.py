"""`train.py` and `ifvit train`: one run, a sweep (-m), help, or Hydra's own output (--cfg, --info, ...)."""

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
from ifvit.config import ConfigError, expand_home
from ifvit.config.folder_names import AUTO, auto_run_dir
from ifvit.config.overrides import literal, parse_overrides, quote_overrides
from ifvit.launch import SEARCH, Configs, hydra_tree, plain_tree, run, validated_config
from ifvit.program import refuse
from ifvit.sweep.jobs import run_sweep

_QUESTIONS = ("hydra_help", "cfg", "info")


def train_command(argv: Sequence[str]) -> float | None:
    """Run the command line `argv`; the validation's objective of one run, else None.

    Ends the process with a status other than 0 when the command is refused, fails or stops before its last step.
    """
    console.guard()
    command = f"{program.command('train')} {shlex.join(argv)}".rstrip()
    flags = _flags(argv)
    try:
        if flags.help:
            print(help_text(flags.overrides, _search_path([], flags)[1].folders))
            return None
        overrides, configs = _search_path(quote_overrides(flags.overrides, sweep=flags.multirun), flags)
        if any(getattr(flags, name) for name in _QUESTIONS):
            _hydra_answers(flags, overrides, configs)
            return None
        _refuse_idle(overrides, flags.multirun)
        if flags.multirun:
            run_sweep(overrides, configs, command)
            return None
        config = validated_config(overrides, configs)
        if not flags.run:
            _refuse_sweep(argv)
    except ConfigError as error:
        refuse(error.problems)
    return run(config, command)


def _flags(argv: Sequence[str]) -> argparse.Namespace:
    """Hydra's flags and the overrides, in any order."""
    parser = get_args_parser()
    parser.allow_abbrev = False
    parser.error = lambda message: refuse([message])  # type: ignore[method-assign]  # the parser is Hydra's own
    check_options(parser, argv)
    flags = parser.parse_intermixed_args(list(argv))
    question = "--cfg" if flags.cfg else "--info" if flags.info else None
    problems = []
    if flags.experimental_rerun:
        problems.append("--experimental-rerun: runs code from a file; type the command again instead")
    if flags.multirun and (question or flags.run):
        problems.append(f"{question or '--run'}: is of one run; leave out -m")
    if flags.resolve and not flags.cfg:
        problems.append("--resolve: only with --cfg")
    if flags.shell_completion:
        problems.append(f"--shell-completion: of Hydra's; type {program.command('completion bash')}, zsh or fish")
    if problems:
        refuse(problems)
    return flags


def _search_path(overrides: Sequence[str], flags: argparse.Namespace) -> tuple[list[str], Configs]:
    """The overrides without hydra.searchpath, and all folders of YAML files.

    Raises:
        ConfigError: there is no such folder, or no list of them.
    """
    fields = {}
    if flags.config_name:
        fields["main"] = flags.config_name
    if flags.config_path:
        fields["folder"] = _folder("--config-path", flags.config_path)
    if flags.config_dir:
        fields["added"] = _folder("--config-dir", flags.config_dir)
    rest = [override for override in overrides if not override.startswith(f"{SEARCH}=")]
    for override in set(overrides) - set(rest):
        value = parse_overrides([override])[0].value()
        if not isinstance(value, list):
            raise ConfigError([f"{override}: expected a list of folders, like {SEARCH}=[conf]"])
        fields["searched"] = tuple(_place(str(folder)) for folder in value)
    return rest, Configs(**fields)


def _place(text: str) -> str:
    """An entry of hydra.searchpath: a folder, or pkg://name.of.a.package."""
    scheme, separator, folder = text.rpartition("://")
    return text if separator and scheme != "file" else f"file://{_folder(SEARCH, folder)}"


def _folder(name: str, text: str) -> Path:
    """The absolute path of a typed folder.

    Raises:
        ConfigError: there is no such folder.
    """
    try:
        path = Path(expand_home(text)).resolve()
    except ValueError as error:
        raise ConfigError([f"{name}: {error}"]) from error
    if not path.is_dir():
        raise ConfigError([f"{name}: there is no folder {path}"])
    return path


def _refuse_idle(overrides: Sequence[str], sweep: bool) -> None:
    """Refuse Hydra's own keys that have no effect here, so that no argument is ignored.

    Raises:
        ConfigError: naming each of them.
    """
    advice = (
        "a run writes only into run_dir, and the jobs of a sweep (-m) into folders of RUN_DIR_sweep; of Hydra's own "
        f"keys {SEARCH} is read, in a sweep also hydra.sweeper.* and hydra/sweeper"
    )
    prefixes = ("hydra.sweeper.", "hydra/sweeper=") if sweep else ()
    idle = [override for override in overrides if override.lstrip("+~").startswith(("hydra.", "hydra/"))]
    if problems := [f"{override}: {advice}" for override in idle if not override.lstrip("+").startswith(prefixes)]:
        raise ConfigError(problems)


def _refuse_sweep(argv: Sequence[str]) -> None:
    """Refuse a config that describes a sweep, where one run was typed.

    Raises:
        ConfigError: with the command that runs the sweep.
    """
    config = HydraConfig.get()
    params = config.sweeper.get("params")
    cause = f"hydra.sweeper.params: {', '.join(params)}" if params else "hydra.mode: MULTIRUN"
    if params or config.mode is RunMode.MULTIRUN:
        raise ConfigError(
            [
                f"the config describes a sweep ({cause}), which needs -m; for one run without it add --run; for the "
                f"sweep type:\n  {program.command('train')} -m {shlex.join(argv)}"
            ]
        )


def _hydra_answers(flags: argparse.Namespace, overrides: Sequence[str], configs: Configs) -> None:
    """Print Hydra's own output on the config; nothing is run."""
    if flags.cfg:
        tree = hydra_tree(overrides, configs)  # for its plain errors
        if flags.resolve and plain_tree(tree).get("run_dir") == AUTO:
            overrides = [*overrides, f"run_dir={literal(auto_run_dir(overrides))}"]
    words = [f"--{name.replace('_', '-')}" for name in (*_QUESTIONS, "resolve") if getattr(flags, name) is True]
    words += [f"--{name}={getattr(flags, name)}" for name in ("cfg", "info", "package") if getattr(flags, name)]
    sys.argv = [sys.argv[0], *words, *configs.arguments(), *overrides]
    hydra_main(str(configs.folder), configs.main, version_base="1.3")(_runs_nothing)()


def _runs_nothing(_: object) -> None:
    """Hydra's task, empty, where the config is only printed."""
