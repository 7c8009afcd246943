"""Ablation of a comparison: sources of guesses, kinds of evidence, the enhancement, a run's networks.

    python benchmarks/ablation.py FOLDER --databases DB1_B DB2_B DB3_B DB4_B [--run RUN_DIR] [--impostors 45]

FOLDER has FVC's databases. Compared are all genuine pairs of its protocol, and its impostor pairs, or --impostors drawn
ones. A source alone: without the guesses of the other sources. Evidence alone: the mean agreement where the overlap is
at least a third of a square cm, or the balance of paired and unpaired minutiae, or Module 2's cosines. Prints EER and
ZeroFMR in percent.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import numpy as np

from ifvit import image
from ifvit.comparison.compared import Compared
from ifvit.comparison.matcher import Matcher
from ifvit.comparison.run_networks import RunNetworks, load_networks
from ifvit.comparison.score import terms
from ifvit.config import Enhancement
from ifvit.databases.protocols import PairList, Protocol, protocol_pairs
from ifvit.databases.records import Record
from ifvit.databases.sources import find
from ifvit.launch import compose_config
from ifvit.rates import Thresholds, equal_error, lowest_fnmr
from ifvit.registration import registrar
from ifvit.registration.elastic import worth
from ifvit.registration.registrar import OF_FLOW, OF_MINUTIAE, frame_of

BALANCE = 2  # index of the balance of minutiae in the score's terms


def main() -> None:
    """Print a line for each part, with the databases side by side."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--databases", nargs="+", default=["DB1_B", "DB2_B", "DB3_B", "DB4_B"])
    parser.add_argument("--run", type=Path, metavar="RUN_DIR", help="of stage=matcher")
    parser.add_argument("--impostors", type=int, help="drawn ones, in place of the protocol's")
    parser.add_argument("--methods", nargs="+", type=Enhancement, default=[Enhancement.gabor])
    arguments = parser.parse_args()
    networks = arguments.run and load_networks(arguments.run)
    table: dict[str, list[str]] = {}
    for database in arguments.databases:
        data = compose_config(["data=fvc", f"data.root={arguments.folder}", f"data.databases=[{database}]"]).data
        records = [record for database_records in find(data).values() for record in database_records]
        pair_list = protocol_pairs(records, Protocol.all if arguments.impostors else Protocol.fvc, arguments.impostors)
        for method in arguments.methods:
            for name, score in rows(networks, method, records, pair_list):
                figures = Thresholds(score, pair_list.genuine).rates()
                cell = f"{100 * equal_error(figures).rate:6.2f} {100 * float(lowest_fnmr(figures, 0.0)[0]):6.2f}"
                table.setdefault(f"{method}, {name}", []).append(cell)
                print(f"{database} {method}, {name:32} {cell}", flush=True)
    print(f"\n{'EER and ZeroFMR, %':40} " + " | ".join(f"{name:^13}" for name in arguments.databases))
    for name, cells in table.items():
        print(f"{name:40} " + " | ".join(cells))


def rows(
    networks: RunNetworks | None, method: Enhancement, records: Sequence[Record], pair_list: PairList
) -> Iterator[tuple[str, np.ndarray]]:
    """The name and the scores (P,) of each part, higher for genuine pairs."""
    matcher = Matcher(None, method)
    results = compare_all(matcher, records, pair_list)
    yield "ridges fused, without a run", np.array([pair.ridge_score for pair in results])
    agreements = [pair.alignment.agreement for pair in results]
    yield "agreement alone", np.array([float(worth(np.float32(each.mean), each.area)) for each in agreements])
    yield "minutiae alone", np.array([terms(pair.evidence)[BALANCE] for pair in results])
    for name, of_flow, of_minutiae in (("flow", OF_FLOW, 0), ("minutiae", 0, OF_MINUTIAE)):
        results = compare_with_limits(matcher, records, pair_list, of_flow, of_minutiae)
        yield f"guesses by {name} alone", np.array([pair.ridge_score for pair in results])
    if networks is not None:
        matcher = Matcher(networks, method)
        results = compare_all(matcher, records, pair_list)
        yield "all fused, with the run", np.array([pair.score for pair in results])
        yield "ridges fused, with Module 1's guesses", np.array([pair.ridge_score for pair in results])
        yield "cosines alone", np.array([pair.module2_result.score for pair in results])
        results = compare_with_limits(matcher, records, pair_list, 0, 0)
        yield "guesses by Module 1 alone", np.array([pair.ridge_score for pair in results])


def compare_with_limits(
    matcher: Matcher, records: Sequence[Record], pair_list: PairList, of_flow: int, of_minutiae: int
) -> list[Compared]:
    """The comparison of all pairs with another number of guesses by each source."""
    registrar.OF_FLOW, registrar.OF_MINUTIAE = of_flow, of_minutiae
    jax.clear_caches()  # the compiled program has the old numbers
    results = compare_all(matcher, records, pair_list)
    registrar.OF_FLOW, registrar.OF_MINUTIAE = OF_FLOW, OF_MINUTIAE
    jax.clear_caches()
    return results


def compare_all(matcher: Matcher, records: Sequence[Record], pair_list: PairList) -> list[Compared]:
    """The comparison of all pairs."""
    scans = [image.read(record.path) for record in records]
    prints = list(matcher.prints_of(scans, [record.ppi for record in records]))
    matcher = matcher.by(8, frame_of(print_.of_ridges for print_ in prints))
    numbers = zip(pair_list.first, pair_list.second, strict=True)
    return list(matcher.compare_prints((prints[a], prints[b]) for a, b in numbers))


if __name__ == "__main__":
    main()
