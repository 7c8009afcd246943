"""The result of one pair of an evaluation."""

from __future__ import annotations

from typing import NamedTuple


class PairScore(NamedTuple):
    """The result of a pair."""

    score: float  # higher for genuine pairs; has no meaning where the pair failed
    failed: bool  # whether the pair could not be compared
    paired: int  # pairs of minutiae
    minutiae: int  # in the overlap, those of a pair counted once
    overlap: float  # share of the smaller print, in [0, 1]
    global_cosine: float = float("nan")  # of Module 2; nan without it
    local_cosine: float = float("nan")  # of Module 2; nan without it
