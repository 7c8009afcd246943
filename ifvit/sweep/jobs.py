"""A sweep: every combination of the values typed, checked before the first begins, each job in a process of its own.

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

from hydra import main as hydra_main
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from ifvit.config import Config, ConfigError, build, inherited
from ifvit.config.folder_names import AUTO, auto_run_dir, folder_name
from ifvit.config.overrides import literal, parsed, readable, values
from ifvit.launch import (
    EXIT_FAILED,
    EXIT_REFUSED,
    EXIT_RESUMABLE,
    PACKAGE,
    Configs,
    absent_roots,
    beside,
    composed,
    hydra_tree,
    plain_tree,
)
from ifvit.sweep.board import Board
from ifvit.sweep.interruptions import Interruptions
from ifvit.training.finished import finished
from ifvit.training.taken import taken

SUFFIX = "_sweep"  # RUN_DIR_sweep holds the jobs' run directories


def run_sweep(overrides: Sequence[str], configs: Configs, command: str) -> None:
    """Run every job whose config is valid, one after the other; one that fails keeps no other from running.

    overrides: as `readable` gives them for a sweep. command: how the sweep was typed. Ends the process with status 2
    when all jobs are refused, 1 when some are refused or fail, 75 when the sweep is stopped.

    Raises:
        ConfigError: what is wrong with the sweep itself.
    """
    tree = _tree(overrides, configs)
    node = tree.hydra
    if not node.launcher._target_.endswith(".BasicLauncher"):
        raise ConfigError(["hydra/launcher: the jobs of a sweep run one after the other; leave it out"])
    if OmegaConf.to_container(tree).get("run_dir") == AUTO:  # one folder for all jobs
        overrides = [*overrides, f"run_dir={literal(auto_run_dir(_fixed(overrides)))}"]
    with Interruptions() as interruptions:
        try:
            if not node.sweeper._target_.endswith(".BasicSweeper"):
                _plugin_sweep(overrides, configs, node.sweeper.get("params") or {}, interruptions)
                return
            params = [f"{key}={value}" for key, value in (node.sweeper.params or {}).items()]
            jobs = jobs_of([*readable(params, sweep=True), *overrides], configs)
            _run(jobs, configs, command, interruptions)
        except KeyboardInterrupt:
            print(f"the sweep was stopped; to go on:\n  {command}", file=sys.stderr)
            raise SystemExit(EXIT_RESUMABLE) from None


def jobs_of(overrides: Sequence[str], configs: Configs) -> dict[str, list[str]]:
    """The name and the overrides of every job; of a key that is typed twice the last counts.

    Raises:
        ConfigError: values that cannot be counted.
    """
    choices, swept = {}, set()
    with configs.loader() as loader:
        for override in parsed(overrides):
            key = override.get_key_element()
            if override.is_hydra_override():
                continue
            choices[key] = [override.input_line]
            swept.discard(key)
            if override.is_discrete_sweep():
                override.config_loader = loader  # knows the files of a group, for glob(*)
                choices[key] = [f"{key}={value}" for value in values(override)]
                swept.add(key)
            elif override.is_sweep_override():
                raise ConfigError([f"{override.input_line}: these values cannot be counted; type them, {key}=A,B"])
    return {job_name(job, swept): list(job) for job in itertools.product(*choices.values())}


def job_name(overrides: Sequence[str], swept: Collection[str]) -> str:
    """A folder name that says which job it is: the swept keys with their values, in no matter what order typed."""
    return folder_name(override for override in overrides if override.partition("=")[0] in swept) or "only"


def _fixed(overrides: Sequence[str]) -> list[str]:
    """The overrides that all jobs share."""
    return [override.input_line for override in parsed(overrides) if not override.is_sweep_override()]


def _tree(overrides: Sequence[str], configs: Configs) -> DictConfig:
    """The config that the jobs share, with Hydra's own node, which names the sweeper.

    Raises:
        ConfigError: no config can be composed.
    """
    fixed = _fixed(overrides)
    try:
        return hydra_tree(fixed, configs)
    except ConfigError as error:  # a config of one's own may leave a group to the sweep
        for job in jobs_of(overrides, configs).values():
            with suppress(ConfigError):
                return hydra_tree([*fixed, *job], configs)
        raise error


def _run(jobs: Mapping[str, Sequence[str]], configs: Configs, command: str, interruptions: Interruptions) -> None:
    """Check all jobs, then run those that can be run."""
    valid, problems = {}, {}
    for name, overrides in jobs.items():
        try:
            valid[name] = _composed(name, overrides, configs)
        except ConfigError as error:
            problems[name] = error.problems
    _report(problems, len(jobs))
    _refuse_taken(list(valid.values()), command)
    if valid and problems:
        print(f"{len(problems)} of {len(jobs)} sweep jobs cannot be run; the others are", file=sys.stderr)
    statuses = dict.fromkeys(problems, EXIT_REFUSED)
    board = Board(jobs)
    for name in problems:
        board.ended(name, EXIT_REFUSED)
    with board.shown():
        for name, config in valid.items():
            if status := _job(name, jobs[name], config, configs, interruptions, board):
                statuses[name] = status
    if statuses and valid:
        print(f"error: {len(statuses)} of {len(jobs)} sweep jobs failed: {', '.join(statuses)}", file=sys.stderr)
    if statuses:
        refused = len(statuses) == len(jobs) and set(statuses.values()) == {EXIT_REFUSED}
        raise SystemExit(EXIT_REFUSED if refused else EXIT_FAILED)


def _composed(name: str, overrides: Sequence[str], configs: Configs) -> Config:
    """The config of a job, with its own run directory.

    Raises:
        ConfigError: it cannot be run.
    """
    config = _in_own_folder(name, composed(overrides, configs))
    if not finished(config) and (problems := absent_roots(config)):
        raise ConfigError(problems)
    return config


def _in_own_folder(name: str, config: Config) -> Config:
    return dataclasses.replace(config, run_dir=f"{config.run_dir}{SUFFIX}/{name}")


def _refuse_taken(configs: Sequence[Config], command: str) -> None:
    """Refuse the whole sweep where folders of its jobs belong to other runs.

    Raises:
        ConfigError: with a command that can run.
    """
    found = [(config, problem) for config in configs if (problem := taken(config))]
    if not found:
        return
    first, problem = found[0]
    others = f", and {len(found) - 1} more of {len(configs)} jobs' folders are taken too" if len(found) > 1 else ""
    sweep_dir = str(Path(first.run_dir).parent).removesuffix(SUFFIX)
    raise ConfigError(
        [
            f"run_dir: {problem}{others}; no job was begun: repeat the earlier settings to go on with that sweep, or "
            f"set another run_dir:\n  {beside(command, sweep_dir, SUFFIX)}"
        ]
    )


def _report(problems: Mapping[str, Sequence[str]], total: int) -> None:
    """Every problem of the jobs that cannot be run; what all jobs share only once."""
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
    """The exit status of a job in a process of its own.

    Raises:
        KeyboardInterrupt: the sweep is to be stopped; the job has saved.
    """
    board.begun(name, Path(config.run_dir), config.stage)
    print(f"sweep job {name} -> {config.run_dir}", flush=True)
    typed = [override for override in overrides if not override.startswith("run_dir=")]
    arguments = ["--run", *configs.arguments(), *typed, f"run_dir={literal(config.run_dir)}"]
    command = [sys.executable, "-m", "ifvit", "train", *arguments]
    paths = [str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")]
    status = interruptions.run(command, os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))})
    stopped = interruptions.stopped or status == EXIT_RESUMABLE
    board.ended(name, EXIT_RESUMABLE if stopped else status)
    if stopped:
        raise KeyboardInterrupt
    if status:
        print(f"error: sweep job {name} ended with status {status}", file=sys.stderr)
    return status


def _plugin_sweep(
    overrides: Sequence[str], configs: Configs, params: Mapping[str, str], interruptions: Interruptions
) -> None:
    """A sweep whose jobs a sweeper of Hydra's plugins draws, each after the objectives of those before it."""
    swept = {override.get_key_element() for override in parsed(overrides) if override.is_sweep_override()} | set(params)
    failed, board = [], Board()

    def objective(tree: DictConfig) -> float:
        job = list(HydraConfig.get().overrides.task)
        name = job_name(job, swept)
        try:
            config = _in_own_folder(name, build(inherited(plain_tree(tree), job)))
        except ConfigError as error:
            _report({name: error.problems}, 0)
            board.ended(name, EXIT_REFUSED)
            failed.append(name)
            return math.nan
        if _job(name, job, config, configs, interruptions, board):
            failed.append(name)
            return math.nan
        return board.objective(name)

    # What the plugin writes itself lands beside the jobs.
    folder = f"${{run_dir}}{SUFFIX}"
    sys.argv = [sys.argv[0], "-m", *configs.arguments(), *overrides, f"hydra.sweep.dir='{folder}'"]
    with board.shown():
        hydra_main(str(configs.folder), configs.main, version_base="1.3")(objective)()
    if failed:
        print(f"error: {len(failed)} sweep jobs failed: {', '.join(failed)}", file=sys.stderr)
        raise SystemExit(EXIT_FAILED)
