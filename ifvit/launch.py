"""From a typed command to a run: Hydra composes the config, the schema validates it, one stage trains.

JAX is imported only once a config is valid and a run is to begin: a typing error is answered at once, and the parent
of a sweep takes no GPU from its children.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra import main as hydra_main
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ifvit import console
from ifvit.config import Config, ConfigError, build, inherited, near

PACKAGE = Path(__file__).resolve().parent
EXIT_REFUSED = 2  # the command, the config or a file must be changed before it can run
EXIT_FAILED = 1
EXIT_RESUMABLE = 75  # stopped on purpose, saved; the same command goes on (EX_TEMPFAIL of sysexits.h)
LONGEST_NAME = 150  # characters of a sweep job's folder name; file systems take 255


def config_dir() -> Path:
    """The YAML tree: inside the package when installed from a wheel, beside it in a checkout."""
    shipped = PACKAGE / "configs"
    return shipped if shipped.is_dir() else PACKAGE.parent / "configs"


def train_command(argv: Sequence[str], program: Sequence[str]) -> float:
    """`train.py` and `python -m ifvit train`: run what `argv` says; the validation's objective.

    program: how this command was typed, for the line that says how to resume. Ends the process with a status other
    than 0 when the run is refused, fails or stops before its last step.
    """
    argv = list(argv)
    console.guard()
    if any(arg.startswith("-") for arg in argv):  # -m, --help, --cfg, ...: Hydra's own command line
        return _hydra_command(argv)
    config = compose_config(argv)
    return run(config, shlex.join([*program, *argv]))


def compose_config(overrides: Sequence[str]) -> Config:
    """The validated config of Hydra overrides; a refusal is printed, one line a problem, and ends the process."""
    try:
        return build(inherited(compose_tree(overrides), overrides))
    except ConfigError as error:
        refuse(error.problems)
    except (HydraException, OmegaConfBaseException) as error:
        refuse([_in_one_line(error)])


def compose_tree(overrides: Sequence[str]) -> dict[str, Any]:
    """What Hydra makes of the overrides, as a plain nested dict."""
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        tree = compose("train", list(overrides), return_hydra_config=True)
        HydraConfig.instance().set_config(tree)
        return plain_tree(tree)


def plain_tree(tree: DictConfig) -> dict[str, Any]:
    """The config without Hydra's own node, interpolations resolved."""
    settings = OmegaConf.masked_copy(tree, [key for key in tree if key != "hydra"])
    return OmegaConf.to_container(settings, resolve=True, throw_on_missing=True)


def _in_one_line(error: Exception) -> str:
    """Hydra's message without its advice to add unknown keys with '+', which the schema would refuse."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    unknown = re.match(r"Could not override '([^']+)'", lines[0]) if lines else None
    if unknown:
        return f"{unknown[1]}: unknown key; {near(unknown[1])}"
    absent = re.search(r"Could not find '([^'/]+)/([^']+)'", " ".join(lines))
    if absent and (config_dir() / absent[1]).is_dir():
        group, name = absent.groups()
        known = sorted(path.stem for path in (config_dir() / group).glob("*.yaml") if path.stem != "base")
        close = difflib.get_close_matches(name, known, n=1)
        meant = f"did you mean {close[0]}? " if close else ""
        return f"{group}={name}: there is no such choice; {meant}known are {', '.join(known)}"
    return " ".join(lines).partition(" Config search path:")[0]


def refuse(problems: Sequence[str]) -> None:
    """Say what is wrong and end the process."""
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    raise SystemExit(EXIT_REFUSED)


def run(config: Config, command: str) -> float:
    """Train; the validation's objective. The border at which every error becomes a line and a status."""
    prepare_process()
    try:
        outcome = _trained(config)
    except KeyboardInterrupt:
        print(f"stopped before training began; to start again:\n  {command}", file=sys.stderr)
        raise SystemExit(EXIT_RESUMABLE) from None
    if outcome.stopped:
        print(f"{outcome.stopped}; to go on:\n  {command}", file=sys.stderr)
        raise SystemExit(EXIT_RESUMABLE)
    return outcome.value


def _trained(config: Config) -> Any:
    """The outcome of training; an error is said in a line and ends the process."""
    from ifvit.training.loop import train  # JAX comes with it
    from ifvit.training.refusals import FAILURES, MEMORY, REFUSALS

    try:
        return train(config)
    except REFUSALS as error:
        refuse([str(error)])
    except FAILURES as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(EXIT_FAILED) from error
    except OSError as error:
        print(
            f"error: a file could not be read or written ({error}). The states saved in {config.run_dir} are "
            "untouched: see to it (is the disk full?) and run the same command again",
            file=sys.stderr,
        )
        raise SystemExit(EXIT_FAILED) from error
    except MEMORY as error:
        reason = (str(error).strip().splitlines() or ["out of memory"])[0][:300]
        print(
            f"error: the device gave up ({reason}). If memory ran out, set trainer.accumulate=2 or a smaller "
            "trainer.batch_size or data.image_size",
            file=sys.stderr,
        )
        raise SystemExit(EXIT_FAILED) from error


def prepare_process() -> None:
    """Settings that libraries read when they are imported; SIGTERM and SIGHUP stop the command as Ctrl-C does."""
    console.guard()
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup asks for
        signal.signal(signal.SIGHUP, _interrupt)
    # One seed, one result: without it some GPU kernels add in whatever order they finish.
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_gpu_deterministic_ops" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    import logging

    for name in ("jax", "orbax"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Through absl Grain and Orbax warn of features that are not used here; what goes wrong they raise.
    logging.getLogger("absl").setLevel(logging.ERROR)


def _interrupt(number: int, _: object) -> None:
    # A terminal that closes sends SIGHUP itself, and its shell sends another: the second must not hinder the first.
    if number == signal.SIGHUP:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _hydra_command(argv: Sequence[str]) -> float:
    """Sweeps (-m) and Hydra's own flags, through Hydra's command line."""
    result: list[float] = []
    failed: list[str] = []

    def task(tree: DictConfig) -> float:
        if HydraConfig.get().mode is RunMode.MULTIRUN:
            result.append(sweep_job(HydraConfig.get().overrides.task, swept_keys(argv), plain_tree(tree), failed))
        else:
            overrides = HydraConfig.get().overrides.task
            result.append(run(_built(plain_tree(tree), overrides), shlex.join(sys.argv)))
        return result[-1]

    if set(argv) & {"-m", "--multirun"}:
        # Refused here, in our words, before Hydra starts the first job. Its own file lands beside the jobs.
        argv = [*argv, f"hydra.sweep.dir={quoted(compose_config(first_job(argv)).run_dir + '_sweep')}"]
    sys.argv = [sys.argv[0], *argv]
    hydra_main(str(config_dir()), "train", version_base="1.3")(task)()
    if failed:
        print(f"error: {len(failed)} of {len(result)} sweep jobs failed: {', '.join(failed)}", file=sys.stderr)
        raise SystemExit(EXIT_FAILED)
    return result[-1] if result else math.nan


def _built(tree: Mapping[str, Any], overrides: Sequence[str]) -> Config:
    try:
        return build(inherited(tree, overrides))
    except ConfigError as error:
        refuse(error.problems)


def _parsed(argv: Sequence[str]) -> list[Override]:
    try:
        return OverridesParser.create().parse_overrides([arg for arg in argv if not arg.startswith("-")])
    except HydraException as error:
        refuse([_in_one_line(error)])


def first_job(argv: Sequence[str]) -> list[str]:
    """The overrides of a sweep's first job; a key that a sweeper draws at random (interval) keeps its default."""
    overrides = []
    for parsed in _parsed(argv):
        if not parsed.is_sweep_override():
            overrides.append(parsed.input_line)
        elif parsed.is_discrete_sweep():
            overrides.append(f"{parsed.get_key_element()}={next(parsed.sweep_string_iterator())}")
    return overrides


def swept_keys(argv: Sequence[str]) -> set[str]:
    """The keys that a sweep's command line gives several values."""
    return {parsed.get_key_element() for parsed in _parsed(argv) if parsed.is_sweep_override()}


def sweep_job(overrides: Sequence[str], swept: Collection[str], tree: Mapping[str, Any], failed: list[str]) -> float:
    """One job of a sweep, in a process and a run directory of its own; its validation's exact cell accuracy.

    A job that failed on the way, like one whose loss diverged, is added to `failed`, counts as nan, and the sweep goes
    on. One that was refused or stopped ends the sweep; it goes on when the sweep is typed again.
    """
    name = job_name(overrides, swept)
    config = _built(tree, overrides)
    directory = f"{config.run_dir}_sweep/{name}"
    print(f"sweep job {name} -> {directory}", flush=True)
    kept = [override for override in overrides if not override.startswith("run_dir=")]
    command = [sys.executable, "-m", "ifvit", "train", *kept, f"run_dir={quoted(directory)}"]
    paths = [str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")]
    status = _wait(subprocess.Popen(command, env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}))
    if status:
        print(f"error: sweep job {name} ended with status {status}", file=sys.stderr)
    if status == EXIT_FAILED:
        failed.append(name)
        return math.nan
    if status:
        raise SystemExit(status if status > 0 else EXIT_FAILED)
    value = json.loads((Path(directory) / "metrics.json").read_text())[config.stage.objective]
    return math.nan if value is None else float(value)


def _wait(child: subprocess.Popen) -> int:
    """The child's exit status. Signals are the child's, which saves before it ends: Ctrl-C reaches it by itself.

    A closed terminal sends SIGHUP to both, and a repeated one does the child no harm.
    """
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda number, _: child.send_signal(number)),
    }
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, lambda number, _: child.send_signal(number))
    try:
        return child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def job_name(overrides: Sequence[str], swept: Collection[str]) -> str:
    """A folder name that says which job it is: the swept keys with their values, in no matter what order typed."""
    chosen = sorted(override for override in overrides if override.partition("=")[0] in swept)
    name = re.sub(r"[^A-Za-z0-9_.,=+-]", "_", ",".join(chosen)) or "only"
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[:LONGEST_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def quoted(text: str) -> str:
    """A text as Hydra's override grammar takes any text."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
