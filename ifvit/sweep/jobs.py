"""A sweep: every combination of the typed values, all checked before the first job begins, one process each.

Hydra would run all jobs in one process, where JAX keeps the first job's memory and device settings.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from hydra import main as hydra_main
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from ifvit.config import Config, ConfigError, FilePath, build, inherit_network
from ifvit.config.folder_names import AUTO, auto_run_dir, folder_name
from ifvit.config.overrides import literal, parse_overrides, quote_overrides, sweep_values
from ifvit.launch import (
    EXIT_FAILED,
    EXIT_REFUSED,
    EXIT_RESUMABLE,
    PACKAGE,
    Configs,
    absent_roots,
    beside,
    hydra_tree,
    plain_tree,
    validated_config,
)
from ifvit.sweep.board import Board
from ifvit.sweep.interruptions import Interruptions
from ifvit.training.finished import finished
from ifvit.training.taken import taken

SUFFIX = "_sweep"  # RUN_DIR_sweep holds the jobs' run directories


def run_sweep(overrides: Sequence[str], configs: Configs, command: str) -> None:
    """Run every job whose config is valid, one after the other. After a failed job the others still run.

    overrides: as `quote_overrides` returns them for a sweep.
    command: the sweep as typed.
    Ends the process with status 2 when all jobs are refused, 1 when some are refused or fail, 75 when the sweep is
    stopped.

    Raises:
        ConfigError: of the sweep itself.
    """
    tree = _tree(overrides, configs)
    node = tree.hydra
    if not node.launcher._target_.endswith(".BasicLauncher"):
        raise ConfigError(["hydra/launcher: the jobs of a sweep run one after the other; leave it out"])
    if cast(dict[str, Any], OmegaConf.to_container(tree)).get("run_dir") == AUTO:  # one folder for all jobs
        overrides = [*overrides, f"run_dir={literal(auto_run_dir(_shared_overrides(overrides)))}"]
    with Interruptions() as interruptions:
        try:
            if not node.sweeper._target_.endswith(".BasicSweeper"):
                _plugin_sweep(overrides, configs, node.sweeper.get("params") or {}, interruptions)
                return
            params = [f"{key}={value}" for key, value in (node.sweeper.params or {}).items()]
            jobs = jobs_of([*quote_overrides(params, sweep=True), *overrides], configs)
            _run(jobs, configs, command, interruptions)
        except KeyboardInterrupt:
            print(f"the sweep was stopped; to go on:\n  {command}", file=sys.stderr)
            raise SystemExit(EXIT_RESUMABLE) from None


def jobs_of(overrides: Sequence[str], configs: Configs) -> dict[str, list[str]]:
    """The name and the overrides of every job. Of a key that is typed twice, the last override counts.

    Raises:
        ConfigError: values that cannot be counted.
    """
    choices: dict[str, list[str]] = {}
    sweep_keys = set()
    with configs.loader() as loader:
        for override in parse_overrides(overrides):
            key = override.get_key_element()
            if override.is_hydra_override():
                continue
            choices[key] = [_line_of(override)]
            sweep_keys.discard(key)
            if override.is_discrete_sweep():
                override.config_loader = loader  # finds the files of a group, for glob(*)
                choices[key] = [f"{key}={value}" for value in sweep_values(override)]
                sweep_keys.add(key)
            elif override.is_sweep_override():
                raise ConfigError([f"{override.input_line}: these values cannot be counted; type them, {key}=A,B"])
    return {job_name(job, sweep_keys): list(job) for job in itertools.product(*choices.values())}


def job_name(overrides: Sequence[str], sweep_keys: Collection[str]) -> str:
    """The folder name of a job: the sweep's keys with the job's values, independent of the typed order."""
    return folder_name(override for override in overrides if override.partition("=")[0] in sweep_keys) or "only"


def _shared_overrides(overrides: Sequence[str]) -> list[str]:
    """The overrides that all jobs share."""
    return [_line_of(override) for override in parse_overrides(overrides) if not override.is_sweep_override()]


def _line_of(override: Override) -> str:
    """A parsed override as it was typed."""
    assert override.input_line is not None
    return override.input_line


def _tree(overrides: Sequence[str], configs: Configs) -> DictConfig:
    """The config that all jobs share, with Hydra's own node, which names the sweeper.

    Raises:
        ConfigError: no config can be composed.
    """
    shared = _shared_overrides(overrides)
    try:
        return hydra_tree(shared, configs)
    except ConfigError as error:  # the user's config may leave a group to the sweep
        for job in jobs_of(overrides, configs).values():
            with suppress(ConfigError):
                return hydra_tree([*shared, *job], configs)
        raise error


def _run(jobs: Mapping[str, Sequence[str]], configs: Configs, command: str, interruptions: Interruptions) -> None:
    """Check all jobs, then run the valid ones."""
    valid, problems = {}, {}
    for name, overrides in jobs.items():
        try:
            valid[name] = _config_of(name, overrides, configs)
        except ConfigError as error:
            problems[name] = error.problems
    _print_problems(problems, len(jobs))
    _refuse_taken(list(valid.values()), command)
    if valid and problems:
        print(f"{len(problems)} of {len(jobs)} sweep jobs cannot be run; the others are", file=sys.stderr)
    statuses = dict.fromkeys(problems, EXIT_REFUSED)
    board = Board(jobs)
    for name in problems:
        board.end(name, EXIT_REFUSED)
    with board.print_at_end():
        for name, config in valid.items():
            if status := _job(name, jobs[name], config, configs, interruptions, board):
                statuses[name] = status
    if statuses and valid:
        print(
            f"error: {len(statuses)} of {len(jobs)} sweep jobs did not finish: {', '.join(statuses)}", file=sys.stderr
        )
    if statuses:
        all_refused = len(statuses) == len(jobs) and set(statuses.values()) == {EXIT_REFUSED}
        raise SystemExit(EXIT_REFUSED if all_refused else EXIT_FAILED)


def _config_of(name: str, overrides: Sequence[str], configs: Configs) -> Config:
    """The config of a job, with its own run directory.

    Raises:
        ConfigError: the job cannot be run.
    """
    config = _in_own_folder(name, validated_config(overrides, configs))
    if not finished(config) and (problems := absent_roots(config)):
        raise ConfigError(problems)
    return config


def _in_own_folder(name: str, config: Config) -> Config:
    return dataclasses.replace(config, run_dir=FilePath(f"{config.run_dir}{SUFFIX}/{name}"))


def _refuse_taken(configs: Sequence[Config], command: str) -> None:
    """Refuse the sweep where folders of its jobs belong to other runs.

    Raises:
        ConfigError: with a command that can be run.
    """
    problems = [(config, problem) for config in configs if (problem := taken(config))]
    if not problems:
        return
    first_config, problem = problems[0]
    rest = f", and {len(problems) - 1} more of {len(configs)} jobs' folders are taken too" if len(problems) > 1 else ""
    sweep_dir = str(Path(first_config.run_dir).parent).removesuffix(SUFFIX)
    raise ConfigError(
        [
            f"run_dir: {problem}{rest}; no job was begun: repeat the earlier settings to go on with that sweep, or "
            f"set another run_dir:\n  {beside(command, sweep_dir, SUFFIX)}"
        ]
    )


def _print_problems(problems: Mapping[str, Sequence[str]], total: int) -> None:
    """Print every problem of the refused jobs; a problem that all jobs share is printed once."""
    shared = set.intersection(*map(set, problems.values())) if len(problems) == total else set()
    for line in dict.fromkeys(itertools.chain(*problems.values())):
        if line in shared:
            print(f"error: {line}", file=sys.stderr)
    for name, lines in problems.items():
        for line in lines:
            if line not in shared:
                print(f"error: sweep job {name}: {line}", file=sys.stderr)


def _job(
    name: str,
    overrides: Sequence[str],
    config: Config,
    configs: Configs,
    interruptions: Interruptions,
    board: Board,
) -> int:
    """Run a job in its own process; its exit status.

    Raises:
        KeyboardInterrupt: the sweep was stopped; the job has saved.
    """
    board.begin(name, Path(config.run_dir), config.stage)
    print(f"sweep job {name} -> {config.run_dir}", flush=True)
    own_overrides = [override for override in overrides if not override.startswith("run_dir=")]
    arguments = ["--run", *configs.arguments(), *own_overrides, f"run_dir={literal(config.run_dir)}"]
    command = [sys.executable, "-m", "ifvit", "train", *arguments]
    paths = [str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")]
    status = interruptions.run(command, os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))})
    is_stopped = interruptions.stopped or status == EXIT_RESUMABLE
    board.end(name, EXIT_RESUMABLE if is_stopped else status)
    if is_stopped:
        raise KeyboardInterrupt
    if status:
        print(f"error: sweep job {name} ended with status {status}", file=sys.stderr)
    return status


def _plugin_sweep(
    overrides: Sequence[str], configs: Configs, params: Mapping[str, str], interruptions: Interruptions
) -> None:
    """A sweep by one of Hydra's plugins, which draws each job after the objectives of the earlier ones."""
    typed = (override for override in parse_overrides(overrides) if override.is_sweep_override())
    sweep_keys = {override.get_key_element() for override in typed} | set(params)
    failures, board = [], Board()

    def objective(tree: DictConfig) -> float:
        job = list(HydraConfig.get().overrides.task)
        name = job_name(job, sweep_keys)
        try:
            config = _in_own_folder(name, build(inherit_network(plain_tree(tree), job)))
        except ConfigError as error:
            _print_problems({name: error.problems}, 0)
            board.end(name, EXIT_REFUSED)
            failures.append(name)
            return math.nan
        if _job(name, job, config, configs, interruptions, board):
            failures.append(name)
            return math.nan
        return board.objective(name)

    # The plugin's own files are written beside the jobs.
    folder = f"${{run_dir}}{SUFFIX}"
    sys.argv = [sys.argv[0], "-m", *configs.arguments(), *overrides, f"hydra.sweep.dir='{folder}'"]
    with board.print_at_end():
        hydra_main(str(configs.folder), configs.main, version_base="1.3")(objective)()
    if failures:
        print(f"error: {len(failures)} sweep jobs did not finish: {', '.join(failures)}", file=sys.stderr)
        raise SystemExit(EXIT_FAILED)
