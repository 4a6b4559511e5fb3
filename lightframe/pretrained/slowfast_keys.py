"""SlowFast's names in other libraries, and what they are called here.

Read off the modules of PySlowFast (slowfast/models), PyTorchVideo (pytorchvideo/models), MMAction2
(mmaction/models/backbones/resnet3d_slowfast.py, heads/slowfast_head.py) and r1ch88/SlowFastNetworks, whose net the
Super-Hyper framework has. What they compute differs in places, see `Layout.notes`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_CONV_NORM = {"conv": "0", "norm": "1", "bn": "1"}
_FRAMES = (
    "{library}'s slow pathway takes frames 0, alpha, 2 alpha, ...; here they are spread from the first to the last "
    "(as PySlowFast's), so outputs differ a little from theirs before training goes on"
)


@dataclass(frozen=True)
class Layout:
    """The names of one library.

    The patterns stand for everything before the last dot. Their groups: `path` is the pathway, `stage` and `block`
    count residual stages and blocks, `lateral` counts the connections (none: the first), `layer` is looked up.

    Args:
        library: whose names these are.
        stem, block, lateral, head: patterns.
        layers: `layer` of a block here.
        first_stage, first_lateral: where the library starts to count.
        fast_first: the classifier sees the fast pathway's features before the slow one's; here it is the other way.
        notes: what the library computes in another way.
    """

    library: str
    stem: str
    block: str
    lateral: str
    head: str
    layers: Mapping[str, str]
    first_stage: int
    first_lateral: int = 0
    fast_first: bool = False
    notes: tuple[str, ...] = ()
    paths: Mapping[str, str] = field(default_factory=lambda: {"0": "slow", "1": "fast", "slow": "slow", "fast": "fast"})

    def ours(self, module: str) -> str | None:
        """The name here of a module, behind whatever stood before it; None where there is none."""
        # Lazy: what the pattern itself can take is not before it.
        for pattern, name in (
            (self.stem, lambda m: f"{self.paths[m['path']]}_stem.0.{_CONV_NORM[m['layer']]}"),
            (self.block, self._block),
            (self.lateral, self._lateral),
            (self.head, lambda m: "head"),
        ):
            if found := re.fullmatch(rf"(?P<before>(?:.+?\.)??){pattern}", module):
                inner = name(found)
                return None if inner is None else found["before"] + inner
        return None

    def _block(self, m: re.Match[str]) -> str | None:
        layer = self.layers.get(m["layer"])
        stage = int(m["stage"]) - self.first_stage
        return None if layer is None else f"{self.paths[m['path']]}_stages.{stage}.{m['block']}.{layer}"

    def _lateral(self, m: re.Match[str]) -> str:
        number = 0 if m["lateral"] is None else int(m["lateral"]) - self.first_lateral
        return f"laterals.{number}.{_CONV_NORM[m.groupdict().get('layer') or 'conv']}"


PYSLOWFAST = Layout(
    library="PySlowFast",
    stem=r"s1\.pathway(?P<path>[01])_stem\.(?P<layer>conv|bn)",
    block=r"s(?P<stage>[2-5])\.pathway(?P<path>[01])_res(?P<block>\d+)\.(?P<layer>branch[\w.]+)",
    lateral=r"s(?P<lateral>[1-4])_fuse\.(?P<layer>conv|bn)(?:_f2s)?",
    head=r"head\.projection",
    layers={
        "branch1": "shortcut.0",
        "branch1_bn": "shortcut.1",
        "branch2.a": "conv1.0",
        "branch2.a_bn": "conv1.1",
        "branch2.b": "conv2.0",
        "branch2.b_bn": "conv2.1",
        "branch2.c": "conv3",
        "branch2.c_bn": "norm3",
    },
    first_stage=2,
    first_lateral=1,
)
PYTORCHVIDEO = Layout(
    library="PyTorchVideo",
    stem=r"blocks\.0\.multipathway_blocks\.(?P<path>[01])\.(?P<layer>conv|norm)",
    block=r"blocks\.(?P<stage>[1-4])\.multipathway_blocks\.(?P<path>[01])\.res_blocks\.(?P<block>\d+)"
    r"\.(?P<layer>branch[\w.]+)",
    lateral=r"blocks\.(?P<lateral>[0-3])\.multipathway_fusion\.(?P<layer>conv|norm)(?:_fast_to_slow)?",
    head=r"blocks\.6\.proj",
    layers={
        "branch1_conv": "shortcut.0",
        "branch1_norm": "shortcut.1",
        "branch2.conv_a": "conv1.0",
        "branch2.norm_a": "conv1.1",
        "branch2.conv_b": "conv2.0",
        "branch2.norm_b": "conv2.1",
        "branch2.conv_c": "conv3",
        "branch2.norm_c": "norm3",
    },
    first_stage=1,
)
MMACTION2 = Layout(
    library="MMAction2",
    stem=r"(?:backbone\.)?(?P<path>slow|fast)_path\.conv1\.(?P<layer>conv|bn)",
    block=r"(?:backbone\.)?(?P<path>slow|fast)_path\.layer(?P<stage>[1-4])\.(?P<block>\d+)\.(?P<layer>[\w.]+)",
    lateral=r"(?:backbone\.)?slow_path\.(?:conv1|layer(?P<lateral>[1-3]))_lateral\.(?P<layer>conv|bn)",
    head=r"cls_head\.fc_cls",
    layers={
        "downsample.conv": "shortcut.0",
        "downsample.bn": "shortcut.1",
        "conv1.conv": "conv1.0",
        "conv1.bn": "conv1.1",
        "conv2.conv": "conv2.0",
        "conv2.bn": "conv2.1",
        "conv3.conv": "conv3",
        "conv3.bn": "norm3",
    },
    first_stage=1,
    fast_first=True,
    notes=(_FRAMES.format(library="MMAction2"),),
)
SLOWFASTNETWORKS = Layout(
    library="Super-Hyper",
    stem=r"(?P<path>slow|fast)_(?P<layer>conv|bn)1",
    block=r"(?P<path>slow|fast)_res(?P<stage>[2-5])\.(?P<block>\d+)\.(?P<layer>[\w.]+)",
    lateral=r"lateral_(?:p1|res(?P<lateral>[2-4]))",
    head=r"fc",
    layers={
        "downsample.0": "shortcut.0",
        "downsample.1": "shortcut.1",
        "conv1": "conv1.0",
        "bn1": "conv1.1",
        "conv2": "conv2.0",
        "bn2": "conv2.1",
        "conv3": "conv3",
        "bn3": "norm3",
    },
    first_stage=2,
    first_lateral=1,
    notes=(
        _FRAMES.format(library="Super-Hyper"),
        "Super-Hyper's SlowFast drops every second frame of a clip itself: give half the frames at twice the stride",
    ),
)
LAYOUTS = (PYSLOWFAST, PYTORCHVIDEO, MMACTION2, SLOWFASTNETWORKS)


def recognise(names: Iterable[str]) -> Layout | None:
    """The library whose SlowFast has these names; None for any other net.

    >>> recognise(["module.s1.pathway0_stem.conv.weight"]).library
    'PySlowFast'
    """
    modules = {name.rpartition(".")[0] for name in names}
    # Any net may have a layer called `fc`, so it is the stem that tells.
    return next((one for one in LAYOUTS if any(re.search(rf"(?:^|\.){one.stem}$", name) for name in modules)), None)


def translate(names: Iterable[str], layout: Layout) -> dict[str, str]:
    """The names here, by those of the library; of a SlowFast without batch norm on its lateral connections, too.

    >>> translate(["s1_fuse.conv_f2s.weight", "s1_fuse.bn.weight"], PYSLOWFAST)
    {'s1_fuse.conv_f2s.weight': 'laterals.0.0.weight', 's1_fuse.bn.weight': 'laterals.0.1.weight'}
    """
    translated = {}
    for name in names:
        module, _, tensor = name.rpartition(".")
        if ours := layout.ours(module):
            translated[name] = f"{ours}.{tensor}"
    if not has_lateral_norm(translated.values()):
        translated = {name: re.sub(r"\b(laterals\.\d)\.0\.", r"\1.", ours) for name, ours in translated.items()}
    return translated


def has_lateral_norm(names: Iterable[str]) -> bool:
    """Whether a SlowFast with these names, of here, has batch norm on its lateral connections."""
    return any(re.search(r"\blaterals\.\d\.1\.", name) for name in names)
