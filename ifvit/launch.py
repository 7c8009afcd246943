"""From overrides to a run: Hydra composes the config, the schema validates it, one stage trains.

JAX is imported only when a config is valid and its run begins: a typing error is reported at once, and the parent
process of a sweep uses no GPU.
"""

from __future__ import annotations

import itertools
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, cast

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
from ifvit.config import Config, ConfigError, Source, build, expand_homes, inherit_network, missing_extras
from ifvit.config.folder_names import AUTO, AUTO_PARENT, auto_run_dir
from ifvit.config.hydra_errors import one_line, refuse_bases
from ifvit.config.overrides import literal, quote_overrides, shell_override
from ifvit.config.places import composed_files, locate
from ifvit.config.yaml_files import MAIN, config_dir
from ifvit.config.yaml_files import PACKAGE as PACKAGE
from ifvit.databases.listing import check_root
from ifvit.errors import DataError, UserError
from ifvit.program import EXIT_FAILED, EXIT_RESUMABLE, refuse
from ifvit.program import EXIT_REFUSED as EXIT_REFUSED
from ifvit.training.finished import finished

SEARCH = "hydra.searchpath"  # more folders of YAML files; the only one of Hydra's own keys that a run reads
# Errors that Hydra raises for overrides and YAML files, also for the user's own files.
_UNCOMPOSABLE = (HydraException, OmegaConfBaseException, yaml.YAMLError, OSError, ValueError)


class Configs(NamedTuple):
    """The main YAML file and the folders of YAML files, all absolute."""

    main: str = MAIN  # lists the groups
    folder: Path = config_dir()
    added: Path | None = None  # --config-dir
    searched: tuple[str, ...] = ()  # hydra.searchpath

    def arguments(self) -> list[str]:
        """The same settings as arguments of Hydra's command line."""
        flags = {"name": self.main, "path": self.folder, "dir": self.added}
        arguments = [f"--config-{key}={value}" for key, value in flags.items() if value not in (*_DEFAULT[:2], None)]
        return [*arguments, *([f"{SEARCH}=[{','.join(map(literal, self.searched))}]"] if self.searched else [])]

    @property
    def folders(self) -> list[Path]:
        """The folders among them; the first one has precedence."""
        searched = [Path(place.removeprefix("file://")) for place in self.searched if place.startswith("file://")]
        return [self.folder, *([self.added] if self.added else []), *searched]

    @contextmanager
    def loader(self) -> Iterator[ConfigLoader]:
        """Around a composition: Hydra's loader of these files."""
        with initialize_config_dir(str(self.folder), version_base="1.3"):
            hydra = GlobalHydra.instance().hydra
            assert hydra is not None
            search = hydra.config_loader.get_search_path()
            for path in (*([f"file://{self.added}"] if self.added else []), *self.searched):
                search.prepend("command-line", path, anchor=SearchPathQuery(provider="schema"))
            # Hydra's types name the abstract class, which takes no arguments.
            hydra.config_loader = type(hydra.config_loader)(search)  # type: ignore[call-arg]
            yield hydra.config_loader


_DEFAULT = Configs()


def compose_config(overrides: Sequence[str]) -> Config:
    """The validated config of Hydra overrides. Problems are printed, one a line, and end the process."""
    try:
        return validated_config(overrides)
    except ConfigError as error:
        refuse(error.problems)


def validated_config(overrides: Sequence[str], configs: Configs = _DEFAULT) -> Config:
    """The validated config of Hydra overrides.

    Raises:
        ConfigError: naming every problem.
    """
    try:
        config = build(inherit_network(compose_tree(overrides, configs), overrides))
    except ConfigError as error:
        raise ConfigError(_locate(error.problems, overrides, configs)) from error
    if problems := missing_extras(config):
        raise ConfigError(problems)
    return config


def _locate(problems: Sequence[str], overrides: Sequence[str], configs: Configs) -> list[str]:
    """The problems with the file and the line of each key, where the files can be composed."""
    with suppress(*_UNCOMPOSABLE), configs.loader() as loader:
        files = composed_files(loader, configs.main, quote_overrides(overrides), configs.folders)
        return locate(problems, overrides, files)
    return list(problems)


def compose_tree(overrides: Sequence[str], configs: Configs = _DEFAULT) -> dict[str, Any]:
    """The config of the overrides as a plain nested dict, with the ~ of paths and run_dir=auto replaced.

    Raises:
        ConfigError: an override cannot be read or composed, or the ~ of a path names no user.
    """
    tree = plain_tree(hydra_tree(quote_overrides(overrides), configs))
    return tree | {"run_dir": auto_run_dir(overrides)} if tree.get("run_dir") == AUTO else tree


def hydra_tree(overrides: Sequence[str], configs: Configs = _DEFAULT) -> DictConfig:
    """The config with Hydra's own node `hydra`.

    Raises:
        ConfigError: an override cannot be composed.
    """
    with _plain_errors(overrides, configs), configs.loader():
        refuse_bases(overrides, configs.folders)
        tree = compose(configs.main, list(overrides), return_hydra_config=True)
        HydraConfig.instance().set_config(tree)
        return tree


def plain_tree(tree: DictConfig) -> dict[str, Any]:
    """The config without Hydra's own node, interpolations and ~ resolved.

    Raises:
        ConfigError: a value cannot be resolved, or the ~ of a path names no user.
    """
    settings = OmegaConf.masked_copy(tree, [str(key) for key in tree if key != "hydra"])
    with _plain_errors():
        container = OmegaConf.to_container(settings, resolve=True, throw_on_missing=True)
        return expand_homes(cast(dict[str, Any], container))


@contextmanager
def _plain_errors(overrides: Sequence[str] = (), configs: Configs = _DEFAULT) -> Iterator[None]:
    """Around Hydra's work: its errors become a ConfigError of one line."""
    try:
        yield
    except ConfigError:
        raise
    except _UNCOMPOSABLE as error:
        raise ConfigError([one_line(error, overrides, configs.folders)]) from error


def run(config: Config, command: str) -> float:
    """Train, and return the validation's objective. Every error becomes a line and an exit status.

    command: as typed, for the lines that say how to go on.
    A run that has made all its steps only prints its result; it needs neither its data nor JAX.
    """
    prepare_process()
    if result := finished(config):
        print(result.text)
        return result.value
    if problems := absent_roots(config):
        refuse(problems)
    try:
        outcome = _train(config, command)
    except KeyboardInterrupt:
        print(f"stopped before training began; to start again:\n  {command}", file=sys.stderr)
        raise program.Stopped from None
    if outcome.stopped:
        print(f"{outcome.stopped}; to go on:\n  {command}", file=sys.stderr)
        raise SystemExit(EXIT_RESUMABLE)
    return outcome.value


def absent_roots(config: Config) -> list[str]:
    """A line for every folder of images that does not exist."""
    problems = []
    for name, part in config.data.parts.items():
        if part.source not in (Source.synthetic, Source.manifest, Source.prepared):
            assert part.root is not None
            try:
                check_root(Path(part.root), config.data.key_of(name))
            except DataError as error:
                problems.append(str(error))
    return problems


def elsewhere(command: str, run_dir: str) -> str:
    """The command with another run directory: a free one beside the typed one, `auto` where none was typed."""
    words = shlex.split(command)
    if not any(map(_is_run_dir, words)) and AUTO_PARENT not in PurePosixPath(run_dir).parents:
        return f"{command} run_dir={AUTO}"
    return beside(command, run_dir)


def beside(command: str, run_dir: str, suffix: str = "") -> str:
    """The command with a free run directory beside `run_dir`. suffix: of the folder's name on disk, like _sweep."""
    folder = Path(run_dir)
    candidates = (folder.with_name(f"{folder.name}-{k}") for k in itertools.count(2))
    free_dir = next(path for path in candidates if not Path(f"{path}{suffix}").exists())
    words = [word for word in shlex.split(command) if not _is_run_dir(word)]
    return f"{shlex.join(words)} {shell_override('run_dir', free_dir)}"


def _is_run_dir(word: str) -> bool:
    return word.lstrip("+").startswith("run_dir=")


def _train(config: Config, command: str) -> Any:
    """The outcome of training. An error is printed in a line and ends the process."""
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
    """Set what libraries read when they are imported: XLA's flags and the level of their logs."""
    console.guard()
    # For the same result from the same seed: without it some GPU kernels add in the order in which they finish.
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_gpu_deterministic_ops" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    import logging

    for name in ("jax", "orbax"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Grain and Orbax use absl for warnings on features that are not used here; errors they raise.
    logging.getLogger("absl").setLevel(logging.ERROR)
