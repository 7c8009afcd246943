"""How often two different synthetic fingers reach a fused score: what a score means where no run's evaluation tells it.

synthetic_calibration.json holds two tables, without and with a run's networks (`experiment=small_matcher`). Neither
their fingers nor real prints took part in the fit of the score. `benchmarks/synthetic_calibration.py` makes the file.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from ifvit.calibration import Calibration, from_tree

FILE = Path(__file__).with_suffix(".json")
RIDGES, NETWORKS = "ridges", "networks"


@cache
def synthetic_calibration(networks: bool) -> Calibration:
    """Of scores without networks, or of those to which a Module 2 adds its cosines."""
    table = json.loads(FILE.read_text())[NETWORKS if networks else RIDGES]
    return from_tree(table)._replace(of={"databases": ["synthetic fingers"], "protocol": "fvc"})
