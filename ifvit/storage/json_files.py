"""JSON files: complete or absent. This file imports neither JAX nor Orbax."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ifvit.errors import CheckpointError
from ifvit.storage.files import write_whole


def write_json(path: Path, tree: Any) -> None:
    """Write the tree as JSON: the file is complete, or it is not changed.

    Raises:
        WriteError: the file cannot be written.
    """
    write_whole(path, lambda file: file.write((json.dumps(tree, indent=2) + "\n").encode()))


def read_json(path: Path) -> Any:
    """The tree of a JSON file; None if there is no file.

    Raises:
        CheckpointError: the file is not JSON.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: not valid JSON ({error}); restore the file or choose another run_dir"
        ) from error
