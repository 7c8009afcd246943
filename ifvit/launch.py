"""From overrides to a run: Hydra composes the config, the schema validates it, one stage trains.

JAX is imported only once a config is valid and a run is to begin: a typing error is answered at once, and the parent
of a sweep takes no GPU from its children.
"""

from __future__ import annotations

import difflib
import itertools
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ifvit import console, program
from ifvit.config import Config, ConfigError, Source, at_home, build, inherited, missing_extras, near
from ifvit.config.folder_names import AUTO, AUTO_PARENT, auto_run_dir
from ifvit.config.overrides import literal, parsed, readable, typed
from ifvit.config.places import composed_files, located
from ifvit.config.yaml_files import BASE, MAIN, config_dir, groups
from ifvit.config.yaml_files import PACKAGE as PACKAGE
from ifvit.databases.listing import check_root
from ifvit.errors import DataError, UserError
from ifvit.program import EXIT_FAILED, EXIT_RESUMABLE, refuse
from ifvit.program import EXIT_REFUSED as EXIT_REFUSED
from ifvit.training.finished import finished

SEARCH = "hydra.searchpath"  # the one of Hydra's own keys that a run reads: more folders of YAML files
# What Hydra raises of overrides and of YAML files, people's own among them.
_UNCOMPOSABLE = (HydraException, OmegaConfBaseException, yaml.YAMLError, OSError, ValueError)


class Configs(NamedTuple):
    """Where YAML files are looked for, and the one that lists the groups. Folders are absolute."""

    main: str = MAIN
    folder: Path = config_dir()
    added: Path | None = None  # --config-dir
    searched: tuple[str, ...] = ()  # hydra.searchpath

    def arguments(self) -> list[str]:
        """What says the same on Hydra's command line."""
        flags = {"name": self.main, "path": self.folder, "dir": self.added}
        given = [f"--config-{key}={value}" for key, value in flags.items() if value not in (*_DEFAULT[:2], None)]
        return [*given, *([f"{SEARCH}=[{','.join(map(literal, self.searched))}]"] if self.searched else [])]

    @property
    def folders(self) -> list[Path]:
        """Those of them that are folders, the first looked into first."""
        searched = [Path(place.removeprefix("file://")) for place in self.searched if place.startswith("file://")]
        return [self.folder, *([self.added] if self.added else []), *searched]

    @contextmanager
    def loader(self) -> Iterator[ConfigLoader]:
        """Hydra, set up to compose; what it loads files with."""
        with initialize_config_dir(str(self.folder), version_base="1.3"):
            hydra = GlobalHydra.instance().hydra
            search = hydra.config_loader.get_search_path()
            for path in (*([f"file://{self.added}"] if self.added else []), *self.searched):
                search.prepend("command-line", path, anchor=SearchPathQuery(provider="schema"))
            hydra.config_loader = type(hydra.config_loader)(search)
            yield hydra.config_loader


_DEFAULT = Configs()


def compose_config(overrides: Sequence[str]) -> Config:
    """The validated config of Hydra overrides; a refusal is printed, one line a problem, and ends the process."""
    try:
        return composed(overrides)
    except ConfigError as error:
        refuse(error.problems)


def composed(overrides: Sequence[str], configs: Configs = _DEFAULT) -> Config:
    """The validated config of Hydra overrides.

    Raises:
        ConfigError: naming every problem.
    """
    try:
        config = build(inherited(compose_tree(overrides, configs), overrides))
    except ConfigError as error:
        raise ConfigError(_located(error.problems, overrides, configs)) from error
    if problems := missing_extras(config):
        raise ConfigError(problems)
    return config


def _located(problems: Sequence[str], overrides: Sequence[str], configs: Configs) -> list[str]:
    """What is wrong, with the file in which it stands, where the files can be composed at all."""
    with suppress(*_UNCOMPOSABLE), configs.loader() as loader:
        files = composed_files(loader, configs.main, readable(overrides), configs.folders)
        return located(problems, overrides, files)
    return list(problems)


def compose_tree(overrides: Sequence[str], configs: Configs = _DEFAULT) -> dict[str, Any]:
    """What Hydra makes of the overrides, as a plain nested dict, the ~ of its paths and run_dir=auto replaced.

    Raises:
        ConfigError: an override that cannot be read or composed, or a path of no user's home.
    """
    tree = plain_tree(hydra_tree(readable(overrides), configs))
    return tree | {"run_dir": auto_run_dir(overrides)} if tree.get("run_dir") == AUTO else tree


def hydra_tree(overrides: Sequence[str], configs: Configs = _DEFAULT) -> DictConfig:
    """The config with Hydra's own node `hydra`.

    Raises:
        ConfigError: an override that cannot be composed.
    """
    with _in_our_words(overrides, configs), configs.loader():
        _refuse_bases(overrides, configs)
        tree = compose(configs.main, list(overrides), return_hydra_config=True)
        HydraConfig.instance().set_config(tree)
        return tree


def plain_tree(tree: DictConfig) -> dict[str, Any]:
    """The config without Hydra's own node, interpolations and ~ resolved.

    Raises:
        ConfigError: a value that cannot be resolved, or a path of no user's home.
    """
    settings = OmegaConf.masked_copy(tree, [key for key in tree if key != "hydra"])
    with _in_our_words():
        return at_home(OmegaConf.to_container(settings, resolve=True, throw_on_missing=True))


@contextmanager
def _in_our_words(overrides: Sequence[str] = (), configs: Configs = _DEFAULT) -> Iterator[None]:
    try:
        yield
    except ConfigError:
        raise
    except _UNCOMPOSABLE as error:
        raise ConfigError([_in_one_line(error, overrides, configs)]) from error


def _in_one_line(error: Exception, overrides: Sequence[str], configs: Configs) -> str:
    """Hydra's message without its advice to add unknown keys with '+', which the schema would refuse."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    unknown = re.match(r"Could not override '([^']+)'", lines[0]) if lines else None
    if unknown:
        value = next((text.partition("=")[2] for text in overrides if text.startswith(f"{unknown[1]}=")), "")
        value = value.strip("'")
        return f"{unknown[1]}: unknown key; {_meant(unknown[1], value, groups(configs.folders))}"
    absent = re.search(r"Could not find '((?:hydra/)?[^'/]+)/([^']*)'", " ".join(lines))
    known = [name for name in re.findall(r"^\t(\S+)$", str(error), re.MULTILINE) if name != BASE]
    if absent and known:
        return _no_choice(absent[1], absent[2], known)
    if several := re.match(r"Ambiguous value for argument '([^=]+)=(.*)'", lines[0] if lines else ""):
        key, value = several.groups()
        return f"{key}={value}: one value is expected; a list is '{key}=[{value}]', and several jobs need -m"
    if key := getattr(error, "full_key", None):
        return f"{key}: {lines[0]}"
    return " ".join(lines).partition(" Config search path:")[0]


def _refuse_bases(overrides: Sequence[str], configs: Configs) -> None:
    """A group's base file, on which its choices build, is no choice."""
    for override in parsed(overrides):
        group, choice = override.key_or_group, override.value()
        if choice in (BASE, None) and not override.is_delete() and (known := groups(configs.folders).get(group)):
            raise ConfigError([_no_choice(group, choice or "null", known)])


def _no_choice(group: str, name: str, known: Sequence[str]) -> str:
    path = Path(name)
    close = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    if group == "data" and path.exists():
        hint = f"for the prints in it type data=folder {typed('data.root', name)}, or their database, like data=fvc; "
    elif path.is_file() and path.parent.name == group:
        place = shlex.quote(str(path.parent.parent))
        hint = f"for this file type --config-dir {place} {group}={literal(path.stem)}; "
    return f"{group}={name}: there is no such choice; {hint}known are {', '.join(known)}"


def _meant(key: str, value: str, choices: Mapping[str, Sequence[str]]) -> str:
    """What an unknown key may have been meant to be: a key, a group, the choice of a group; else all that exist."""
    hint = near(key)
    if "." in key:
        return hint
    close = difflib.get_close_matches(key, choices, n=1, cutoff=0.8)
    if owners := [group for group in close or choices if value in choices[group]]:
        return f"did you mean {' or '.join(f'{group}={value}' for group in owners)}?"
    if close:
        return f"did you mean the group {close[0]}? its choices are {', '.join(choices[close[0]])}"
    if hint.startswith("did you mean"):
        return hint
    return f"{hint}; groups are {', '.join(choices)}; see {program.command('train --help')}"


def run(config: Config, command: str) -> float:
    """Train; the validation's objective. The border at which every error becomes a line and a status.

    command: as it was typed, for the lines that say how to go on. Of a run that has made all its steps only what came
    out is told: neither its data nor JAX are needed.
    """
    prepare_process()
    if before := finished(config):
        print(before.text)
        return before.value
    if problems := absent_roots(config):
        refuse(problems)
    try:
        outcome = _trained(config, command)
    except KeyboardInterrupt:
        print(f"stopped before training began; to start again:\n  {command}", file=sys.stderr)
        raise program.Stopped from None
    if outcome.stopped:
        print(f"{outcome.stopped}; to go on:\n  {command}", file=sys.stderr)
        raise SystemExit(EXIT_RESUMABLE)
    return outcome.value


def absent_roots(config: Config) -> list[str]:
    """A line for every folder of images that is not there."""
    problems = []
    for name, part in config.data.parts.items():
        if part.source not in (Source.synthetic, Source.manifest, Source.prepared):
            try:
                check_root(Path(part.root), config.data.key_of(name))
            except DataError as error:
                problems.append(str(error))
    return problems


def elsewhere(command: str, run_dir: str) -> str:
    """The command with another run directory: a free one beside the one that was typed, `auto` where none was."""
    words = shlex.split(command)
    if not any(map(_is_run_dir, words)) and AUTO_PARENT not in PurePosixPath(run_dir).parents:
        return f"{command} run_dir={AUTO}"
    return beside(command, run_dir)


def beside(command: str, run_dir: str, suffix: str = "") -> str:
    """The command with a free run directory beside `run_dir`; suffix: what is added to the name of its folder."""
    folder = Path(run_dir)
    names = (folder.with_name(f"{folder.name}-{k}") for k in itertools.count(2))
    free = next(path for path in names if not Path(f"{path}{suffix}").exists())
    kept = [word for word in shlex.split(command) if not _is_run_dir(word)]
    return f"{shlex.join(kept)} {typed('run_dir', free)}"


def _is_run_dir(word: str) -> bool:
    return word.lstrip("+").startswith("run_dir=")


def _trained(config: Config, command: str) -> Any:
    """The outcome of training; an error is said in a line and ends the process."""
    from jax.errors import JaxRuntimeError

    from ifvit.training.loop import train
    from ifvit.training.run_dir import RunDirTakenError

    try:
        return train(config)
    except RunDirTakenError as error:
        refuse([f"{error}:\n  {elsewhere(command, config.run_dir)}"])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_status) from error
    except OSError as error:
        print(
            f"error: a file could not be read or written ({error}). The states saved in {config.run_dir} are "
            "untouched: see to it (is the disk full?) and run the same command again",
            file=sys.stderr,
        )
        raise SystemExit(EXIT_FAILED) from error
    except (JaxRuntimeError, MemoryError) as error:
        reason = (str(error).strip().splitlines() or ["out of memory"])[0][:300]
        print(
            f"error: the device gave up ({reason}). If memory ran out, set trainer.accumulate=2 or a smaller "
            "trainer.batch_size or data.image_size",
            file=sys.stderr,
        )
        raise SystemExit(EXIT_FAILED) from error


def prepare_process() -> None:
    """Settings that libraries read when they are imported."""
    console.guard()
    # One seed, one result: without it some GPU kernels add in whatever order they finish.
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_gpu_deterministic_ops" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    import logging

    for name in ("jax", "orbax"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Through absl Grain and Orbax warn of features that are not used here; what goes wrong they raise.
    logging.getLogger("absl").setLevel(logging.ERROR)
