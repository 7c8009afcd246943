"""The process of one case of `bench.py`: it prepares the case, then runs a round whenever it is asked.

A round is asked for by a line on standard input, and answered by a line of JSON: seconds, number of units, peak memory.
So several processes can be kept ready and run their rounds in turn. Standard library only.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Mapping

ANSWER = "round: "  # begins the lines of answers; libraries may print others
Round = Callable[[], int]  # runs one round and returns how many units it did


def serve(cases: Mapping[str, Callable[[], Round]]) -> None:
    """Run the case that the command line names."""
    run_round = cases[sys.argv[1]]()
    run_round()  # compiles
    _answer({"ready": True})
    for _ in sys.stdin:
        start = time.perf_counter()
        count = run_round()
        seconds = time.perf_counter() - start
        peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        _answer({"seconds": seconds, "count": count, "peak_mb": peak_kb / 1024})


def _answer(content: dict) -> None:
    print(ANSWER + json.dumps(content), flush=True)
