"""The calibration of the fused score by impostor pairs of synthetic fingers, for where a run's evaluation has none.

synthetic_calibration.json has two tables, without and with a run's networks (`experiment=small_matcher`). Their fingers
took no part in the fit of the score, nor did real prints. `benchmarks/synthetic_calibration.py` makes the file.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from ifvit.calibration import Calibration

FILE = Path(__file__).with_suffix(".json")
RIDGES, NETWORKS = "ridges", "networks"


@cache
def synthetic_calibration(networks: bool) -> Calibration:
    """The table of scores without networks, or with the cosines of a Module 2."""
    table = json.loads(FILE.read_text())[NETWORKS if networks else RIDGES]
    return Calibration.from_dict(table)._replace(of={"databases": ["synthetic fingers"], "protocol": "fvc"})
