"""Errors of the registration of synthetic impressions, along the skin's bend.

    python -m ifvit synthesize --fingers 100 --impressions 8 --seed 1000 --out SET
    python benchmarks/registration.py SET [--run RUN_DIR]

RUN_DIR is a run of either stage, whose Module 1 adds its guesses. It must not have been trained on the fingers of SET.
Impressions 1 and 2, 3 and 4, and so on of every finger are aligned and compared with the set's exact maps. The error of
a pair is the mean distance, px at 250 ppi, between the mapped and the true points in B, over the points of A that both
prints show.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from ifvit import image
from ifvit.comparison.matcher import Matcher
from ifvit.comparison.registration_result import is_registered
from ifvit.comparison.run_networks import load_networks
from ifvit.data.finger_set import DATABASE, STEP
from ifvit.registration.registrar import RidgeAlignment, frame_of
from ifvit.registration.ridge_print import RidgePrint

PPI = 500.0  # of a set's images
ERROR_PPI = 250.0  # of the errors
EVERY = 8  # px between the points that are compared
LOST = 15.0  # px at ERROR_PPI; with a larger error a pair is not aligned at all


def main() -> None:
    """Print the median and the 95th percentile of the pairs' errors, and how many pairs were lost or not registered."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("set", type=Path)
    parser.add_argument("--run", type=Path, metavar="RUN_DIR", help="whose Module 1 adds its guesses")
    arguments = parser.parse_args()
    folder = arguments.set
    pairs = list(_mates(folder))
    if not pairs:
        raise SystemExit(f"{folder}/{DATABASE} holds no two impressions of a finger; `synthesize` makes such a set")
    matcher = Matcher(load_networks(arguments.run) if arguments.run else None)
    names = sorted({name for pair in pairs for name in pair})
    scans = [image.read(folder / DATABASE / f"{name}.png") for name in names]
    prints = dict(zip(names, matcher.prints_of(scans, [PPI] * len(scans)), strict=True))
    matcher = matcher.by(8, frame_of(print_.of_ridges for print_ in prints.values()))
    errors, registered, sources = [], 0, Counter()
    results = matcher.compare_prints(((prints[a], prints[b]) for a, b in pairs), use_module2=False)
    for (a, b), compared in zip(pairs, results, strict=True):
        registered += is_registered(compared.ridge_score)
        sources[str(compared.alignment.source)] += 1
        sides = prints[a].of_ridges, prints[b].of_ridges
        maps = _maps(folder, a, "to_finger"), _maps(folder, b, "from_finger")
        errors.append(error_of(compared.alignment, *sides, *maps))
    median, high = np.nanpercentile(errors, [50, 95])
    print(f"{len(pairs)} pairs at {ERROR_PPI:g} ppi: median {median:.2f} px, 95 % within {high:.2f} px,")
    print(f"{(np.array(errors) > LOST).sum()} off by more than {LOST:g} px, {len(pairs) - registered} not registered;")
    print("from guesses by " + ", ".join(f"{source} {count}" for source, count in sources.most_common()))


def _mates(folder: Path) -> Iterator[tuple[str, str]]:
    """The names F_I of impressions 1 and 2, 3 and 4, ... of each finger."""
    names = {path.stem for path in (folder / DATABASE).glob("*.png")}
    for name in sorted(names):
        finger, impression = name.split("_")
        mate = f"{finger}_{int(impression) + 1}"
        if int(impression) % 2 and mate in names:
            yield name, mate


def _maps(folder: Path, name: str, name_of_map: str) -> np.ndarray:
    with np.load(folder / "maps" / f"{name}.npz") as maps:
        return maps[name_of_map].astype(np.float32)


def error_of(
    alignment: RidgeAlignment, a: RidgePrint, b: RidgePrint, to_finger: np.ndarray, from_finger: np.ndarray
) -> float:
    """The mean error of a pair, px at ERROR_PPI; nan without an overlap.

    to_finger, from_finger: the exact maps of A and of B, (R, C, 2).
    """
    rows, columns = (values * EVERY for values in np.nonzero(a.ridges[::EVERY, ::EVERY]))
    places = np.stack([columns, rows], axis=-1).astype(np.float64)
    truth = b.from_file(_map_values(from_finger, _map_values(to_finger, a.to_file(places))))
    nearest = np.nan_to_num(np.round(truth), nan=-1).astype(int)
    height, width = b.ridges.shape
    visible = (nearest >= 0).all(-1) & (nearest[:, 0] < width) & (nearest[:, 1] < height)
    visible[visible] = b.ridges[nearest[visible, 1], nearest[visible, 0]]
    off = np.linalg.norm(alignment.to_b(places[visible]) - truth[visible], axis=-1) * (ERROR_PPI / PPI)
    return float(off.mean()) if len(off) else float("nan")


def _map_values(values: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The values of a map, which has every STEP-th pixel, at points (N, 2) px; nan outside."""
    x, y = (points / STEP).astype(np.float32).T
    planes = [
        cv2.remap(np.ascontiguousarray(values[..., k]), x[:, None], y[:, None], cv2.INTER_LINEAR,
                  borderMode=cv2.BORDER_CONSTANT, borderValue=float("nan"))[:, 0]
        for k in (0, 1)
    ]  # fmt: skip
    return np.stack(planes, axis=-1).astype(np.float64)


if __name__ == "__main__":
    main()
