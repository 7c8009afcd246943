"""Write the calibration of the score by synthetic fingers, `ifvit/comparison/synthetic_calibration.json`.

    python -m ifvit synthesize --fingers 100 --impressions 2 --seed 4000 --out SET
    python -m ifvit evaluate data=fvc data.root=SET data.databases=[DB1_A] data.file_ppi=500 --out RIDGES
    python -m ifvit evaluate RUN_DIR data=fvc data.root=SET data.databases=[DB1_A] data.file_ppi=500 --out NETWORKS
    python benchmarks/synthetic_calibration.py RIDGES NETWORKS

The fingers are different from those of the score's fit (seed 2000) and of the run's training. Impostor pairs are the
first impressions of every two fingers. Takes half an hour on two cores. The file must be made again when a pair gets
another score; a test compares the weights in the file with the score's.
"""

import argparse
import json
from pathlib import Path

from ifvit.comparison.score import WEIGHTS, WEIGHTS_WITH_NETWORKS
from ifvit.comparison.synthetic_calibration import FILE, NETWORKS, RIDGES
from ifvit.storage.json_files import write_json

PLACES = 4  # decimals of scores and rates


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("ridges", type=Path, help="folder of an evaluation without a run")
    parser.add_argument("networks", type=Path, help="folder of an evaluation with a run of stage=matcher")
    arguments = parser.parse_args()
    tables = {RIDGES: table_of(arguments.ridges), NETWORKS: table_of(arguments.networks)}
    weights = {RIDGES: WEIGHTS.tolist(), NETWORKS: WEIGHTS_WITH_NETWORKS.tolist()}
    write_json(FILE, tables | {"weights": weights})
    print(f"written to {FILE}")


def table_of(folder: Path) -> dict:
    """The calibration of an evaluation's only database, its numbers rounded upwards."""
    (figures,) = json.loads((folder / "results.json").read_text())["databases"].values()
    table = figures["calibration"]
    step = 10.0**-PLACES
    return {
        "impostors": table["impostors"],
        "above": [round(score + step / 2, PLACES) for score in table["above"]],
        "fmr": [min(1.0, round(rate + step / 2, PLACES)) for rate in table["fmr"]],
    }


if __name__ == "__main__":
    main()
