"""Names in a file and names in a net: what stands before them, and how the ones fall on the others."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from torch import Size

# What DataParallel, Lightning modules and others put before the names of a net.
PREFIXES = ("module", "net", "model")
# What torch itself puts anywhere into a name: torch.compile, FSDP, activation checkpointing.
_WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}


class Names(NamedTuple):
    """How names of a file fall on those of a net: `pairs` is file's name by net's; the others are left over.

    `score` is (parameters whose shape is the same, names that are the same).
    """

    pairs: dict[str, str]
    score: tuple[int, int]


def bare(name: str, also: Iterable[str] = ()) -> str:
    """A name without the parts that wrappers have put into it.

    >>> bare("layers._orig_mod.0.weight")
    'layers.0.weight'
    """
    gone = _WRAPPERS.union(also)
    return ".".join(part for part in name.split(".") if part not in gone)


def match_names(file: Mapping[str, Size], net: Mapping[str, Size], prefixes: Sequence[str] = PREFIXES) -> Names:
    """Names of a file on those of a net, where each may stand behind a stack of prefixes: the way that fits the most.

    One prefix is taken off all names of the file, and one off all of the net, so that a net whose own names begin with
    `net.` is not mistaken. What stands before every name is a prefix, whatever it is called. Of ways that fit alike the
    one that takes off the least is chosen.

    Args:
        file: shapes by name.
        net: likewise.
        prefixes: single parts of names that may stand before those of a net, in any order and number.

    >>> shape = Size([2])
    >>> match_names({"module.net.a": shape, "module.loss.b": shape}, {"a": shape}).pairs
    {'a': 'module.net.a'}
    """
    best = Names({}, (-1, 0))
    # DataParallel around a part of a net puts `module` into the middle; a net may also have a part of that name.
    for also in ((), ("module",)):
        theirs = {bare(name, also): name for name in file}
        ours = {bare(name, also): name for name in net}
        for cut_net in _stacks(ours, prefixes):
            short = {name.removeprefix(cut_net): full for name, full in ours.items() if name.startswith(cut_net)}
            for cut in _stacks(theirs, prefixes):
                pairs = {}
                for name, full in theirs.items():
                    if name.startswith(cut) and (own := short.get(name.removeprefix(cut))) is not None:
                        pairs[own] = full
                alike = sum(net[own].numel() for own, full in pairs.items() if net[own] == file[full])
                if (alike, len(pairs)) > best.score:
                    best = Names(pairs, (alike, len(pairs)))
    return best


def _stacks(names: Iterable[str], prefixes: Sequence[str]) -> list[str]:
    """Every prefix that may be taken off, with its dot, the shortest first."""
    found, parted = {""}, [name.split(".")[:-1] for name in names]
    for parts in parted:
        stack = ""
        for part in parts:
            if part not in prefixes:
                break
            stack += f"{part}."
            found.add(stack)
    shared = ""
    for level in zip(*parted, strict=False):
        if len(set(level)) > 1:
            break
        shared += f"{level[0]}."
        found.add(shared)
    return sorted(found, key=lambda stack: (stack.count("."), stack))
