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

from ifvit.cli.common import Parser
from ifvit.config.build import typed_keys
from ifvit.config.yaml_files import PACKAGE, choice_file, config_dir, groups, keys

SHELLS = ("bash", "zsh", "fish")
# Which groups and keys a command takes, by what they begin with.
TAKES = {
    "train": ("",), "verify": ("",), "evaluate": ("data=", "data."), "data prepare": ("data=", "data."),
    "synthesize": ("data.impression.",),
}  # fmt: skip
# Of training's options, which are Hydra's, those that ask for no file; with what may follow, None: nothing.
TRAIN_OPTIONS = {
    "--help": None, "--multirun": None, "--run": None, "--resolve": None, "--cfg": ("job", "hydra", "all"),
    "--info": ("config", "defaults", "defaults-tree", "plugins", "searchpath", "all"),
    "--config-dir": (), "--config-path": (), "--config-name": (), "--package": (),
}  # fmt: skip


def script(shell: str) -> str:
    """What switches completion on in a shell of `SHELLS`."""
    return (PACKAGE / "cli" / "shell" / f"completion.{shell}").read_text()


def candidates(words: Sequence[str], parser: Parser) -> list[str]:
    """What the last of the words may become; a blank behind those that are whole. None: the shell offers files.

    words: what was typed behind the program's name; the last one, which may be empty, is being typed.
    """
    *before, word = words or [""]
    before, names = list(before), []
    while parser.commands and before and before[0] in parser.commands:
        names.append(before.pop(0))
        parser = parser.commands[names[-1]]
    options, words = (TRAIN_OPTIONS, ()) if names == ["train"] else _arguments(parser)
    following = options.get(before[-1]) if before else None
    if following is not None:
        offered = following
    elif word.startswith("-"):
        offered = options
    else:
        offered = () if parser.commands and before else words  # behind an unknown command nothing is known
    found = [f"{text} " for text in sorted(offered) if text.startswith(word)]
    if following is None and (taken := TAKES.get(" ".join(names))):
        found += [text for text in _overrides(word, _folders(before)) if text.startswith(taken)]
    return found


def _arguments(parser: Parser) -> tuple[dict[str, Sequence[str] | None], Sequence[str]]:
    """The options of a command, each with what may follow it (None: nothing), and its commands or other words."""
    options, words = {}, list(parser.commands)
    for action in parser._actions:
        if not action.option_strings:
            words += action.choices or ()
        for name in action.option_strings:
            if name.startswith("--"):
                options[name] = None if action.nargs == 0 else tuple(action.choices or ())
    return options, list(dict.fromkeys(words))


def _folders(before: Sequence[str]) -> list[Path]:
    added = [Path(folder) for option, folder in zip(before, before[1:], strict=False) if option == "--config-dir"]
    return [config_dir(), *(folder for folder in added if folder.is_dir())]


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
