"""Pairs as if they had been compared: how they lie and what was found is said, nothing is searched."""

import numpy as np

from ifvit.comparison.compared import Compared
from ifvit.comparison.matcher_print import Print
from ifvit.comparison.result import Comparison
from ifvit.comparison.run_networks import Module2Result
from ifvit.comparison.score import Cosines
from ifvit.registration.agreement import CELL, Agreement
from ifvit.registration.elastic import ElasticMap
from ifvit.registration.minutia_pairing import PairedMinutiae
from ifvit.registration.module1_search import Guess
from ifvit.registration.registrar import GuessSource, RidgeAlignment
from ifvit.registration.similarity import PointMatches
from tests.helpers.ridge_prints import SIDE, disc, drawn, finger, homography, map_to_a

TURN, SHIFT = 40.0, (6.0, -8.0)
TO_A = map_to_a(TURN, SHIFT)
POINTS = np.array([[60.0, 60.0], [90.0, 200.0], [150.0, 120.0]])  # px of a canvas at 250 ppi


def prints():
    """Two prints of one finger."""
    return Print(drawn(finger(3))), Print(drawn(finger(3), TO_A, disc(140, 148, 125)))


def found(mean=0.9, paired=12, alone=4, share=0.8, module2_result=None, guess=None) -> Compared:
    """B on A by `TO_A`, with so much agreement over a disc of B, so many paired minutiae and so many without a partner
    in A.
    """
    cover = disc(140, 148, 100).reshape(SIDE // CELL, CELL, SIDE // CELL, CELL).mean((1, 3)).astype(np.float32)
    area = np.float32(cover.sum() * CELL**2)
    agreement = Agreement(mean * (cover > 0), cover, np.float32(mean), np.float32(mean > 0.6), area, np.float32(share))
    place = np.arange(paired)
    minutiae = PairedMinutiae(place, place, place >= 0, np.arange(paired, paired + alone), np.zeros(0, int))
    elastic = ElasticMap(homography(TURN, SHIFT), ())
    return Compared(RidgeAlignment(elastic, False, agreement, minutiae, GuessSource.flow), guess, module2_result)


def comparison(compared: Compared | None = None, **changes) -> Comparison:
    """Of `prints`; `compared` None takes what `found` says."""
    return Comparison("a.png", "b.png", *prints(), compared or found(), 0.5, **changes)


def module2_result(of_global=0.8, of_local=0.6) -> Module2Result:
    """Module 2's, with three places that correspond."""
    matches = PointMatches(POINTS, POINTS + 1, np.array([0.9, 0.5, 0.2]))
    return Module2Result(Cosines(of_global, of_local), 0.6 * of_global + 0.4 * of_local, matches)


def guess() -> Guess:
    """Module 1's, two of whose three matches agree."""
    matches = PointMatches(POINTS, POINTS - 1, np.array([0.9, 0.5, 0.2]))
    return Guess(np.eye(3), matches, np.array([True, False, True]))
