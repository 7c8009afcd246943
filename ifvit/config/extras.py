"""What a config needs beside the program: extras of pyproject.toml, looked for before anything is computed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from ifvit.config.schema import Config, Enhancement, Source, StageName

MODULES = {"enhance": ("pyfing", "keras"), "parquet": ("pyarrow",), "wsq": ("wsq",)}  # that an extra brings


def missing_extras(config: Config) -> list[str]:
    """A line for every key that asks for an extra that is not installed."""
    data = config.data
    asked = {}
    # Prepared prints bring what was drawn of them.
    if any(part.source is not Source.prepared for part in data.parts.values()):
        asked |= {"data.ridge_mask": data.ridge_mask}
        asked |= {"matcher.enhancement": config.matcher.enhancement} if config.stage is StageName.matcher else {}
    lines = [missing_extra(key, value) for key, value in asked.items()]
    for name, part in data.parts.items():
        if part.source is Source.manifest and part.root and Path(part.root).suffix.lower() in (".parquet", ".pq"):
            lines.append(unless_there("parquet", f"{data.key_of(name)}root: a Parquet file"))
    return [line for line in lines if line]


def missing_extra(key: str, enhancement: Enhancement) -> str | None:
    """Why an enhancement cannot be had, with what to install; None where it can."""
    return unless_there("enhance", f"{key}: {enhancement}") if enhancement is Enhancement.pyfing else None


def unless_there(extra: str, what: str) -> str | None:
    """Why `what`, which needs an extra, cannot be had, with what to install; None where it can."""
    absent = [module for module in MODULES[extra] if importlib.util.find_spec(module) is None]
    return f"{what} needs {' and '.join(absent)}: pip install 'ifvit[{extra}]'" if absent else None
