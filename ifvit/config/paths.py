"""The keys that take a path, the keys that take a list of texts, and the leading ~ of a path."""

from __future__ import annotations

import os
import re
import typing
from collections.abc import Mapping
from typing import Any

from ifvit.config.build import ConfigError
from ifvit.config.keys import typed_keys
from ifvit.config.schema import FilePath


def _key_pattern(of_type: Any, but: Any = None) -> re.Pattern:
    """A pattern of the keys whose values may have the type `of_type`, and not `but`."""
    types = {key: (hint, *typing.get_args(hint)) for key, hint in typed_keys()}
    keys = [key for key, options in types.items() if of_type in options and but not in options]
    return re.compile("|".join(re.escape(key).replace(r"\.NAME\.", r"\.[^.]+\.") for key in keys))


_PATH_KEY = _key_pattern(FilePath)
_TEXTS_KEY = _key_pattern(tuple[str, ...], but=int)  # a number for data.val_fingers is a count


def is_path_key(key: str) -> bool:
    """Whether the value of a key, like data.root, is a path."""
    return _PATH_KEY.fullmatch(key) is not None


def takes_texts(key: str) -> bool:
    """Whether the value of a key, like data.databases, is a list of texts. A single text is a list of one."""
    return _TEXTS_KEY.fullmatch(key) is not None


def expand_home(path: str) -> str:
    """The path with a leading ~ or ~user replaced by that user's home folder.

    Raises:
        ValueError: there is no such user. A folder whose name begins with ~ needs a ./ in front.
    """
    result = os.path.expanduser(path)
    if result.startswith("~"):
        user = path[1:].partition("/")[0]
        raise ValueError(f"{path}: there is no user {user}; if it is the name of a file, type ./{path}")
    return result


def expand_homes(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A config's tree with the ~ of every path replaced.

    Raises:
        ConfigError: naming every path whose ~ names no user.
    """
    result, problems = {}, []
    for key, value in tree.items():
        try:
            if isinstance(value, Mapping):
                value = expand_homes(value, f"{prefix}{key}.")
            elif isinstance(value, str) and is_path_key(f"{prefix}{key}"):
                value = expand_home(value)
        except ConfigError as error:
            problems += error.problems
        except ValueError as error:
            problems.append(f"{prefix}{key}: {error}")
        result[key] = value
    if problems:
        raise ConfigError(problems)
    return result
