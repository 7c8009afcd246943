"""Find LoFTR's network in a checkpoint: below which keys and wrappers its tensors lie.

A file is one table of dotted names, the keys of its containers among them, such as
`state_dict.module.matcher.loftr_coarse.layers.0.q_proj.weight`. Where LoFTR's own name begins, `names` tells. What
stands before it is the wrapper: of a trainer, a container, an average, whatever it is called. Wrappers of PyTorch may
stand within too: `backbone._orig_mod.conv1.weight`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from ifvit import program
from ifvit.weights.errors import WeightsError, listed
from ifvit.weights.names import RULES, matching_rules
from ifvit.weights.others import likeness
from ifvit.weights.tensors import Tensor

# What torch.compile, data parallel, FSDP and activation checkpoints put into names. None is a part of LoFTR's.
INNER = frozenset({"_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
FIRST_PARTS = frozenset(rule.theirs.partition(".")[0] for rule in RULES)
MOST_WRAPPERS = 64
_Parts = tuple[str, ...]


class Network(NamedTuple):
    """LoFTR's network in a file."""

    tensors: dict[str, Any]  # LoFTR's name -> tensor; names that no rule knows are left in
    wrapper: str  # what stands before LoFTR's names in the file, such as 'state_dict.matcher'
    names: Collection[str]  # of all tensors in the file
    note: str = ""  # how to take another network that the file holds too


class _KeyPath(NamedTuple):
    """A tensor's name in the file, as parts."""

    wrapper: _Parts
    rest: _Parts

    @property
    def short(self) -> str:
        """LoFTR's name."""
        return ".".join(_plain(self.rest))

    @property
    def full(self) -> str:
        """The name in the file."""
        return ".".join(self.wrapper + self.rest)


def find_network(table: Mapping[str, Any], prefix: str = "") -> Network:
    """The network in a file whose tensors are `table`, by their dotted names.

    prefix: takes a part of it, such as 'loftr_coarse', or one of several networks, such as 'ema' or
    'ema.loftr_coarse'. With or without PyTorch's wrappers.

    Raises:
        WeightsError: nothing of LoFTR's lies there, or several networks do.
    """
    if not table:
        raise WeightsError("holds no tensors")
    known = [place for name in table if (place := _place(name))]
    if not known:
        raise WeightsError(f"not LoFTR's weights: {likeness(table)}")
    wanted = tuple(part for part in prefix.split(".") if part)
    kept = _below(known, wanted)
    if not kept:
        found = listed(dict.fromkeys(".".join((*place.wrapper, place.rest[0])) for place in known))
        raise WeightsError(f"no tensor lies under the prefix {prefix!r}; LoFTR's are {found}")
    networks = _networks(kept, table)
    chosen, *others = networks
    asked = next((wanted[k:] for k, part in enumerate(wanted) if part in FIRST_PARTS), ())
    note = _note(chosen, others, asked)
    tensors = {short: table[place.full] for short, place in chosen.items()}
    wrappers = {place.wrapper for place in chosen.values()}
    strange = _below(list(_strange(table, known, wrappers)), wanted)
    tensors |= {place.short: table[place.full] for place in strange}
    wrapper = "" if wrappers == {()} else " and ".join(sorted(".".join(w) or "nothing" for w in wrappers))
    return Network(tensors, wrapper, table.keys(), note)


def is_loftr(name: str) -> bool:
    """Whether a dotted name ends in one of LoFTR's."""
    return _place(name) is not None


def _place(name: str) -> _KeyPath | None:
    parts = tuple(name.split("."))
    for k, part in enumerate(parts):
        if part in FIRST_PARTS and matching_rules(".".join(_plain(parts[k:]))):
            return _KeyPath(parts[:k], parts[k:])
    return None


def _plain(parts: _Parts) -> _Parts:
    return tuple(part for part in parts if part not in INNER)


def _below(places: list[_KeyPath], prefix: _Parts) -> list[_KeyPath]:
    """The places under a prefix that begins within the wrapper or right behind it: as typed, else without PyTorch's."""

    def under(wrapper: _Parts, rest: _Parts, prefix: _Parts) -> bool:
        path = wrapper + rest
        return any(path[k : k + len(prefix)] == prefix for k in range(len(wrapper) + 1))

    typed = [place for place in places if under(*place, prefix)]
    plain = _plain(prefix)
    return typed or [place for place in places if under(_plain(place.wrapper), _plain(place.rest), plain)]


def _networks(places: list[_KeyPath], table: Mapping[str, Any]) -> list[dict[str, _KeyPath]]:
    """LoFTR's name -> place for each network among the places, outer ones first.

    Two wrappers are of one network when they hold the very same tensors, or different parts, one wrapper within the
    other: names of which only some are wrapped.
    """
    groups: dict[_Parts, dict[str, _KeyPath]] = {}
    for place in places:
        groups.setdefault(place.wrapper, {})[place.short] = place
    if len(groups) > MOST_WRAPPERS:
        raise WeightsError(f"LoFTR's names lie below {len(groups)} different wrappers. Save one network's state dict")
    networks: list[dict[str, _KeyPath]] = []
    for group in sorted(groups.values(), key=lambda group: len(_wrapper(group))):
        for network in networks:
            common = network.keys() & group.keys()
            same = all(_same(table[network[name].full], table[group[name].full]) for name in common)
            if same and (common or _within(group, network)):
                network |= {name: place for name, place in group.items() if name not in common}
                break
        else:
            networks.append(group)
    return networks


def _wrapper(network: Mapping[str, _KeyPath]) -> _Parts:
    return next(iter(network.values())).wrapper


def _within(inner: Mapping[str, _KeyPath], outer: Mapping[str, _KeyPath]) -> bool:
    above = _plain(_wrapper(outer))
    return _plain(_wrapper(inner))[: len(above)] == above


def _same(a: object, b: object) -> bool:
    return a is b or (isinstance(a, Tensor) and a == b)


def _note(chosen: Mapping[str, _KeyPath], others: list[dict[str, _KeyPath]], asked: _Parts) -> str:
    """How to take the others, which must lie within the chosen one's wrapper: else none of them comes first."""
    if not others:
        return ""
    ways = [f"--prefix {'.'.join(_wrapper(network) + asked)}" for network in (chosen, *others)]
    if not all(_within(other, chosen) for other in others):
        raise WeightsError(
            f"holds LoFTR's network {len(ways)} times. Choose one with `{program.command('convert')}` and "
            f"{' or '.join(ways[:4])}"
        )
    return f"the file holds another network too, within the one taken: convert it with {' or '.join(ways[1:4])}"


def _strange(table: Mapping[str, Any], known: list[_KeyPath], wrappers: set[_Parts]) -> Iterator[_KeyPath]:
    """The tensors below the wrappers that no rule knows, unless they lie in another network."""
    names, every = {place.full for place in known}, {place.wrapper for place in known}
    for name in table:
        parts = tuple(name.split("."))
        if name not in names:
            nearest = next((parts[:k] for k in range(len(parts) - 1, -1, -1) if parts[:k] in every), None)
            if nearest in wrappers:
                yield _KeyPath(nearest, parts[len(nearest) :])
