"""Find LoFTR's network in a checkpoint: the keys and wrappers above its tensors.

A file is one table of dotted names, which start with the keys of its containers, such as
`state_dict.module.matcher.loftr_coarse.layers.0.q_proj.weight`. The rules of `names` decide where LoFTR's own name
begins. The part before it is the wrapper: of a trainer, a container or an average, with any name. Wrappers of PyTorch
may also stand within LoFTR's name: `backbone._orig_mod.conv1.weight`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from ifvit import program
from ifvit.weights.errors import WeightsError, short_list
from ifvit.weights.names import RULES, matching_rules
from ifvit.weights.others import likeness
from ifvit.weights.tensors import Tensor

# Parts of names from torch.compile, data parallel, FSDP and activation checkpoints. None is a part of LoFTR's names.
INNER = frozenset({"_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
FIRST_PARTS = frozenset(rule.loftr_template.partition(".")[0] for rule in RULES)
MOST_WRAPPERS = 64
_Parts = tuple[str, ...]


class Network(NamedTuple):
    """LoFTR's network in a file."""

    tensors: dict[str, Any]  # LoFTR's name -> tensor; includes names that no rule matches
    wrapper: str  # the keys before LoFTR's names in the file, such as 'state_dict.matcher'
    names: Collection[str]  # of all tensors in the file
    note: str = ""  # how to convert another network that the file also contains


class _KeyPath(NamedTuple):
    """A tensor's name in the file, in parts."""

    wrapper: _Parts
    rest: _Parts  # LoFTR's name, with PyTorch's wrappers

    @property
    def short(self) -> str:
        """LoFTR's name, without PyTorch's wrappers."""
        return ".".join(_plain(self.rest))

    @property
    def full(self) -> str:
        """The name in the file."""
        return ".".join(self.wrapper + self.rest)


def find_network(table: Mapping[str, Any], prefix: str = "") -> Network:
    """Find the network in a file.

    Args:
        table: dotted name -> tensor, of all tensors in the file.
        prefix: selects a part of the network, such as 'loftr_coarse', or one of several networks, such as 'ema' or
            'ema.loftr_coarse'; with or without PyTorch's wrappers.

    Raises:
        WeightsError: no tensor of LoFTR is there, or several networks are.
    """
    if not table:
        raise WeightsError("holds no tensors")
    key_paths = [key_path for name in table if (key_path := _key_path(name))]
    if not key_paths:
        raise WeightsError(f"not LoFTR's weights: {likeness(table)}")
    prefix_parts = tuple(part for part in prefix.split(".") if part)
    selection = _below(key_paths, prefix_parts)
    if not selection:
        starts = short_list(dict.fromkeys(".".join((*path.wrapper, path.rest[0])) for path in key_paths))
        raise WeightsError(f"no tensor lies under the prefix {prefix!r}; LoFTR's are {starts}")
    network, *alternatives = _networks(selection, table)
    network_part = next((prefix_parts[k:] for k, part in enumerate(prefix_parts) if part in FIRST_PARTS), ())
    note = _note(network, alternatives, network_part)
    tensors = {short: table[path.full] for short, path in network.items()}
    wrappers = {path.wrapper for path in network.values()}
    unmatched = _below(list(_unmatched(table, key_paths, wrappers)), prefix_parts)
    tensors |= {path.short: table[path.full] for path in unmatched}
    wrapper = "" if wrappers == {()} else " and ".join(sorted(".".join(w) or "nothing" for w in wrappers))
    return Network(tensors, wrapper, table.keys(), note)


def is_loftr(name: str) -> bool:
    """Whether a dotted name ends in one of LoFTR's."""
    return _key_path(name) is not None


def _key_path(name: str) -> _KeyPath | None:
    """A dotted name in parts; None where it does not end in one of LoFTR's names."""
    parts = tuple(name.split("."))
    for k, part in enumerate(parts):
        if part in FIRST_PARTS and matching_rules(".".join(_plain(parts[k:]))):
            return _KeyPath(parts[:k], parts[k:])
    return None


def _plain(parts: _Parts) -> _Parts:
    """The parts without PyTorch's wrappers."""
    return tuple(part for part in parts if part not in INNER)


def _below(key_paths: list[_KeyPath], prefix: _Parts) -> list[_KeyPath]:
    """The key paths under a prefix that begins within the wrapper or directly after it.

    If there are none under the prefix as typed, PyTorch's wrappers are ignored.
    """

    def under(wrapper: _Parts, rest: _Parts, prefix: _Parts) -> bool:
        path = wrapper + rest
        return any(path[k : k + len(prefix)] == prefix for k in range(len(wrapper) + 1))

    typed = [path for path in key_paths if under(*path, prefix)]
    plain = _plain(prefix)
    return typed or [path for path in key_paths if under(_plain(path.wrapper), _plain(path.rest), plain)]


def _networks(key_paths: list[_KeyPath], table: Mapping[str, Any]) -> list[dict[str, _KeyPath]]:
    """LoFTR's name -> key path for each network among the key paths, outer networks first.

    Two wrappers belong to one network if both contain the same tensors. They also do if they contain different parts
    and one wrapper lies within the other: then only a part of the names is wrapped.
    """
    groups: dict[_Parts, dict[str, _KeyPath]] = {}
    for path in key_paths:
        groups.setdefault(path.wrapper, {})[path.short] = path
    if len(groups) > MOST_WRAPPERS:
        raise WeightsError(f"LoFTR's names lie below {len(groups)} different wrappers. Save one network's state dict")
    networks: list[dict[str, _KeyPath]] = []
    for group in sorted(groups.values(), key=lambda group: len(_wrapper(group))):
        for network in networks:
            common = network.keys() & group.keys()
            same = all(_same(table[network[name].full], table[group[name].full]) for name in common)
            if same and (common or _within(group, network)):
                network |= {name: path for name, path in group.items() if name not in common}
                break
        else:
            networks.append(group)
    return networks


def _wrapper(network: Mapping[str, _KeyPath]) -> _Parts:
    return next(iter(network.values())).wrapper


def _within(inner: Mapping[str, _KeyPath], outer: Mapping[str, _KeyPath]) -> bool:
    """Whether the wrapper of `inner` begins with that of `outer`, PyTorch's wrappers ignored."""
    above = _plain(_wrapper(outer))
    return _plain(_wrapper(inner))[: len(above)] == above


def _same(a: object, b: object) -> bool:
    return a is b or (isinstance(a, Tensor) and a == b)


def _note(network: Mapping[str, _KeyPath], alternatives: list[dict[str, _KeyPath]], part: _Parts) -> str:
    """The options that select the alternatives, in words; '' if there are none.

    part: of the network, as in the prefix.

    Raises:
        WeightsError: an alternative does not lie within the wrapper of `network`, so none of them has priority.
    """
    if not alternatives:
        return ""
    options = [f"--prefix {'.'.join(_wrapper(other) + part)}" for other in (network, *alternatives)]
    if not all(_within(other, network) for other in alternatives):
        raise WeightsError(
            f"holds LoFTR's network {len(options)} times. Choose one with `{program.command('convert')}` and "
            f"{' or '.join(options[:4])}"
        )
    return f"the file holds another network too, within the one taken: convert it with {' or '.join(options[1:4])}"


def _unmatched(table: Mapping[str, Any], key_paths: list[_KeyPath], wrappers: set[_Parts]) -> Iterator[_KeyPath]:
    """The tensors below the wrappers that no rule matches, except those of another network."""
    names, every = {path.full for path in key_paths}, {path.wrapper for path in key_paths}
    for name in table:
        parts = tuple(name.split("."))
        if name not in names:
            nearest = next((parts[:k] for k in range(len(parts) - 1, -1, -1) if parts[:k] in every), None)
            if nearest in wrappers:
                yield _KeyPath(nearest, parts[len(nearest) :])
