"""FNMR of prints that are turned and moved: what moving does to an image, and the table by hand."""

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from ifvit.databases.protocols import Protocol, protocol_pairs
from ifvit.databases.records import Record
from ifvit.errors import DataError
from ifvit.evaluation.curves import draw_heat_map
from ifvit.evaluation.pair_score import PairScore
from ifvit.evaluation.robustness import ANGLES, SHIFTS, move_print, robustness


def disc():
    y, x = np.mgrid[:120, :100]
    return np.where((x - 50) ** 2 + (y - 60) ** 2 < 20**2, 40, 230).astype(np.uint8)


def middle(grey):
    return np.argwhere(grey < 128).mean(0)


def test_a_shift_is_in_millimetres_and_loses_what_leaves():
    grey = disc()
    np.testing.assert_array_equal(move_print(grey, 500, 0, 0, 1.0), grey)
    shifted = move_print(grey, 254, 0, 2.0, 0.0)  # 20 px to the right
    np.testing.assert_allclose(middle(shifted), middle(grey) + [0, 20], atol=0.1)
    half = move_print(grey, 254, 0, 5.0, 0.0)  # half of it is out
    assert (half < 128).sum() == pytest.approx((grey < 128).sum() / 2, rel=0.1)
    assert move_print(grey, 254, 0, 20.0, 0.0).min() == 230


@pytest.mark.parametrize("angle", [30, 90, 135])
def test_a_turn_loses_nothing(angle):
    grey = disc()
    cv2.circle(grey, (5, 5), 4, 40, -1)
    turned = move_print(grey, 500, angle, 0, 0.0)
    assert (turned < 128).sum() == pytest.approx((grey < 128).sum(), rel=0.03)


def test_the_table_by_hand(tmp_path):
    """A scorer that bears any rotation, but no shift by more than 3 mm."""
    root = tmp_path / "prints"
    root.mkdir()
    records = []
    for finger in range(2):
        for k in range(3):
            cv2.imwrite(str(root / f"{finger}_{k}.png"), disc())
            records.append(Record(Path(root / f"{finger}_{k}.png"), "db", str(finger), None, str(k), ppi=254.0))
    asked = []

    def compare(prints):
        for a, b in prints:
            asked.append(1)
            yield PairScore(1.0 if abs(a - b) < 0.3 * a else 0.1, False, 1, 1, 1.0)

    scorer = SimpleNamespace(print_of=lambda scan, ppi: float((scan.grey < 128).sum()), compare=compare)
    pairs = protocol_pairs(records, Protocol.all)
    table = robustness(scorer, records, pairs, 0.5, 4, tmp_path / "out", {"state": "x"})
    assert table.pairs == 4 and table.fnmr.shape == (len(ANGLES), len(SHIFTS))
    np.testing.assert_array_equal(table.fnmr[:, :2], 0)
    np.testing.assert_array_equal(table.fnmr[:, 3], table.fnmr[0, 3])
    assert table.fnmr[0, 3] > 0.5
    count = len(asked)
    again = robustness(scorer, records, pairs, 0.5, 4, tmp_path / "out", {"state": "x"})
    assert len(asked) == count and (again.fnmr == table.fnmr).all()
    with pytest.raises(DataError, match="another evaluation"):
        robustness(scorer, records, pairs, 0.6, 4, tmp_path / "out", {"state": "x"})
    picture = draw_heat_map(table, table.text()[:1])
    assert picture.ndim == 3 and picture.std() > 10
