"""The KEY=VALUE arguments that people type, as Hydra's override grammar takes them.

The grammar refuses a bare value that holds an =, a ~, a # or an ü, reads 1_000, 1e3, true and [a] as no text, and a
comma as a sweep. A path may hold all of them. So each argument is read by itself, and the value of a key that takes a
path is the text that was typed. What has a meaning on purpose keeps it: quotes, a backslash before a special character,
${...}, null, and with -m the comma and choice(...).
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString, Sweep
from hydra.errors import HydraException

from ifvit.config import ConfigError, is_path_key, known_keys, takes_texts

_PARSER = OverridesParser.create()
_REFUSED = object()  # what a value is read as that the grammar refuses
_SWEEP = re.compile(r"(choice|range|interval|glob|sort|shuffle|tag)\((.*)\)", re.DOTALL)
# One of several values: quoted, or all up to a comma that no backslash and no ${...} protects.
_QUOTED = r"""\s*(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")\s*(?=,|\Z)"""
_PIECE = re.compile(rf"{_QUOTED}|(?:\$\{{[^}}]*\}}|\\.|[^,])*", re.DOTALL)
_GROUPS = {key.partition(".")[0] for key in known_keys()}


def readable(arguments: Sequence[str], sweep: bool = False) -> list[str]:
    """The arguments as Hydra's grammar takes them; those that it took already come back the same.

    sweep: whether a comma separates the values of several jobs (-m).

    Raises:
        ConfigError: naming every argument that has no reading, and what to type instead.
    """
    overrides, problems = [], []
    for argument in arguments:
        try:
            overrides.append(_readable(argument, sweep))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return overrides


def parsed(overrides: Sequence[str]) -> list[Override]:
    """Hydra's reading of overrides that `readable` gave."""
    return _PARSER.parse_overrides(list(overrides))


def literal(text: str) -> str:
    """A text as the grammar takes it, in quotes where it must; a ${ in it is no interpolation."""
    return _as_value(text.replace("${", r"\${"))


def values(sweep: Override) -> list[str]:
    """The values of a sweep over one key, each as the grammar takes it.

    Raises:
        HydraException: they cannot be counted, like those of interval(0,1).
    """
    if not is_path_key(sweep.key_or_group):
        return list(sweep.sweep_string_iterator())
    texts = (value.text if isinstance(value, QuotedString) else value for value in sweep.sweep_iterator())
    return ["null" if text is None else _as_value(str(text)) for text in texts]


def typed(key: str, path: Any) -> str:
    """KEY=PATH as it is typed in a shell."""
    return _in_shell(f"{key}={literal(str(path))}")


def _in_shell(text: str) -> str:
    """Quoted for a shell; in double quotes where those do, because an override's own quotes are single."""
    return f'"{text}"' if "'" in text and not set(text) & set('"$`\\!') else shlex.quote(text)


def _readable(argument: str, sweep: bool) -> str:
    sign_and_key, equals, value = argument.partition("=")
    key = sign_and_key.lstrip("+")
    if not key or not _accepts(f"{sign_and_key}=0" if equals else argument):
        raise ConfigError([_no_override(argument)])
    if equals and is_path_key(key):
        return f"{sign_and_key}={_paths(argument, key, value) if sweep else _path(value)}"
    if equals and takes_texts(key):
        value = _texts(value)
        argument = f"{sign_and_key}={value}"
    names_file = "." not in key and key not in known_keys()  # of a folder of configs/; it may be called 2024
    if _accepts(argument) and not (names_file and type(_read(value)) in (int, float, bool)):
        return argument
    if value.startswith(("[", "{")) or _SWEEP.fullmatch(value) or (sweep and "," in value):
        raise ConfigError(
            [
                f"{argument}: the value cannot be read; within a list, a group or several values a text with other "
                "characters than letters, digits and /-+.$%*@?|_: needs quotes, like "
                """"data.databases=['A=1','B (2)']\""""
            ]
        )
    # As a text the schema refuses it, and says what the key expects.
    return f"{sign_and_key}={_quoted_as_typed(value)}"


def _texts(value: str) -> str:
    """A text, several, or a list of them, in quotes what reads as another text, as 1e3 and true do."""
    is_list = value.startswith("[") and value.endswith("]")
    inside = value[1:-1] if is_list else value
    if not inside or set(inside) & set("[]()"):
        return value
    pieces = [piece.strip() for piece in _pieces(inside)]
    texts = ",".join(_quoted_as_typed(piece) if _reads_as_another(piece) else piece for piece in pieces)
    return f"[{texts}]" if is_list else texts


def _reads_as_another(piece: str) -> bool:
    read = _read(piece)
    return type(read) in (float, bool) or (type(read) is int and str(read) != piece)


def _no_override(argument: str) -> str:
    if argument and os.path.exists(os.path.expanduser(argument)):
        return f"{argument!r}: expected KEY=VALUE; for the prints in it type {typed('data.root', argument)}"
    return f"{argument!r}: expected KEY=VALUE, like seed=1"


def _paths(argument: str, key: str, value: str) -> str:
    """The values of a sweep over a path."""
    choice = _SWEEP.fullmatch(value)
    if choice and choice[1] != "choice":
        raise ConfigError([f"{argument}: expected paths, {key}=A,B; quote it if it is a path's name"])
    pieces = [piece.strip() for piece in _pieces(choice[2] if choice else value)]
    if len(pieces) > 1 and "" in pieces:
        raise ConfigError([f"{argument}: with -m a comma separates two values, and one of them is empty"])
    for piece in pieces[1:]:
        name, equals, _ = piece.partition("=")
        if equals and name.lstrip("+").partition(".")[0] in _GROUPS:
            path = _in_shell(f"{key}={_quoted_as_typed(value)}")
            raise ConfigError(
                [
                    f"{argument}: with -m a comma separates the values of two jobs, and {piece} looks like a part of "
                    f"the name of one folder; type {path} if it is one, ./{piece} if that is a folder of its own"
                ]
            )
    values = ",".join(_path(piece) for piece in pieces)
    return f"choice({values})" if choice else values


def _pieces(value: str) -> list[str]:
    pieces, start = [], 0
    while True:
        piece = _PIECE.match(value, start)
        pieces.append(piece[0])
        start = piece.end() + 1
        if start > len(value):
            return pieces


def _path(value: str) -> str:
    """One path as the grammar takes it."""
    read = _read(value)
    if read is None or isinstance(read, Sweep) and _SWEEP.fullmatch(value):
        return value  # null, or several values, which Hydra refuses without -m
    if isinstance(read, QuotedString):
        return _as_value(read.text)
    return _as_value(read if isinstance(read, str) and "\\" in value else value)


def _as_value(text: str) -> str:
    """A text bare where the grammar reads it as just that text, else in quotes."""
    read = _read(text)
    bare = type(read) in (str, int) and str(read) == text and "\\" not in text
    return text if bare else _quoted_as_typed(text)


def _quoted_as_typed(text: str) -> str:
    return QuotedString(text, Quote.single).with_quotes()


def _read(value: str) -> Any:
    """The grammar's reading of a value."""
    try:
        return _PARSER.parse_override(f"key={value}")._value
    except HydraException:
        return _REFUSED


def _accepts(argument: str) -> bool:
    try:
        _PARSER.parse_override(argument)
    except HydraException:
        return False
    return True
