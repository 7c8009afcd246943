"""What a shell offers behind what was typed: commands, options, groups with their choices, keys with their values.

The scripts of ifvit/shell/ ask the program itself, so that YAML files of one's own are offered too. Nothing heavy is
imported: an answer takes a tenth of a second.
"""

from __future__ import annotations

import enum
import re
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ifvit.cli_common import Parser
from ifvit.config.build import typed_keys
from ifvit.config_files import PACKAGE, choice_file, config_dir, groups, keys

SHELLS = ("bash", "zsh", "fish")
# Which groups and keys a command takes, by what they begin with.
TAKES = {
    "train": ("",), "verify": ("",), "evaluate": ("data=", "data."), "data prepare": ("data=", "data."),
    "synthesize": ("data.impression.",),
}  # fmt: skip
# Of training's options, which are Hydra's, those that ask for no file: with what follows them.
TRAIN_OPTIONS = {
    "--help": (), "--multirun": (), "--run": (), "--resolve": (), "--cfg": ("job", "hydra", "all"),
    "--info": ("config", "defaults", "defaults-tree", "plugins", "searchpath", "all"),
    "--config-dir": (), "--config-path": (), "--config-name": (), "--package": (),
}  # fmt: skip


def script(shell: str) -> str:
    """What switches completion on in a shell of `SHELLS`."""
    return (PACKAGE / "shell" / f"completion.{shell}").read_text()


def candidates(words: Sequence[str], parser: Parser) -> list[str]:
    """What the last of the words may become; a blank behind those that are whole. None: the shell offers files.

    words: what was typed behind the program's name; the last one, which may be empty, is being typed.
    """
    *before, word = words or [""]
    names = []
    while parser.commands and before and before[0] in parser.commands:
        names.append(before.pop(0))
        parser = parser.commands[names[-1]]
    if parser.commands:
        offered = {*parser.commands, "--help"} if not before else set()
    elif names == ["train"]:
        offered = set(TRAIN_OPTIONS.get(before[-1] if before else "", ())) or set(TRAIN_OPTIONS)
    else:
        offered = _arguments(parser, before)
    found = [f"{text} " for text in sorted(offered) if text.startswith(word)]
    taken = TAKES.get(" ".join(names), ())
    return found + [text for text in _overrides(word, _folders(before)) if text.startswith(tuple(taken or "\n"))]


def _arguments(parser: Parser, before: Sequence[str]) -> set[str]:
    """The options of a command; where the word before is one that takes a choice, its choices."""
    offered = set()
    for action in parser._actions:
        if before and before[-1] in action.option_strings and action.nargs != 0:
            return set(action.choices or ())
        offered |= {name for name in action.option_strings if name.startswith("--")} or set(action.choices or ())
    return offered


def _folders(before: Sequence[str]) -> list[Path]:
    added = [Path(folder) for option, folder in zip(before, before[1:], strict=False) if option == "--config-dir"]
    return [*(folder for folder in added if folder.is_dir()), config_dir()]


def _overrides(word: str, folders: Sequence[Path]) -> Iterator[str]:
    """Groups and keys as far as their next dot or =, or, behind a =, values."""
    choices = groups(folders)
    key, equals, value = word.partition("=")
    types = dict(_every_key(folders))
    if equals:
        for text in choices.get(key) or _values(types.get(key)):
            # A file's name is its owner's; what a shell would have to quote is left to be typed.
            if text.startswith(value) and re.fullmatch(r"[\w./-]+", text):
                yield f"{key}={text} "
        return
    texts = [*(f"{group}=" for group in choices), *(f"{name}=" for name in types)]
    # The whole of `data.root=`, but of `optimizer.lr=` only `optimizer.` until that much is typed.
    ends = (re.match(r"[^.=]*[.=]", text[len(word) :]) for text in texts if text.startswith(word))
    yield from sorted({word + end[0] for end in ends if end})


def _every_key(folders: Sequence[Path]) -> Iterator[tuple[str, Any]]:
    mixture = choice_file(folders, "data", "mixture")
    sources = [key.name.split(".")[1] for key in keys(mixture) if key.name.startswith("mixture.")] if mixture else []
    for key, hint in typed_keys():
        for name in sources if ".NAME." in key else [""]:
            yield key.replace(".NAME.", f".{name}."), hint


def _values(hint: Any) -> list[str]:
    """The values of a type that has only a few."""
    options = typing.get_args(hint) or (hint,)
    enums = [option for option in options if isinstance(option, type) and issubclass(option, enum.Enum)]
    if bool in options:
        return ["false", "true"]
    return [str(member) for option in enums for member in option]
