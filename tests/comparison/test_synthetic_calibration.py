"""The tables that are shipped: of the score as it is, and of enough pairs."""

import json

import pytest

from ifvit.comparison.score import WEIGHTS, WEIGHTS_WITH_NETWORKS
from ifvit.comparison.synthetic_calibration import FILE, synthetic_calibration


@pytest.mark.parametrize("networks", [False, True])
def test_it_tells_an_fmr_of_a_thousandth(networks):
    table = synthetic_calibration(networks)
    assert table.impostors == 4950 and table.tells(0.001) and not table.tells(0.0001)
    assert table.fmr_at(-9.0) > 0.9 and table.fmr_at(9.0) < 0.001
    assert table.basis() == "4950 impostor pairs of synthetic fingers (protocol fvc)"


def test_it_is_of_the_weights_of_today():
    """Else: benchmarks/synthetic_calibration.py makes it again."""
    weights = json.loads(FILE.read_text())["weights"]
    assert weights == {"ridges": WEIGHTS.tolist(), "networks": WEIGHTS_WITH_NETWORKS.tolist()}
