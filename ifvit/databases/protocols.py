"""The pairs of impressions that a protocol compares.

fvc        genuine: every two impressions of a finger; impostor: the first impressions of every two fingers; within
           each database (FVC: 100 fingers x 8 give 2,800 and 4,950, 10 x 8 give 280 and 45)
sd4        f against s: genuine the 2,000 fingers with themselves, impostor every f against every other finger's s
sd302      genuine: every two impressions of a finger, of whatever device; impostor: every two impressions of different
           fingers, or a sample of them
all        every two impressions
"""

from __future__ import annotations

import enum
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import combinations

import numpy as np

from ifvit.databases.records import Record, by_identity, name_list, natural_key
from ifvit.errors import DataError
from ifvit.storage.csv_text import pieces

MOST_PAIRS = 50_000_000  # beyond this a list is a mistake rather than a protocol


class Protocol(enum.StrEnum):
    fvc = "fvc"
    sd4 = "sd4"
    sd302 = "sd302"
    all = "all"


class PairList:
    """P pairs of impressions.

    first, second: int (P,), the indices of the two records. genuine: bool (P,).

    Every list is checked: no pair stands twice, in either order; no impression is paired with itself; genuine pairs are
    of one subject and finger, impostor pairs are not.
    """

    def __init__(self, records: Sequence[Record], genuine: np.ndarray, impostor: np.ndarray):
        """genuine, impostor: int (G, 2) and (I, 2), indices of the records.

        Raises:
            AssertionError: a pair is wrong as above.
        """
        indices = np.concatenate([genuine, impostor])
        self.first, self.second = indices[:, 0], indices[:, 1]
        self.genuine = np.arange(len(indices)) < len(genuine)
        identity = _identities(records)
        if ((identity[self.first] == identity[self.second]) != self.genuine).any():
            raise AssertionError("a pair's label is not its fingers' identity")
        unordered_pairs = indices.min(axis=1) * len(records) + indices.max(axis=1)
        if (self.first == self.second).any() or len(np.unique(unordered_pairs)) < len(indices):
            raise AssertionError("a pair stands twice")

    def __len__(self) -> int:
        return len(self.genuine)

    def lines(self, records: Sequence[Record]) -> Iterator[str]:
        """The list as pieces of CSV: the two files, and 1 for a genuine pair."""
        rows = (
            (records[a].path, records[b].path, int(g))
            for a, b, g in zip(self.first, self.second, self.genuine, strict=True)
        )
        return pieces(("first", "second", "genuine"), rows)


def protocol_pairs(
    records: Sequence[Record], protocol: Protocol, impostors: int | None = None, seed: int = 0
) -> PairList:
    """The pairs of a protocol.

    impostors: count of impostor pairs to draw at random, each equally likely; None takes all of them.

    Raises:
        DataError: the records do not suit the protocol.
    """
    if protocol is Protocol.sd4:
        pair_list = _sd4(records)
    elif protocol is Protocol.fvc:
        pair_list = _fvc(records)
    else:
        pair_list = _all_pairs(records, impostors, seed)
        impostors = None
    if not pair_list.genuine.any():
        raise DataError(f"protocol {protocol}: no finger has two impressions, so that there is no genuine pair")
    if pair_list.genuine.all():
        raise DataError(f"protocol {protocol}: there are no two fingers, so that there is no impostor pair")
    return pair_list if impostors is None else _with_fewer_impostors(records, pair_list, impostors, seed)


def _identities(records: Sequence[Record]) -> np.ndarray:
    """The number of each record's finger, int64 (N,)."""
    number = {name: k for k, name in enumerate(by_identity(records))}
    return np.array([number[record.identity] for record in records], np.int64)


def _pair_array(pairs: Iterable[tuple[int, int]]) -> np.ndarray:
    """Pairs of indices as int64 (P, 2)."""
    return np.array(list(pairs), np.int64).reshape(-1, 2)


def _genuine_pairs(fingers: Iterable[Sequence[int]]) -> list[tuple[int, int]]:
    """Every two impressions of each finger. fingers: indices of the impressions of each."""
    fingers = list(fingers)
    _check_count(sum(len(impressions) * (len(impressions) - 1) // 2 for impressions in fingers))
    return [pair for impressions in fingers for pair in combinations(impressions, 2)]


def _fvc(records: Sequence[Record]) -> PairList:
    genuine: list[tuple[int, int]] = []
    impostor: list[tuple[int, int]] = []
    for database in dict.fromkeys(record.database for record in records):
        indices = [k for k, record in enumerate(records) if record.database == database]
        indices.sort(key=lambda k: natural_key(records[k].impression))
        fingers: dict[str, list[int]] = {}
        for k in indices:
            fingers.setdefault(records[k].identity, []).append(k)
        ordered = [fingers[name] for name in sorted(fingers, key=natural_key)]
        _check_count(len(ordered) ** 2 // 2)
        genuine += _genuine_pairs(ordered)
        impostor += combinations([impressions[0] for impressions in ordered], 2)
    return PairList(records, _pair_array(genuine), _pair_array(impostor))


def _sd4(records: Sequence[Record]) -> PairList:
    sides = [{r.identity: k for k, r in enumerate(records) if r.impression == side} for side in "fs"]
    incomplete = [name for name in by_identity(records) if not all(name in side for side in sides)]
    if incomplete:
        raise DataError(f"protocol sd4: {len(incomplete)} fingers lack their f or their s ({name_list(incomplete)})")
    _check_count(len(sides[0]) ** 2)
    first = np.array(list(sides[0].values()))
    second = np.array([sides[1][name] for name in sides[0]])
    pairs = np.stack(np.meshgrid(first, second, indexing="ij"), -1)  # (F, F, 2)
    mates = np.eye(len(first), dtype=bool)
    return PairList(records, pairs[mates], pairs[~mates])


def _all_pairs(records: Sequence[Record], impostors: int | None, seed: int) -> PairList:
    """Every two impressions of a finger; of different fingers all pairs, or `impostors` drawn ones."""
    genuine = _pair_array(_genuine_pairs(by_identity(records).values()))
    identity, count = _identities(records), len(records)
    total = count * (count - 1) // 2
    limit = total if impostors is None else impostors
    return PairList(records, genuine, _impostor_pairs(identity, limit, np.random.default_rng([seed, count])))


def _impostor_pairs(identity: np.ndarray, limit: int, rng: np.random.Generator) -> np.ndarray:
    """Pairs of indices of `identity` that are different fingers, int (P, 2): all of them, or `limit` drawn ones.

    identity: int (N,), the number of each impression's finger.
    """
    count = len(identity)
    mates = sum(k * (k - 1) // 2 for k in np.unique(identity, return_counts=True)[1].tolist())
    if limit >= count * (count - 1) // 2 - mates:
        _check_count(count * (count - 1) // 2)
        pairs = np.stack(np.triu_indices(count, 1), -1)
        return pairs[identity[pairs[:, 0]] != identity[pairs[:, 1]]]
    _check_count(limit)
    drawn = np.empty(0, np.int64)
    while len(drawn) < limit:
        first, second = np.sort(rng.integers(0, count, (2, 2 * limit)), axis=0)
        drawn = np.union1d(drawn, (first * count + second)[identity[first] != identity[second]])
    return np.stack(np.divmod(np.sort(rng.choice(drawn, limit, replace=False)), count), -1)


def drawn_pairs(
    records: Sequence[Record], groups: Sequence[Hashable], impostors: int | None = None, seed: int = 0
) -> PairList:
    """Every two impressions of a finger, and drawn pairs of different fingers of the same group.

    groups: the group of each record, like its database. impostors: count of impostor pairs to draw, shared among the
    groups in proportion to their impressions, at most all of a group; None draws as many as there are genuine pairs.
    """
    genuine = _pair_array(_genuine_pairs(by_identity(records).values()))
    identity, limit = _identities(records), len(genuine) if impostors is None else impostors
    members: dict[Hashable, list[int]] = {}
    for k, group in enumerate(groups):
        members.setdefault(group, []).append(k)
    # The running total is rounded, not the count of each group: so the counts add up to the limit.
    ends = np.rint(np.cumsum([len(group) for group in members.values()]) * limit / max(len(records), 1)).astype(int)
    drawn = [np.empty((0, 2), np.int64)]
    for number, (positions, count) in enumerate(zip(members.values(), np.diff(ends, prepend=0).tolist(), strict=True)):
        indices = np.array(positions)
        drawn.append(indices[_impostor_pairs(identity[indices], count, np.random.default_rng([seed, number]))])
    return PairList(records, genuine, np.concatenate(drawn))


def _with_fewer_impostors(records: Sequence[Record], pair_list: PairList, impostors: int, seed: int) -> PairList:
    """The same list with at most so many of its impostor pairs, drawn at random."""
    pairs = np.stack([pair_list.first, pair_list.second], -1)
    impostor = pairs[~pair_list.genuine]
    if impostors < len(impostor):
        rng = np.random.default_rng([seed, len(impostor)])
        impostor = impostor[np.sort(rng.choice(len(impostor), impostors, replace=False))]
    return PairList(records, pairs[pair_list.genuine], impostor)


def _check_count(count: int) -> None:
    """Refuse more than `MOST_PAIRS` pairs.

    Raises:
        DataError: there are more.
    """
    if count > MOST_PAIRS:
        raise DataError(f"{count} pairs are more than {MOST_PAIRS}: take a part of the data, or draw some impostors")
