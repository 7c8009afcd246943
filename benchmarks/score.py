"""Fit the weights of `ifvit.comparison.score` on synthetic fingers, and print the EER of the fit.

    python -m ifvit synthesize --fingers 60 --impressions 6 --seed 2000 --out fingers
    python benchmarks/score.py fingers                   # WEIGHTS
    python benchmarks/score.py fingers --run RUN_DIR     # WEIGHTS_WITH_NETWORKS, of a run of stage=matcher

Every two impressions of a finger are a genuine pair, the first impressions of every two fingers an impostor pair. The
run must not have been trained on these fingers. Takes some ten minutes on two cores. The evidence is stored beside the
set.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np

from ifvit import image
from ifvit.comparison.matcher import Matcher
from ifvit.comparison.run_networks import RunNetworks, load_networks
from ifvit.comparison.score import Cosines, Evidence, ridge_score, terms
from ifvit.progress import Progress
from ifvit.rates import Thresholds, equal_error
from ifvit.registration.registrar import frame_of

PENALTY = 1e-2  # of squared weights; without it the pairs are separable
ROUNDS = 100
OF_RIDGES = 3  # terms before the cosines


def pairs(files: list[Path]) -> list[tuple[int, int, bool]]:
    """First and second image of each pair, and whether they are of one finger."""
    fingers, impressions = zip(*(path.stem.split("_") for path in files), strict=True)
    result = []
    for first, second in itertools.combinations(range(len(files)), 2):
        same = fingers[first] == fingers[second]
        if same or impressions[first] == impressions[second] == "1":
            result.append((first, second, same))
    return result


def gather(folder: Path, networks: RunNetworks | None) -> np.ndarray:
    """The evidence of each pair and whether it is genuine, (N, 5); with networks and their cosines (N, 7)."""
    path = folder / ("evidence.npy" if networks is None else f"evidence-{networks.module2.digest()}.npy")
    if path.exists():
        return np.load(path)
    files = sorted(folder.rglob("*.png")) or sorted(folder.rglob("*.tif"))
    matcher = Matcher(networks)
    prints = list(matcher.prints_of([image.read(path) for path in files], [500] * len(files)))
    matcher = matcher.by(8, frame_of(print_.of_ridges for print_ in prints))
    rows, pair_list = [], pairs(files)
    progress = Progress("comparing", len(pair_list))
    results = matcher.compare_prints((prints[a], prints[b]) for a, b, _ in pair_list)
    for (_, _, genuine), result in zip(pair_list, results, strict=True):
        rows.append((*result.evidence, genuine, *(() if networks is None else result.module2_result.cosines)))
        progress.step()
    np.save(path, np.array(rows))
    return np.array(rows)


def fit(values: np.ndarray, genuine: np.ndarray) -> np.ndarray:
    """The weights of a logistic regression, base 10, by Newton's method. Both kinds of pairs have the same weight."""
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


def fit_rising(values: np.ndarray, genuine: np.ndarray) -> np.ndarray:
    """As `fit`, but a cosine whose weight would be negative gets weight 0: a higher cosine never lowers the score."""
    used = np.ones(values.shape[1], bool)
    is_cosine = np.arange(len(used)) >= OF_RIDGES
    while True:
        weights = np.zeros(len(used))
        weights[used] = fit(values[:, used], genuine)
        falling = is_cosine & (weights < 0)
        if not falling.any():
            return weights
        used &= ~falling


def main() -> None:
    """Print the weights and the EER of each score."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a set of `python -m ifvit synthesize`")
    parser.add_argument("--run", type=Path, metavar="RUN_DIR", help="whose Module 2's cosines are weighed too")
    arguments = parser.parse_args()
    networks = None if arguments.run is None else load_networks(arguments.run)
    if networks is not None and networks.module2 is None:
        raise SystemExit(
            f"{arguments.run}: has Module 1 alone, whose guesses are no evidence; give a run of stage=matcher"
        )
    table = gather(arguments.folder, networks)
    evidence, genuine = Evidence(*table[:, :4].T), table[:, 4] > 0
    cosines = None if networks is None else Cosines(*table[:, 5:].T)
    values = terms(evidence, cosines)
    weights = fit_rising(values, genuine)
    print("WEIGHTS" if networks is None else "WEIGHTS_WITH_NETWORKS", np.round(weights, 3).tolist())
    scores = {"agreement alone": table[:, 0], "fused": ridge_score(evidence, cosines, weights)}
    if networks is not None:
        config = networks.module2.config
        scores["cosines"] = table[:, 5:] @ (config.global_weight, config.local_weight)
        scores["ridges alone, fitted"] = ridge_score(evidence, None, fit(terms(evidence), genuine))
    for name, score in scores.items():
        eer = equal_error(Thresholds(score, genuine).rates())
        print(f"{name}: EER {100 * eer.rate:.2f} % of {genuine.sum()} genuine and {(~genuine).sum()} impostor pairs")
    score = scores["fused"][~genuine]
    print(
        "impostors above 1, 2, 3:",
        [f"{100 * (score > k).mean():.2f} %" for k in (1, 2, 3)],
        f"highest {score.max():.2f}",
    )


if __name__ == "__main__":
    main()
