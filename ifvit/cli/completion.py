"""Completion for shells: commands, options, groups with their choices, keys with their values.

The scripts of ifvit/cli/shell/ call the program, so that the user's own YAML files are offered too. No heavy library is
imported: a call takes a tenth of a second.
"""

from __future__ import annotations

import enum
import re
import typing
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ifvit.cli.common import Parser
from ifvit.config.keys import typed_keys
from ifvit.config.yaml_files import PACKAGE, choice_file, config_dir, groups, keys

SHELLS = ("bash", "zsh", "fish")
# The groups and keys that a command takes, by their beginning.
TAKES = {
    "train": ("",), "verify": ("",), "evaluate": ("data=", "data."), "data prepare": ("data=", "data."),
    "synthesize": ("data.impression.",),
}  # fmt: skip
# Training's options, which are Hydra's, without those that take a file; each with its values, None where it has none.
TRAIN_OPTIONS: dict[str, Sequence[str] | None] = {
    "--help": None, "--multirun": None, "--run": None, "--resolve": None, "--cfg": ("job", "hydra", "all"),
    "--info": ("config", "defaults", "defaults-tree", "plugins", "searchpath", "all"),
    "--config-dir": (), "--config-path": (), "--config-name": (), "--package": (),
}  # fmt: skip


def script(shell: str) -> str:
    """The script that turns completion on in a shell of `SHELLS`."""
    return (PACKAGE / "cli" / "shell" / f"completion.{shell}").read_text()


def candidates(words: Sequence[str], parser: Parser) -> list[str]:
    """The completions of the last word; a complete one ends in a blank. Where there are none, the shell offers files.

    words: typed behind the program's name; the last one is incomplete and may be empty.
    """
    *words_before, word = words or [""]
    words_before, names = list(words_before), []
    while parser.commands and words_before and words_before[0] in parser.commands:
        names.append(words_before.pop(0))
        parser = parser.commands[names[-1]]
    options, words = (TRAIN_OPTIONS, ()) if names == ["train"] else _arguments(parser)
    values = options.get(words_before[-1]) if words_before else None
    options_here: Iterable[str]
    if values is not None:
        options_here = values
    elif word.startswith("-"):
        options_here = options
    else:
        options_here = () if parser.commands and words_before else words  # behind an unknown command nothing is known
    texts = [f"{text} " for text in sorted(options_here) if text.startswith(word)]
    if values is None and (prefixes := TAKES.get(" ".join(names))):
        texts += [text for text in _overrides(word, _folders(words_before)) if text.startswith(prefixes)]
    return texts


def _arguments(parser: Parser) -> tuple[dict[str, Sequence[str] | None], Sequence[str]]:
    """The options of a command, each with its values (None where it takes none), and its commands or other words."""
    options: dict[str, Sequence[str] | None] = {}
    words = list(parser.commands)
    for action in parser._actions:
        if not action.option_strings:
            words += action.choices or ()
        for name in action.option_strings:
            if name.startswith("--"):
                options[name] = None if action.nargs == 0 else tuple(action.choices or ())
    return options, list(dict.fromkeys(words))


def _folders(words_before: Sequence[str]) -> list[Path]:
    """The folders of YAML files: the program's own, and those of --config-dir."""
    neighbours = zip(words_before, words_before[1:], strict=False)
    config_dirs = [Path(folder) for option, folder in neighbours if option == "--config-dir"]
    return [config_dir(), *(folder for folder in config_dirs if folder.is_dir())]


def _overrides(word: str, folders: Sequence[Path]) -> Iterator[str]:
    """Groups and keys up to their next dot or =; behind a =, the values."""
    choices = groups(folders)
    key, equals, value = word.partition("=")
    types = dict(_all_keys(folders))
    if equals:
        for text in choices.get(key) or _values(types.get(key)):
            # Names of files that a shell would have to quote are not offered.
            if text.startswith(value) and re.fullmatch(r"[\w./-]+", text):
                yield f"{key}={text} "
        return
    texts = [*(f"{group}=" for group in choices), *(f"{name}=" for name in types)]
    # `optimizer.` is offered before `optimizer.lr=`.
    ends = (re.match(r"[^.=]*[.=]", text[len(word) :]) for text in texts if text.startswith(word))
    yield from sorted({word + end[0] for end in ends if end})


def _all_keys(folders: Sequence[Path]) -> Iterator[tuple[str, Any]]:
    """Every key with the type of its value, those of the mixture's sources too."""
    mixture = choice_file(folders, "data", "mixture")
    sources = [key.name.split(".")[1] for key in keys(mixture) if key.name.startswith("mixture.")] if mixture else []
    for key, hint in typed_keys():
        for name in sources if ".NAME." in key else [""]:
            yield key.replace(".NAME.", f".{name}."), hint


def _values(hint: Any) -> list[str]:
    """The values of a boolean or an enum; empty for any other type."""
    options = typing.get_args(hint) or (hint,)
    enums = [option for option in options if isinstance(option, type) and issubclass(option, enum.Enum)]
    if bool in options:
        return ["false", "true"]
    return [str(member) for option in enums for member in option]
