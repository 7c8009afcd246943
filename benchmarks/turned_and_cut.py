"""FNMR when the second print is turned, or cut to a part of its area.

    python benchmarks/turned_and_cut.py FOLDER --databases DB1_B DB3_B [--run RUN_DIR] [--impostors 200]

FOLDER has FVC's databases. B is turned by 12 steps of 30 degrees, or cut to 75, 50, 35 and 25 % of its ridges' area by
a straight edge at a random angle. All genuine pairs and drawn impostor pairs are treated alike. The threshold is that
of FMR 1 % over the impostors of the same treatment, all turns together.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ifvit import image
from ifvit.comparison.matcher import Matcher
from ifvit.comparison.matcher_print import Print
from ifvit.comparison.run_networks import load_networks
from ifvit.databases.protocols import PairList, Protocol, protocol_pairs
from ifvit.databases.sources import find
from ifvit.evaluation.robustness import move_print
from ifvit.image import ImageError, Scan
from ifvit.launch import compose_config
from ifvit.progress import Progress
from ifvit.registration.registrar import frame_of

ANGLES = tuple(range(0, 360, 30))
SHARES = (0.75, 0.5, 0.35, 0.25)
FMR = 0.01
SEED = 0


def main() -> None:
    """Print FNMR of each treatment and database."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--databases", nargs="+", default=["DB1_B", "DB3_B"])
    parser.add_argument("--run", type=Path, metavar="RUN_DIR")
    parser.add_argument("--impostors", type=int, default=200)
    arguments = parser.parse_args()
    matcher = Matcher(load_networks(arguments.run) if arguments.run else None)
    for database in arguments.databases:
        data = compose_config(["data=fvc", f"data.root={arguments.folder}", f"data.databases=[{database}]"]).data
        records = [record for database_records in find(data).values() for record in database_records]
        pair_list = protocol_pairs(records, Protocol.all, arguments.impostors)
        scans, ppis = [image.read(record.path) for record in records], [record.ppi for record in records]
        prints = list(matcher.prints_of(scans, ppis))
        score_treated = partial(scores, matcher, prints, pair_list, ppis)
        progress = Progress(database, len(ANGLES) + len(SHARES))
        rows = []
        for angle in ANGLES:
            rows.append(
                score_treated([scan._replace(grey=move_print(scan.grey, 500.0, angle, 0.0, 0.0)) for scan in scans])
            )
            progress.step()
        report(database, [f"turned {angle}" for angle in ANGLES], np.array(rows), pair_list.genuine, together=True)
        edges = np.random.default_rng(SEED).uniform(0, 2 * np.pi, len(scans))
        rows = []
        for share in SHARES:
            parts = [cut(*each, share) for each in zip(scans, prints, edges, strict=True)]
            rows.append(score_treated(parts))
            progress.step()
        names = [f"{100 * share:.0f} % of the area" for share in SHARES]
        report(database, names, np.array(rows), pair_list.genuine, together=False)


def scores(
    matcher: Matcher,
    prints: Sequence[Print],
    pair_list: PairList,
    ppis: Sequence[float | None],
    scans: Sequence[Scan],
) -> np.ndarray:
    """The score of each pair, with its second image from `scans`; -inf where that shows no ridges."""
    treated_prints = list(matcher.prints_of(scans, ppis))
    usable = np.array([not isinstance(treated_prints[k], ImageError) for k in pair_list.second])
    numbers = zip(pair_list.first[usable], pair_list.second[usable], strict=True)
    sides = [(prints[a], treated_prints[b]) for a, b in numbers]
    frame = frame_of(print_.of_ridges for pair in sides for print_ in pair)
    result = np.full(len(pair_list), -np.inf)
    result[usable] = [compared.score for compared in matcher.by(8, frame).compare_prints(sides)]
    return result


def report(database: str, names: Sequence[str], score: np.ndarray, genuine: np.ndarray, together: bool) -> None:
    """FNMR of each treatment (rows of `score`) at its own threshold, or at that of all of them."""
    impostors = score[:, ~genuine]
    for name, of_genuine, of_impostors in zip(names, score[:, genuine], impostors, strict=True):
        threshold = np.quantile(impostors if together else of_impostors, 1 - FMR, method="higher")
        rejected = of_genuine <= threshold
        fnmr = f"{100 * rejected.mean():5.2f} % ({rejected.sum()} of {len(rejected)})"
        print(f"{database} {name:20} FNMR {fnmr} at {threshold:5.2f}")


def cut(scan: Scan, print_: Print, angle: float, share: float) -> Scan:
    """The image on one side of a straight edge, with `share` of the ridge area; the rest has the background's grey."""
    ridges = print_.of_ridges
    rows, cols = np.nonzero(ridges.ridges)
    places = ridges.to_file(np.stack([cols, rows], axis=-1).astype(np.float64))
    direction = np.array([np.cos(angle), np.sin(angle)])
    edge = np.quantile(places @ direction, share)
    y, x = np.mgrid[: scan.grey.shape[0], : scan.grey.shape[1]]
    edge_values = np.concatenate([scan.grey[0], scan.grey[-1], scan.grey[:, 0], scan.grey[:, -1]])
    background = np.uint8(np.median(edge_values))
    return scan._replace(grey=np.where(x * direction[0] + y * direction[1] > edge, background, scan.grey))


if __name__ == "__main__":
    main()
