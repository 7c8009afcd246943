"""How far off are the impressions of synthetic fingers laid on one another, along the skin's bend?

    python -m ifvit synthesize --fingers 100 --impressions 8 --seed 1000 --out SET
    python benchmarks/registration.py SET [--run RUN_DIR]

SET is a set of fingers that RUN_DIR, a run of either stage whose Module 1 adds its guesses, has not seen. Impressions 1
and 2, 3 and 4, and so on of every finger are laid on one another and held against the set's exact maps. The error of a
pair is the mean distance, px at 250 ppi, of where a place of A is laid from where it lies, over the places that both
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
from ifvit.comparison.comparer import Comparer
from ifvit.comparison.registration_result import is_registered
from ifvit.comparison.run_networks import load_networks
from ifvit.data.finger_set import DATABASE, STEP
from ifvit.registration.registrar import RidgeAlignment, frame_of
from ifvit.registration.ridge_print import RidgePrint

PPI = 500.0  # of a set's images
ERROR_PPI = 250.0  # of the errors
EVERY = 8  # px between the places that are looked at
LOST = 15.0  # px at ERROR_PPI; a pair laid worse than this shows nothing in its place


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
    comparer = Comparer(load_networks(arguments.run) if arguments.run else None)
    names = sorted({name for pair in pairs for name in pair})
    scans = [image.read(folder / DATABASE / f"{name}.png") for name in names]
    prints = dict(zip(names, comparer.prints_of(scans, [PPI] * len(scans)), strict=True))
    comparer = comparer.by(8, frame_of(shown.of_ridges for shown in prints.values()))
    errors, registered, sources = [], 0, Counter()
    for (a, b), found in zip(pairs, comparer.align_many((prints[a], prints[b]) for a, b in pairs), strict=True):
        registered += is_registered(found.ridge_score)
        sources[str(found.alignment.source)] += 1
        sides = prints[a].of_ridges, prints[b].of_ridges
        errors.append(error_of(found.alignment, *sides, _maps(folder, a, "to_finger"), _maps(folder, b, "from_finger")))
    median, most = np.nanpercentile(errors, [50, 95])
    print(f"{len(pairs)} pairs at {ERROR_PPI:g} ppi: median {median:.2f} px, 95 % within {most:.2f} px,")
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


def _maps(folder: Path, name: str, which: str) -> np.ndarray:
    with np.load(folder / "maps" / f"{name}.npz") as held:
        return held[which].astype(np.float32)


def error_of(
    alignment: RidgeAlignment, a: RidgePrint, b: RidgePrint, to_finger: np.ndarray, from_finger: np.ndarray
) -> float:
    """The mean error of a pair, px at ERROR_PPI; nan where its prints share nothing. The maps are A's and B's,
    (R, C, 2).
    """
    rows, columns = (values * EVERY for values in np.nonzero(a.ridges[::EVERY, ::EVERY]))
    places = np.stack([columns, rows], axis=-1).astype(np.float64)
    truth = b.from_file(_at(from_finger, _at(to_finger, a.to_file(places))))
    near = np.nan_to_num(np.round(truth), nan=-1).astype(int)
    height, width = b.ridges.shape
    seen = (near >= 0).all(-1) & (near[:, 0] < width) & (near[:, 1] < height)
    seen[seen] = b.ridges[near[seen, 1], near[seen, 0]]
    off = np.linalg.norm(alignment.to_b(places[seen]) - truth[seen], axis=-1) * (ERROR_PPI / PPI)
    return float(off.mean()) if len(off) else float("nan")


def _at(values: np.ndarray, points: np.ndarray) -> np.ndarray:
    """A map that knows every STEP-th pixel, at points (N, 2) px; nan outside of it."""
    x, y = (points / STEP).astype(np.float32).T
    planes = [
        cv2.remap(np.ascontiguousarray(values[..., k]), x[:, None], y[:, None], cv2.INTER_LINEAR,
                  borderMode=cv2.BORDER_CONSTANT, borderValue=float("nan"))[:, 0]
        for k in (0, 1)
    ]  # fmt: skip
    return np.stack(planes, axis=-1).astype(np.float64)


if __name__ == "__main__":
    main()
