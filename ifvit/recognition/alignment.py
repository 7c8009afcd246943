"""From matched points to the homography that lays print A on print B, or the reason why there is none. NumPy.

Skin is nearly rigid, so what agrees is sought among similarities: one is drawn through every two matches, and the one
with which most matches agree is kept. Two points decide it where a homography needs four, so all can be tried, and the
result follows from the matches alone, without random numbers. Then a homography is fitted to those that agree, and held
to a similarity as far as few or inexact matches cannot tell better (`fitted`). With 24 right matches, each off by 4.6
px along x and y as cells of 16 px are, among 36 wrong ones, OpenCV's USAC_MAGSAC is off by a median of 3.4 px, in 3 %
of cases by more than 15; this by 2.6 px, and never by 15.

What cannot be trusted is refused (`align`): a wrong alignment is worse than none.

Points are (x, y) px in one convention of place (`ifvit.geometry`); a homography is float64 (3, 3), with lower right 1.
"""

from __future__ import annotations

import enum
from math import lgamma, log, pi
from typing import NamedTuple

import numpy as np

MIN_MATCHES = 4  # as a homography needs
VOTERS = 100  # most confident matches through which similarities are drawn: 4,950 of them
BASELINE = 1.5  # tolerances; two matches nearer to each other than this do not tell a direction
CHANCE = 1e-2  # how many agreements as good as the one found are expected among unrelated points, at most
SCALES = (0.8, 1.25)  # of A's ridges in B, at equal ppi
STRAIN = 1.25  # longer over shorter axis of what a circle becomes
FRAME_SCALES = (0.7, 1.4)  # anywhere in the frame, along either axis; beyond it, perspective is no skin's
IMPLAUSIBLE = 1.5  # times as much agreement before a mirrored or otherwise scaled similarity is believed to be meant
ROUNDS = 10  # of reweighted least squares
BIWEIGHT = 4.0  # median errors at which a match no longer counts: Tukey's 4.685 deviations, errors in two dimensions
# What is expected of skin before any match is seen, standard deviations: strain and shear, and the change of scale over
# half the frame.
USUAL_STRAIN, USUAL_PERSPECTIVE = 0.05, 0.02
SMALLEST_NOISE = 0.1  # px


class Cause(enum.StrEnum):
    """Why two prints were not laid on one another."""

    few_matches = "few_matches"
    few_inliers = "few_inliers"
    collinear = "collinear"
    mirrored = "mirrored"
    scale = "scale"
    perspective = "perspective"
    small_overlap = "small_overlap"


class Refusal(NamedTuple):
    """A cause, and what was found, in words."""

    cause: Cause
    text: str

    def __str__(self) -> str:
        return self.text


class Matches(NamedTuple):
    """M matches: points_a, points_b float64 (M, 2) px; confidence float64 (M,) in (0, 1]."""

    points_a: np.ndarray
    points_b: np.ndarray
    confidence: np.ndarray


class Alignment(NamedTuple):
    """homography A -> B, or None and the refusal; inliers: bool (M,), the matches that agree with it, or with the best
    that was found and refused.
    """

    homography: np.ndarray | None
    inliers: np.ndarray
    refusal: Refusal | None


def transform(homography: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Where a homography takes points (..., 2); not finite on its horizon."""
    x, y, w = (points[..., 0] * row[0] + points[..., 1] * row[1] + row[2] for row in homography)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.stack([x / w, y / w], axis=-1)


def jacobians(homography: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The derivatives (..., 2, 2) of a homography at points (..., 2): rows of x' and y', columns along x and y."""
    w = points @ homography[2, :2] + homography[2, 2]
    there = transform(homography, points)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (homography[:2, :2] - there[..., None] * homography[2, :2]) / w[..., None, None]


def errors(homography: np.ndarray, matches: Matches) -> np.ndarray:
    """How far from its point of B each match is laid, (M,) px."""
    return np.linalg.norm(transform(homography, matches.points_a) - matches.points_b, axis=-1)


def agreement(homography: np.ndarray, matches: Matches, tolerance: float) -> float:
    """How far matches agree with a homography: the sum of confidence * (1 - (error/tolerance)^2), where positive."""
    return float(_nearness(errors(homography, matches), tolerance) @ matches.confidence)


def _nearness(error: np.ndarray, tolerance: float) -> np.ndarray:
    """1 without an error to 0 from the tolerance on, and where there is no error to tell."""
    return np.nan_to_num(np.maximum(1 - (error / tolerance) ** 2, 0), nan=0.0)


def consensus(matches: Matches, tolerance: float) -> np.ndarray | None:
    """The similarity (3, 3) with which most matches agree; None where no two of them are far enough apart to draw one.

    A mirrored one, or one whose scale is beyond `SCALES`, is returned only where it is better by `IMPLAUSIBLE`.
    """
    z_a, z_b = (points @ np.array([1, 1j]) for points in (matches.points_a, matches.points_b))
    first, second = np.triu_indices(min(len(z_a), VOTERS), 1)  # the matches come best first
    apart = np.minimum(np.abs(z_a[second] - z_a[first]), np.abs(z_b[second] - z_b[first])) > BASELINE * tolerance
    first, second = first[apart], second[apart]
    if not len(first):
        return None
    best, rank = None, -1.0
    for mirrored in (False, True):
        z = z_a.conj() if mirrored else z_a
        turn = (z_b[second] - z_b[first]) / (z[second] - z[first])  # its length is the scale, its argument the angle
        shift = z_b[first] - turn * z[first]
        error = np.abs(turn[:, None] * z + shift[:, None] - z_b)
        score = np.maximum(1 - (error / tolerance) ** 2, 0) @ matches.confidence
        plausible = (np.abs(turn) > SCALES[0]) & (np.abs(turn) < SCALES[1]) & (not mirrored)
        ranks = np.where(plausible, score, score / IMPLAUSIBLE)
        k = int(np.argmax(ranks))
        if ranks[k] > rank:
            best, rank = _similarity(turn[k], shift[k], mirrored), ranks[k]
    return best


def _similarity(turn: complex, shift: complex, mirrored: bool) -> np.ndarray:
    """The map z -> turn * z + shift of z = x + iy, or of its conjugate, as a homography."""
    sign = -1 if mirrored else 1
    return np.array([[turn.real, -sign * turn.imag, shift.real], [turn.imag, sign * turn.real, shift.imag], [0, 0, 1]])


def chance(inliers: int, matches: Matches, tolerance: float, trials: int) -> float:
    """Log10 of how often `trials` sets of as many unrelated matches would agree so well: the expected number of
    similarities through two of them with `inliers` inliers (Moisan and Stival, IJCV 57, 2004).
    """
    count = len(matches.confidence)
    room = np.prod(np.ptp(matches.points_b, axis=0) + 2 * tolerance)
    likely = min(1.0, pi * tolerance**2 / float(room))

    def ways(n: int, k: int) -> float:
        return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)

    if inliers <= 2:
        return float("inf")
    expected = log(trials) + log(count - 2) + ways(count, inliers) + ways(inliers, 2) + (inliers - 2) * log(likely)
    return expected / log(10)


def fitted(homography: np.ndarray, matches: Matches, frame: tuple[int, int], tolerance: float) -> np.ndarray:
    """The homography nearest to the matches, from one with which they agree.

    Least squares, weighted by confidence and by Tukey's biweight, in rounds. To the squares of the errors are added
    those of strain, shear and perspective, over their usual size and times the noise that the errors show: so exact or
    many matches make it any homography, and few or inexact ones a similarity.
    """
    half, width = max(frame) / 2, tolerance
    for _ in range(ROUNDS):
        error = errors(homography, matches)
        near = _nearness(error, width)
        held = near > 0
        if held.sum() < 2:
            break
        weight = (matches.confidence * near**2)[held]
        weight /= weight.sum()
        points_a, points_b = matches.points_a[held], matches.points_b[held]
        to_a, to_b = _centred(weight @ points_a, half), _centred(weight @ points_b, half)
        noise = max(np.sqrt(weight @ error[held] ** 2 / 2), SMALLEST_NOISE) / half
        before = to_b @ homography @ np.linalg.inv(to_a)
        u, v = transform(to_a, points_a), transform(to_b, points_b)
        # What is solved for is linear; divided by the last round's denominator its errors are those in B.
        at = np.sqrt(weight) / (u @ before[2, :2] / before[2, 2] + 1)
        homography = np.linalg.inv(to_b) @ _solved(u, v, at, noise / np.sqrt(len(u))) @ to_a
        homography /= homography[2, 2]
        # Where the right matches are exact, a wrong one nearby has no say.
        width = min(tolerance, BIWEIGHT * max(np.median(error[held]), SMALLEST_NOISE))
    return homography


def _centred(middle: np.ndarray, half: float) -> np.ndarray:
    return np.array([[1 / half, 0, -middle[0] / half], [0, 1 / half, -middle[1] / half], [0, 0, 1]])


def _solved(u: np.ndarray, v: np.ndarray, weight: np.ndarray, stiffness: float) -> np.ndarray:
    """The homography u -> v, each (M, 2), of the least weighted squares of A u + t - v (g u) - v, and of what the
    similarity lacks, `stiffness` times over its usual size.
    """
    nothing, one = np.zeros_like(weight), np.ones_like(weight)
    x, y = u.T
    rows_x = np.stack([x, y, one, nothing, nothing, nothing, -v[:, 0] * x, -v[:, 0] * y], -1)
    rows_y = np.stack([nothing, nothing, nothing, x, y, one, -v[:, 1] * x, -v[:, 1] * y], -1)
    strain, perspective = stiffness / USUAL_STRAIN / np.sqrt(2), stiffness / USUAL_PERSPECTIVE
    prior = np.zeros((4, 8))
    prior[0, [0, 4]] = strain, -strain  # A = [[0, 1], [3, 4]]; of a similarity 0 is 4, and 1 is minus 3
    prior[1, [1, 3]] = strain, strain
    prior[2, 6] = prior[3, 7] = perspective
    rows = np.concatenate([rows_x * weight[:, None], rows_y * weight[:, None], prior])
    target = np.concatenate([v[:, 0] * weight, v[:, 1] * weight, np.zeros(4)])
    return np.append(np.linalg.lstsq(rows, target, rcond=None)[0], 1.0).reshape(3, 3)


def align(
    matches: Matches,
    frame: tuple[int, int],
    tolerance: float,
    *,
    more: Matches | None = None,
    start: np.ndarray | None = None,
    trials: int = 1,
) -> Alignment:
    """The homography A -> B of matches, best first, or the reason why they give none.

    Args:
        frame: (height, width) of A, px.
        tolerance: px; a match that is off by less may be right.
        more: further matches of the same prints. They do not vote, but where they agree with what was found the
            homography is fitted to them too.
        start: a similarity (3, 3) with which they agree, where that is known already.
        trials: how many sets of matches the given one is the best of.
    """
    count = len(matches.confidence)
    nobody = np.zeros(count, bool)
    if count < MIN_MATCHES:
        return Alignment(None, nobody, Refusal(Cause.few_matches, f"{count} matches; {MIN_MATCHES} are needed"))
    start = consensus(matches, tolerance) if start is None else start
    if start is None:
        return Alignment(None, nobody, Refusal(Cause.collinear, "all matches lie beside one another"))
    inliers = errors(start, matches) < tolerance
    refusal = _accidental(inliers, matches, tolerance, trials) or _turned_over(start)
    if refusal:
        return Alignment(None, inliers, refusal)
    both = matches if more is None else Matches(*map(np.concatenate, zip(matches, more, strict=True)))
    homography = fitted(start, both, frame, tolerance)
    inliers = errors(homography, matches) < tolerance
    refusal = (
        _accidental(inliers, matches, tolerance, trials)
        or _in_line(matches.points_a[inliers], tolerance)
        or _implausible(homography, matches.points_a[inliers], frame)
    )
    return Alignment(None if refusal else homography, inliers, refusal)


def _accidental(inliers: np.ndarray, matches: Matches, tolerance: float, trials: int) -> Refusal | None:
    if chance(int(inliers.sum()), matches, tolerance, trials) < log(CHANCE) / log(10):
        return None
    text = f"only {inliers.sum()} of {len(inliers)} matches agree, as unrelated ones may by chance"
    return Refusal(Cause.few_inliers, text)


def _turned_over(homography: np.ndarray) -> Refusal | None:
    if np.linalg.det(homography[:2, :2]) > 0:
        return None
    return Refusal(Cause.mirrored, "the matches mirror the print; is one of the images flipped?")


def _in_line(points: np.ndarray, tolerance: float) -> Refusal | None:
    """Points within a strip tell nothing of what lies beside it."""
    spread = np.sqrt(np.maximum(np.linalg.eigvalsh(np.cov(points.T)), 0))
    if spread[0] > tolerance / 2:
        return None
    text = f"the {len(points)} matches that agree lie in a strip of {2 * spread[0]:.0f} px"
    return Refusal(Cause.collinear, text)


def _implausible(homography: np.ndarray, inliers: np.ndarray, frame: tuple[int, int]) -> Refusal | None:
    """Skin is stretched by some percent, and both prints have the same ppi."""
    long, short = np.linalg.svd(jacobians(homography, inliers.mean(0)), compute_uv=False)
    scale = np.sqrt(long * short)
    if not SCALES[0] < scale < SCALES[1]:
        return Refusal(Cause.scale, f"B is {scale:.2f} times as large as A; is the ppi of both right?")
    if long / short > STRAIN:
        return Refusal(Cause.scale, f"B is stretched {long / short:.2f} times as far one way as the other")
    height, width = frame
    corners = np.array([(x, y) for x in (0, width - 1) for y in (0, height - 1)], float)
    at_corners = jacobians(homography, corners)
    ahead = (corners @ homography[2, :2] + 1 > 0).all()
    sizes = np.linalg.svd(at_corners, compute_uv=False) if ahead else np.zeros((1, 2))
    if ahead and FRAME_SCALES[0] < sizes.min() and sizes.max() < FRAME_SCALES[1]:
        return None
    return Refusal(Cause.perspective, "the matches tilt the print more than skin can")
