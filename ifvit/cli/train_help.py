"""The text of `train --help`: usage, groups and keys, the comment of a key, the comment of a file."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ifvit import program
from ifvit.config import ConfigError, nearest_keys
from ifvit.config.yaml_files import Key, all_keys, choice_file, defaults, groups, header, keys, summary

_OF_GROUPS = {
    "experiment": "a recipe: a file that sets keys of any group",
    "data": "where prints come from",
    "dense": "Module 1, dense registration",
    "matcher": "Module 2, the matcher",
    "loss": "what is minimised",
    "optimizer": "learning rate and weight decay",
    "trainer": "device, batch, steps, how often it validates and saves",
    "debug": "a few small settings that try whether everything works",
}
_EXAMPLES = {
    "experiment=quickstart": "small enough for two CPU cores",
    "dense=loftr data=fvc data.root=FOLDER": "on real prints, with LoFTR's encoder",
    "stage=matcher init.dense=RUN_DIR": "Module 2, from a trained Module 1",
    "-m seed=1,2,3 optimizer.lr=1e-3,3e-4": "a sweep: every combination, one after the other",
}
_TOPICS = {
    "--help data": "a group: its choices and its keys",
    "--help data.pairs": "some keys, or one",
    "--help experiment=quickstart": "what a choice is, and the keys that it sets",
    "--help keys": "every key",
    "experiment=quickstart --cfg job": "the config of a command; nothing is run",
}
_PAGE = """\
Train Module 1 or Module 2.

  {train} [GROUP=CHOICE ...] [KEY=VALUE ...] [OPTION ...]

Without arguments Module 1 is trained on synthetic fingers. The same command, typed again, goes on where it stopped.

Examples
{examples}

Groups (GROUP=CHOICE takes a file of configs/GROUP/)
{groups}

Keys (KEY=VALUE changes one; with the value that they have when none is typed)
{keys}
  {more}

More help
{topics}

An experiment of your own
  Write conf/experiment/mine.yaml, in any folder conf:
    # @package _global_
    defaults:
      - quickstart          # what it builds on; may be left out
      - _self_
    run_dir: checkpoints/mine
    optimizer:
      lr: 3.0e-3
  {train} --config-dir conf experiment=mine
  In a checkout configs/experiment/mine.yaml will do, without --config-dir. docs/config.md tells more.

Options
  -m, --multirun       a sweep: a comma separates the values of several runs; each in RUN_DIR_sweep/
  --config-dir DIR     look for YAML files there too
  --config-path DIR    look for them there only; --config-name NAME: its main file, other than train.yaml
  --cfg job            print the config; --package GROUP: a part of it; --resolve: with ${{...}} replaced
  --info searchpath    print where YAML files are looked for
  --run                one run, where the config asks for a sweep
  --hydra-help         Hydra's own help; Hydra reads the YAML files
"""


def help_text(topics: Sequence[str], folders: Sequence[Path]) -> str:
    """The help on topics, or on training where there are none.

    topics: groups, keys or their first part, GROUP=CHOICE, or the word keys.
    folders: of YAML files; the first folder has precedence.

    Raises:
        ConfigError: there is no such topic.
    """
    try:
        if not topics:
            return _page(folders)
        return "\n\n".join("\n".join(_topic(topic, folders)) for topic in topics)
    except OSError as error:
        raise ConfigError([f"{error.filename}: cannot be read ({error.strerror})"]) from error


def _page(folders: Sequence[Path]) -> str:
    order = [*_OF_GROUPS, *groups(folders)]
    default_choices, lines = defaults(), []
    for group, choices in sorted(groups(folders).items(), key=lambda item: order.index(item[0])):
        meaning = _OF_GROUPS.get(group, "a group of your own")
        if len(choices) == 1:
            lines.append(f"  {group:<11} {meaning}: {choices[0]}")
        else:
            lines.append(
                f"  {group:<11} {meaning}"
                + (f"; {default_choices[group]} when none is typed" if group in default_choices else "")
            )
            lines.append(f"{'':<13} {', '.join(choices)}")
    all_keys_ = all_keys()
    return _PAGE.format(
        train=program.command("train"),
        examples="\n".join(_columns(_EXAMPLES)),
        topics="\n".join(_columns(_TOPICS)),
        groups="\n".join(_wrap(line, 14) for line in lines),
        keys="\n".join(_key_lines(all_keys_[""])),
        more=", ".join(f"{group}.*" for group in all_keys_ if group),
    ).rstrip()


def _columns(lines: Mapping[str, str]) -> Iterator[str]:
    """Commands, each with its purpose, in two columns."""
    width = max(map(len, lines))
    for words, meaning in lines.items():
        yield f"  {program.command('train')} {words:<{width}}  # {meaning}"


def _topic(topic: str, folders: Sequence[Path]) -> Iterator[str]:
    choices, all_keys_ = groups(folders), all_keys()
    group, equals, choice = topic.partition("=")
    if equals and choice in choices.get(group, ()):
        yield from _choice(group, choice, folders)
        return
    all_names = [key for keys_ in all_keys_.values() for key in keys_]
    selection = all_names if topic == "keys" else [key for key in all_names if f"{key.name}.".startswith(f"{topic}.")]
    if equals and group in choices:
        raise ConfigError([f"{topic}: there is no such choice; known are {', '.join(choices[group])}"])
    if not selection and topic not in choices:
        hint = nearest_keys(topic) if "." in topic else f"topics are keys, {', '.join(choices)}"
        raise ConfigError([f"--help {topic}: there is nothing of this name; {hint}"])
    if topic in choices:
        yield f"{topic}=CHOICE  {_OF_GROUPS.get(topic, '')}".rstrip()
        for name in choices[topic]:
            path = choice_file(folders, topic, name)
            assert path is not None
            yield _wrap(f"  {name:<18} {summary(path)}".rstrip(), 21)
        if selection:
            yield "\nIts keys, with the values that they have when none is typed"
    yield from _key_lines(selection)


def _choice(group: str, choice: str, folders: Sequence[Path]) -> Iterator[str]:
    """The first comment of a choice's file, and the keys that it sets."""
    path = choice_file(folders, group, choice)
    assert path is not None
    yield f"{group}={choice}  ({path})"
    yield from (f"  {program.with_commands(line)}" for line in header(path))
    # The first line of a file tells whether its keys are full ones.
    prefix = "" if "@package _global_" in path.read_text().partition("\n")[0] else f"{group}."
    if lines := list(_key_lines([key._replace(name=prefix + key.name) for key in keys(path)])):
        yield "It sets"
        yield from lines


def _key_lines(keys_: Sequence[Key]) -> Iterator[str]:
    """KEY=VALUE with its comments, one a line."""
    for key in keys_:
        if key.note:
            yield _wrap(f"  # {program.with_commands(' '.join(key.note))}", "  # ")
        if key.value:
            start = f"  {key.name}={'(by the group)' if key.value == '???' else key.value}"
            comment = program.with_commands(key.comment)
            yield _wrap(f"{start:<36}  {comment}".rstrip(), 38)


def _wrap(line: str, indent: int | str) -> str:
    """A line wrapped to the terminal's width; indent: the beginning of the further lines, or its length."""
    width = max(60, min(shutil.get_terminal_size((120, 24)).columns, 120))
    begin = " " * indent if isinstance(indent, int) else indent
    pieces = textwrap.wrap(line, width, subsequent_indent=begin, break_on_hyphens=False, break_long_words=False)
    return "\n".join(pieces)
