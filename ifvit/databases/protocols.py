"""Which pairs are compared: the protocols of the field, as lists of pairs of impressions.

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

from ifvit.databases.records import Record, by_identity, listed, natural
from ifvit.errors import DataError
from ifvit.storage.csv_text import pieces

MOST_PAIRS = 50_000_000  # beyond this a list is a mistake rather than a protocol


class Protocol(enum.StrEnum):
    fvc = "fvc"
    sd4 = "sd4"
    sd302 = "sd302"
    all = "all"


class PairList:
    """Pairs of impressions: first and second, int (P,) indices of the records; genuine, bool (P,).

    No pair stands twice, in either order, and none of an impression with itself; mates share subject and finger, and
    nobody else does. That is held here for every list, whatever made it.
    """

    def __init__(self, records: Sequence[Record], genuine: np.ndarray, impostor: np.ndarray):
        both = np.concatenate([genuine, impostor])
        self.first, self.second = both[:, 0], both[:, 1]
        self.genuine = np.arange(len(both)) < len(genuine)
        identity = _identities(records)
        if ((identity[self.first] == identity[self.second]) != self.genuine).any():
            raise AssertionError("a pair's label is not its fingers' identity")
        unordered = both.min(axis=1) * len(records) + both.max(axis=1)
        if (self.first == self.second).any() or len(np.unique(unordered)) < len(both):
            raise AssertionError("a pair stands twice")

    def __len__(self) -> int:
        return len(self.genuine)

    def lines(self, records: Sequence[Record]) -> Iterator[str]:
        """The list as CSV, by and by: the two files, and whether they are mates."""
        rows = (
            (records[a].path, records[b].path, int(g))
            for a, b, g in zip(self.first, self.second, self.genuine, strict=True)
        )
        return pieces(("first", "second", "genuine"), rows)


def pairs(records: Sequence[Record], protocol: Protocol, impostors: int | None = None, seed: int = 0) -> PairList:
    """The pairs of a protocol.

    impostors: how many impostor pairs to draw at random, each equally likely; None takes all of them.

    Raises:
        DataError: the records do not suit the protocol.
    """
    if protocol is Protocol.sd4:
        made = _sd4(records)
    elif protocol is Protocol.fvc:
        made = _fvc(records)
    else:
        made = _every(records, impostors, seed)
        impostors = None
    if not made.genuine.any():
        raise DataError(f"protocol {protocol}: no finger has two impressions, so that there is no genuine pair")
    if made.genuine.all():
        raise DataError(f"protocol {protocol}: there are no two fingers, so that there is no impostor pair")
    return made if impostors is None else _thinned(records, made, impostors, seed)


def _identities(records: Sequence[Record]) -> np.ndarray:
    """A number for each record, equal for one finger."""
    number = {name: k for k, name in enumerate(by_identity(records))}
    return np.array([number[record.identity] for record in records], np.int64)


def _table(pairs: Iterable[tuple[int, int]]) -> np.ndarray:
    return np.array(list(pairs), np.int64).reshape(-1, 2)


def _genuine(fingers: Iterable[Sequence[int]]) -> list[tuple[int, int]]:
    fingers = list(fingers)
    _bounded(sum(len(impressions) * (len(impressions) - 1) // 2 for impressions in fingers))
    return [pair for impressions in fingers for pair in combinations(impressions, 2)]


def _fvc(records: Sequence[Record]) -> PairList:
    genuine, impostor = [], []
    for database in dict.fromkeys(record.database for record in records):
        mine = [k for k, record in enumerate(records) if record.database == database]
        mine.sort(key=lambda k: natural(records[k].impression))
        fingers: dict[str, list[int]] = {}
        for k in mine:
            fingers.setdefault(records[k].identity, []).append(k)
        in_order = [fingers[name] for name in sorted(fingers, key=natural)]
        _bounded(len(in_order) ** 2 // 2)
        genuine += _genuine(in_order)
        impostor += combinations([impressions[0] for impressions in in_order], 2)
    return PairList(records, _table(genuine), _table(impostor))


def _sd4(records: Sequence[Record]) -> PairList:
    sides = [{r.identity: k for k, r in enumerate(records) if r.impression == side} for side in "fs"]
    alone = [name for name in by_identity(records) if not all(name in side for side in sides)]
    if alone:
        raise DataError(f"protocol sd4: {len(alone)} fingers lack their f or their s ({listed(alone)})")
    _bounded(len(sides[0]) ** 2)
    first = np.array(list(sides[0].values()))
    second = np.array([sides[1][name] for name in sides[0]])
    every = np.stack(np.meshgrid(first, second, indexing="ij"), -1)  # (F, F, 2)
    mates = np.eye(len(first), dtype=bool)
    return PairList(records, every[mates], every[~mates])


def _every(records: Sequence[Record], impostors: int | None, seed: int) -> PairList:
    """Every two impressions of a finger; of different fingers all, or so many drawn ones."""
    genuine = _table(_genuine(by_identity(records).values()))
    identity, count = _identities(records), len(records)
    total = count * (count - 1) // 2
    wanted = total if impostors is None else impostors
    return PairList(records, genuine, _strangers(identity, wanted, np.random.default_rng([seed, count])))


def _strangers(identity: np.ndarray, wanted: int, rng: np.random.Generator) -> np.ndarray:
    """Pairs (P, 2) of places in `identity` that hold different fingers: so many drawn ones, or all that there are."""
    count = len(identity)
    mates = sum(k * (k - 1) // 2 for k in np.unique(identity, return_counts=True)[1].tolist())
    if wanted >= count * (count - 1) // 2 - mates:
        _bounded(count * (count - 1) // 2)
        every = np.stack(np.triu_indices(count, 1), -1)
        return every[identity[every[:, 0]] != identity[every[:, 1]]]
    _bounded(wanted)
    drawn = np.empty(0, np.int64)
    while len(drawn) < wanted:
        first, second = np.sort(rng.integers(0, count, (2, 2 * wanted)), axis=0)
        drawn = np.union1d(drawn, (first * count + second)[identity[first] != identity[second]])
    return np.stack(np.divmod(np.sort(rng.choice(drawn, wanted, replace=False)), count), -1)


def drawn_pairs(
    records: Sequence[Record], groups: Sequence[Hashable], impostors: int | None = None, seed: int = 0
) -> PairList:
    """Every two impressions of a finger, and drawn pairs of different fingers of one of the groups.

    groups: of each record, like its database. impostors: how many to draw, of each group by its impressions, or as many
    as it has; None takes as many as there are genuine pairs.
    """
    genuine = _table(_genuine(by_identity(records).values()))
    identity, wanted = _identities(records), len(genuine) if impostors is None else impostors
    members: dict[Hashable, list[int]] = {}
    for k, group in enumerate(groups):
        members.setdefault(group, []).append(k)
    # Of the running total, so that nothing is lost to rounding.
    ends = np.rint(np.cumsum([len(some) for some in members.values()]) * wanted / max(len(records), 1)).astype(int)
    drawn = [np.empty((0, 2), np.int64)]
    for number, (some, count) in enumerate(zip(members.values(), np.diff(ends, prepend=0).tolist(), strict=True)):
        places = np.array(some)
        drawn.append(places[_strangers(identity[places], count, np.random.default_rng([seed, number]))])
    return PairList(records, genuine, np.concatenate(drawn))


def _thinned(records: Sequence[Record], made: PairList, impostors: int, seed: int) -> PairList:
    both = np.stack([made.first, made.second], -1)
    others = both[~made.genuine]
    if impostors < len(others):
        rng = np.random.default_rng([seed, len(others)])
        others = others[np.sort(rng.choice(len(others), impostors, replace=False))]
    return PairList(records, both[made.genuine], others)


def _bounded(count: int) -> None:
    if count > MOST_PAIRS:
        raise DataError(f"{count} pairs are more than {MOST_PAIRS}: take a part of the data, or draw some impostors")
