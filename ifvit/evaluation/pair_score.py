"""The result of one pair of an evaluation."""

from __future__ import annotations

from typing import NamedTuple


class PairScore(NamedTuple):
    """A pair's result.

    score: higher for mates; not looked at where the pair failed. failed: whether it could not be compared.
    agree, made: how many minutiae are paired, and how many lie in the overlap, each pair counted once.
    overlap: the share of the smaller print.
    of_global, of_local: Module 2's cosines, nan without one.
    """

    score: float
    failed: bool
    agree: int
    made: int
    overlap: float
    of_global: float = float("nan")
    of_local: float = float("nan")
