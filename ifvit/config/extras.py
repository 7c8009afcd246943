"""The extras of pyproject.toml that a config needs, checked before anything is computed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from ifvit.config.choices import Enhancement, Source, StageName
from ifvit.config.schema import Config

MODULES = {"enhance": ("pyfing", "keras"), "parquet": ("pyarrow",), "wsq": ("wsq",)}  # that an extra installs


def missing_extras(config: Config) -> list[str]:
    """A line for every key that asks for an extra that is not installed."""
    data = config.data
    enhancements: dict[str, Enhancement] = {}
    # Prepared prints are enhanced already.
    if any(part.source is not Source.prepared for part in data.parts.values()):
        enhancements |= {"data.ridge_mask": data.ridge_mask}
        enhancements |= {"matcher.enhancement": config.matcher.enhancement} if config.stage is StageName.matcher else {}
    lines = [missing_extra(key, value) for key, value in enhancements.items()]
    for name, part in data.parts.items():
        if part.source is Source.manifest and part.root and Path(part.root).suffix.lower() in (".parquet", ".pq"):
            lines.append(missing_modules("parquet", f"{data.key_of(name)}root: a Parquet file"))
    return [line for line in lines if line]


def missing_extra(key: str, enhancement: Enhancement) -> str | None:
    """The line that refuses an enhancement, with what to install; None where it is installed."""
    return missing_modules("enhance", f"{key}: {enhancement}") if enhancement is Enhancement.pyfing else None


def missing_modules(extra: str, purpose: str) -> str | None:
    """The line that refuses `purpose`, which needs an extra, with what to install; None where it is installed."""
    modules = [module for module in MODULES[extra] if importlib.util.find_spec(module) is None]
    return f"{purpose} needs {' and '.join(modules)}: pip install 'ifvit[{extra}]'" if modules else None
