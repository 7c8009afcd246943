"""Fit the weights of `ifvit.recognition.ridge_score` on synthetic fingers, and say how well they tell them apart.

    python -m ifvit synthesize --fingers 60 --impressions 6 --seed 2000 --out fingers
    python benchmarks/ridge_score.py fingers

Every two impressions of a finger are a genuine pair, the first impressions of every two fingers an impostor pair. Takes
some ten minutes on two cores; the evidence is kept beside the set.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np

from ifvit import image
from ifvit.config import Enhancement
from ifvit.progress import Progress
from ifvit.rates import Ladder, equal_error
from ifvit.recognition.enhancement import Enhancer
from ifvit.recognition.ridge_matcher import RidgeMatcher, frame_of
from ifvit.recognition.ridge_print import ridge_print
from ifvit.recognition.ridge_score import Evidence, terms

PENALTY = 1e-2  # of squared weights; the pairs are separable otherwise
ROUNDS = 100


def pairs(files: list[Path]) -> list[tuple[int, int, bool]]:
    """First and second image of each pair, and whether they are of one finger."""
    fingers, impressions = zip(*(path.stem.split("_") for path in files), strict=True)
    chosen = []
    for first, second in itertools.combinations(range(len(files)), 2):
        same = fingers[first] == fingers[second]
        if same or impressions[first] == impressions[second] == "1":
            chosen.append((first, second, same))
    return chosen


def gathered(folder: Path) -> np.ndarray:
    """The evidence of each pair and whether it is genuine, (N, 5)."""
    kept = folder / "evidence.npy"
    if kept.exists():
        return np.load(kept)
    files = sorted(folder.rglob("*.png")) or sorted(folder.rglob("*.tif"))
    enhancer = Enhancer(Enhancement.gabor)
    prints = [ridge_print(image.read(path), 500, enhancer) for path in files]
    matcher = RidgeMatcher(frame_of(prints))
    rows, chosen = [], pairs(files)
    progress = Progress("comparing", len(chosen))
    for first, second, genuine in chosen:
        alignment = matcher.align(prints[first], prints[second])
        paired, _, alone = alignment.paired.counts
        rows.append((float(alignment.agreement.mean), float(alignment.agreement.area), paired, alone, genuine))
        progress.step()
    np.save(kept, np.array(rows))
    return np.array(rows)


def fit(values: np.ndarray, genuine: np.ndarray) -> np.ndarray:
    """The weights of a logistic regression, base 10, both kinds of pairs counting alike; by Newton's method."""
    scale = np.maximum(values.std(0), 1e-9)
    scale[0] = 1.0
    x = values / scale
    share = np.where(genuine, 0.5 / genuine.sum(), 0.5 / (~genuine).sum()) * len(genuine)
    weights = np.zeros(x.shape[1])
    penalty = PENALTY * len(genuine) * np.diag([0.0] + [1.0] * (x.shape[1] - 1)) / len(genuine)
    for _ in range(ROUNDS):
        probability = 1 / (1 + np.exp(-np.clip(x @ weights, -30, 30)))
        gradient = x.T @ (share * (genuine - probability)) - penalty @ weights
        curvature = (x * (share * probability * (1 - probability))[:, None]).T @ x + penalty
        weights += np.linalg.solve(curvature + 1e-9 * np.eye(len(weights)), gradient)
    return weights / scale / np.log(10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a set of `python -m ifvit synthesize`")
    table = gathered(parser.parse_args().folder)
    evidence, genuine = Evidence(*table[:, :4].T), table[:, 4] > 0
    values = terms(evidence)
    weights = fit(values, genuine)
    print("weights", np.round(weights, 3).tolist())
    for name, score in (("agreement alone", table[:, 0]), ("fused", values @ weights)):
        eer = equal_error(Ladder(score, genuine).rates())
        print(f"{name}: EER {100 * eer.rate:.2f} % of {genuine.sum()} genuine and {(~genuine).sum()} impostor pairs")
    score = (values @ weights)[~genuine]
    print(
        "impostors above 1, 2, 3:",
        [f"{100 * (score > k).mean():.2f} %" for k in (1, 2, 3)],
        f"highest {score.max():.2f}",
    )


if __name__ == "__main__":
    main()
