from pathlib import Path

import numpy as np
import pytest

from ifvit.databases.protocols import PairList, Protocol, drawn_pairs, protocol_pairs
from ifvit.databases.records import Record
from ifvit.errors import DataError


def numbered_records(subjects, fingers=2, impressions=3, database="db"):
    return [
        Record(Path(f"{s}_{f}_{i}.png"), database, f"{database}/{s}", f, str(i))
        for s in range(subjects) for f in range(1, fingers + 1) for i in range(impressions)
    ]  # fmt: skip


def identities(records, pair_list):
    return [(records[a].identity, records[b].identity) for a, b in zip(pair_list.first, pair_list.second, strict=True)]


@pytest.mark.parametrize("protocol", [Protocol.fvc, Protocol.sd302, Protocol.all])
def test_mates_share_subject_and_finger_and_never_stand_among_impostors(protocol):
    records = numbered_records(4)
    rng = np.random.default_rng(0)
    records = [records[k] for k in rng.permutation(len(records))]
    pair_list = protocol_pairs(records, protocol)
    for (a, b), genuine in zip(identities(records, pair_list), pair_list.genuine, strict=True):
        assert (a == b) == genuine
    unordered = {frozenset(pair) for pair in zip(pair_list.first.tolist(), pair_list.second.tolist(), strict=True)}
    assert len(unordered) == len(pair_list) and all(len(pair) == 2 for pair in unordered)
    assert pair_list.genuine.sum() == 8 * 3
    assert (~pair_list.genuine).sum() == (28 if protocol is Protocol.fvc else 24 * 23 // 2 - 24)


def test_fvc_is_within_each_database():
    records = numbered_records(3, 1) + numbered_records(4, 1, database="other")
    pair_list = protocol_pairs(records, Protocol.fvc)
    assert all(
        records[a].database == records[b].database for a, b in zip(pair_list.first, pair_list.second, strict=True)
    )
    assert (~pair_list.genuine).sum() == 3 + 6


def test_first_impressions_are_first_by_number_whatever_the_order():
    records = [Record(Path(f"{f}_{i}"), "db", f"db/{f}", None, str(i)) for f in (1, 2) for i in (10, 9, 2)]
    pair_list = protocol_pairs(records, Protocol.fvc)
    (k,) = np.flatnonzero(~pair_list.genuine)
    assert {records[pair_list.first[k]].impression, records[pair_list.second[k]].impression} == {"2"}


@pytest.mark.parametrize("protocol", [Protocol.sd302, Protocol.fvc])
def test_drawn_impostors_are_a_sample_without_repetition(protocol):
    records = numbered_records(30)
    complete, drawn = protocol_pairs(records, protocol), protocol_pairs(records, protocol, impostors=100, seed=3)
    again, other = (
        protocol_pairs(records, protocol, impostors=100, seed=3),
        protocol_pairs(records, protocol, impostors=100, seed=4),
    )
    assert (~drawn.genuine).sum() == 100 and drawn.genuine.sum() == complete.genuine.sum()

    def impostor_pairs(pair_list):
        return list(
            zip(
                pair_list.first[~pair_list.genuine].tolist(), pair_list.second[~pair_list.genuine].tolist(), strict=True
            )
        )

    assert set(impostor_pairs(drawn)) <= set(impostor_pairs(complete)) and impostor_pairs(drawn) == impostor_pairs(
        again
    ) != impostor_pairs(other)
    assert len(protocol_pairs(records, protocol, impostors=10**9)) == len(complete)


def test_a_wrong_label_is_caught_whatever_made_the_list():
    records = numbered_records(2)
    with pytest.raises(AssertionError, match="identity"):
        PairList(records, np.array([[0, 3]]), np.empty((0, 2), int))  # two fingers of one subject
    with pytest.raises(AssertionError, match="identity"):
        PairList(records, np.empty((0, 2), int), np.array([[0, 1]]))
    with pytest.raises(AssertionError, match="twice"):
        PairList(records, np.array([[0, 1], [1, 0]]), np.empty((0, 2), int))


def test_records_that_do_not_suit():
    with pytest.raises(DataError, match="no finger has two impressions"):
        protocol_pairs(numbered_records(5, 1, 1), Protocol.fvc)
    with pytest.raises(DataError, match="sd4: 4 fingers lack their f or their s .db/0 finger 1"):
        protocol_pairs(numbered_records(2), Protocol.sd4)
    with pytest.raises(DataError, match="no two fingers, so that there is no impostor pair"):
        protocol_pairs(numbered_records(1, 1, 5), Protocol.fvc)
    for records, count in ((numbered_records(8000, 1, 2), None), (numbered_records(2, 1, 11000), 10)):
        with pytest.raises(DataError, match="more than"):
            protocol_pairs(records, Protocol.all, count)


def test_the_list_as_a_table():
    records = numbered_records(1, 2, 2)
    assert "".join(protocol_pairs(records, Protocol.fvc).lines(records)).splitlines() == [
        "first,second,genuine", "0_1_0.png,0_1_1.png,1", "0_2_0.png,0_2_1.png,1", "0_1_0.png,0_2_0.png,0",
    ]  # fmt: skip


def test_drawn_pairs_are_of_one_group(tmp_path):
    records = [Record(tmp_path, f"db{f % 2}", f"s{f}", None, str(i)) for f in range(8) for i in range(3)]
    groups = [record.database for record in records]
    pair_list = drawn_pairs(records, groups)
    assert pair_list.genuine.sum() == (~pair_list.genuine).sum() == 8 * 3
    impostor = np.stack([pair_list.first, pair_list.second], -1)[~pair_list.genuine]
    databases = np.array(groups)[impostor]
    assert (databases[:, 0] == databases[:, 1]).all() and len(np.unique(databases)) == 2
    assert (databases[:, 0] == "db0").sum() == 12  # as many of each as it has impressions
    again, other = drawn_pairs(records, groups), drawn_pairs(records, groups, seed=1)
    assert (again.second == pair_list.second).all() and (other.second != pair_list.second).any()


@pytest.mark.parametrize("impostors, expected", [(0, 0), (5, 5), (10**6, 2 * 6 * 9)])
def test_as_many_drawn_pairs_as_there_are(impostors, expected, tmp_path):
    records = [Record(tmp_path, f"db{f % 2}", f"s{f}", None, str(i)) for f in range(8) for i in range(3)]
    assert (~drawn_pairs(records, [record.database for record in records], impostors).genuine).sum() == expected
    alone = drawn_pairs(records, [record.subject for record in records], impostors)  # nobody has a stranger
    assert alone.genuine.all() and len(alone) == 24
