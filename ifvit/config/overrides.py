"""The typed KEY=VALUE arguments, quoted for Hydra's override grammar.

The grammar refuses an unquoted value with an =, a ~, a # or an ü. It reads 1_000, 1e3, true and [a] as other types than
texts, and a comma as a sweep. A path may have all of them. So each argument is parsed here first, and the value of a
key that takes a path is quoted. These keep their meaning: quotes, a backslash before a special character, ${...}, null,
and with -m the comma and choice(...).
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
_REFUSED = object()  # stands for a value that the grammar refuses
_SWEEP = re.compile(r"(choice|range|interval|glob|sort|shuffle|tag)\((.*)\)", re.DOTALL)
# One of several values: quoted, or up to the next comma that is not escaped by a backslash or inside ${...}.
_QUOTED = r"""\s*(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")\s*(?=,|\Z)"""
_PIECE = re.compile(rf"{_QUOTED}|(?:\$\{{[^}}]*\}}|\\.|[^,])*", re.DOTALL)
_GROUPS = {key.partition(".")[0] for key in known_keys()}


def quote_overrides(arguments: Sequence[str], sweep: bool = False) -> list[str]:
    """The arguments, quoted for Hydra's grammar; those that it accepts already are unchanged.

    sweep: whether a comma separates the values of several jobs (-m).

    Raises:
        ConfigError: naming every argument that cannot be read, and what to type instead.
    """
    overrides, problems = [], []
    for argument in arguments:
        try:
            overrides.append(_quote_override(argument, sweep))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return overrides


def parse_overrides(overrides: Sequence[str]) -> list[Override]:
    """Parse overrides that `quote_overrides` returned."""
    return _PARSER.parse_overrides(list(overrides))


def literal(text: str) -> str:
    """A text for the grammar, in quotes where needed; a ${ in it is no interpolation."""
    return _as_value(text.replace("${", r"\${"))


def sweep_values(sweep: Override) -> list[str]:
    """The values of a sweep over one key, each quoted for the grammar.

    Raises:
        HydraException: they cannot be counted, like those of interval(0,1).
    """
    if not is_path_key(sweep.key_or_group):
        return list(sweep.sweep_string_iterator())
    texts = (value.text if isinstance(value, QuotedString) else value for value in sweep.sweep_iterator())
    return ["null" if text is None else _as_value(str(text)) for text in texts]


def shell_override(key: str, path: Any) -> str:
    """KEY=PATH, quoted for a shell."""
    return _quote_for_shell(f"{key}={literal(str(path))}")


def _quote_for_shell(text: str) -> str:
    """A text, quoted for a shell; in double quotes where possible, because an override's own quotes are single."""
    return f'"{text}"' if "'" in text and not set(text) & set('"$`\\!') else shlex.quote(text)


def _quote_override(argument: str, sweep: bool) -> str:
    sign_and_key, equals, value = argument.partition("=")
    key = sign_and_key.lstrip("+")
    if not key or not _is_accepted(f"{sign_and_key}=0" if equals else argument):
        raise ConfigError([_refusal(argument)])
    if equals and is_path_key(key):
        return f"{sign_and_key}={_paths(argument, key, value) if sweep else _path(value)}"
    if equals and takes_texts(key):
        value = _texts(value)
        argument = f"{sign_and_key}={value}"
    names_file = "." not in key and key not in known_keys()  # of a group; a file may be called 2024
    if _is_accepted(argument) and not (names_file and type(_parse_value(value)) in (int, float, bool)):
        return argument
    if value.startswith(("[", "{")) or _SWEEP.fullmatch(value) or (sweep and "," in value):
        raise ConfigError(
            [
                f"{argument}: the value cannot be read; within a list, a group or several values a text with other "
                "characters than letters, digits and /-+.$%*@?|_: needs quotes, like "
                """"data.databases=['A=1','B (2)']\""""
            ]
        )
    # The schema refuses it as a text, and says what the key expects.
    return f"{sign_and_key}={_quoted(value)}"


def _texts(value: str) -> str:
    """A text, several, or a list of texts; those that the grammar reads otherwise, like 1e3 and true, in quotes."""
    is_list = value.startswith("[") and value.endswith("]")
    inside = value[1:-1] if is_list else value
    if not inside or set(inside) & set("[]()"):
        return value
    pieces = [piece.strip() for piece in _pieces(inside)]
    texts = ",".join(_quoted(piece) if _reads_as_other_text(piece) else piece for piece in pieces)
    return f"[{texts}]" if is_list else texts


def _reads_as_other_text(piece: str) -> bool:
    value = _parse_value(piece)
    return type(value) in (float, bool) or (type(value) is int and str(value) != piece)


def _refusal(argument: str) -> str:
    if argument and os.path.exists(os.path.expanduser(argument)):
        return f"{argument!r}: expected KEY=VALUE; for the prints in it type {shell_override('data.root', argument)}"
    return f"{argument!r}: expected KEY=VALUE, like seed=1"


def _paths(argument: str, key: str, value: str) -> str:
    """The values of a sweep over a path, quoted.

    Raises:
        ConfigError: they are no paths, or one path that looks like several.
    """
    choice = _SWEEP.fullmatch(value)
    if choice and choice[1] != "choice":
        raise ConfigError([f"{argument}: expected paths, {key}=A,B; quote it if it is a path's name"])
    pieces = [piece.strip() for piece in _pieces(choice[2] if choice else value)]
    if len(pieces) > 1 and "" in pieces:
        raise ConfigError([f"{argument}: with -m a comma separates two values, and one of them is empty"])
    for piece in pieces[1:]:
        name, equals, _ = piece.partition("=")
        if equals and name.lstrip("+").partition(".")[0] in _GROUPS:
            path = _quote_for_shell(f"{key}={_quoted(value)}")
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
        assert piece is not None  # it may be empty
        pieces.append(piece[0])
        start = piece.end() + 1
        if start > len(value):
            return pieces


def _path(value: str) -> str:
    """One path, quoted for the grammar."""
    parsed = _parse_value(value)
    if parsed is None or isinstance(parsed, Sweep) and _SWEEP.fullmatch(value):
        return value  # null, or several values, which Hydra refuses without -m
    if isinstance(parsed, QuotedString):
        return _as_value(parsed.text)
    return _as_value(parsed if isinstance(parsed, str) and "\\" in value else value)


def _as_value(text: str) -> str:
    """A text without quotes where the grammar reads it as this text, else in quotes."""
    parsed = _parse_value(text)
    bare = type(parsed) in (str, int) and str(parsed) == text and "\\" not in text
    return text if bare else _quoted(text)


def _quoted(text: str) -> str:
    return QuotedString(text, Quote.single).with_quotes()


def _parse_value(value: str) -> Any:
    """A value as the grammar reads it; `_REFUSED` where it does not."""
    try:
        return _PARSER.parse_override(f"key={value}")._value
    except HydraException:
        return _REFUSED


def _is_accepted(argument: str) -> bool:
    try:
        _PARSER.parse_override(argument)
    except HydraException:
        return False
    return True
