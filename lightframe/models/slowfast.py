"""SlowFast: one pathway sees few frames with many channels, the other many frames with few channels.

Feichtenhofer et al., "SlowFast Networks for Video Recognition", ICCV 2019, https://arxiv.org/abs/1812.03982.
The arithmetic is that of PySlowFast's published models, so their weights fit once their names are mapped.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lightframe.errors import UsageError
from lightframe.models.conv_bn_relu import conv_bn_relu
from lightframe.models.registry import MODELS

STEM_WIDTH = 64  # channels after the slow stem; a stage's bottleneck is 1, 2, 4, 8 times as wide
EXPANSION = 4  # a bottleneck block puts out four times the channels that it works on
LATERAL_RATIO = 2  # a lateral connection doubles the fast pathway's channels
ALPHAS = {"8x8": 4, "4x16": 8}  # of the paper's variants, "slow frames x distance between them"


def slow_frames(frames: int, alpha: int) -> list[int]:
    """Which of `frames` frames the slow pathway takes: every `alpha`-th on average, the first and last included.

    This is PySlowFast's `linspace(0, frames - 1, frames // alpha).long()` in exact integers. (In float32 the
    rounding drops some frame by one from 160 frames on, and not the same one on every device.)

    Raises:
        UsageError: `frames` is not a positive multiple of `alpha`.

    >>> slow_frames(32, alpha=4)
    [0, 4, 8, 13, 17, 22, 26, 31]
    """
    if frames < alpha or frames % alpha:
        near = max(round(frames / alpha), 1) * alpha
        raise UsageError(
            f"SlowFast: a clip of {frames} frames does not divide by alpha={alpha}; "
            f"take clips of {near} frames, or another multiple of {alpha}, or build the net with an alpha that fits"
        )
    count = frames // alpha
    return [index * (frames - 1) // max(count - 1, 1) for index in range(count)]


class Bottleneck(nn.Module):
    """Residual block of convolutions temporal x1x1, 1x3x3 (with the spatial stride) and 1x1x1.

    Input (B, inputs, T, H, W), output (B, 4 * width, T, H / stride, W / stride).
    """

    def __init__(self, inputs: int, width: int, temporal_kernel: int, stride: int) -> None:
        super().__init__()
        outputs = EXPANSION * width
        self.conv1 = conv_bn_relu(inputs, width, (temporal_kernel, 1, 1))
        self.conv2 = conv_bn_relu(width, width, (1, 3, 3), (1, stride, stride))
        self.conv3 = nn.Conv3d(width, outputs, 1, bias=False)
        self.norm3 = nn.BatchNorm3d(outputs)
        # PySlowFast zero-initialises the last batch norm: every block starts as the identity.
        nn.init.zeros_(self.norm3.weight)
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs or stride != 1:
            self.shortcut = nn.Sequential(
                nn.Conv3d(inputs, outputs, 1, (1, stride, stride), bias=False), nn.BatchNorm3d(outputs)
            )
        self.relu = nn.ReLU(True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.norm3(self.conv3(self.conv2(self.conv1(x))))
        return self.relu(out + self.shortcut(x))


def _stem(width: int, temporal_kernel: int) -> nn.Sequential:
    return nn.Sequential(
        conv_bn_relu(3, width, (temporal_kernel, 7, 7), (1, 2, 2)), nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))
    )


def _stages(
    depths: Sequence[int], stem_width: int, lateral_ratio: int, beta: float, temporal_kernels: Sequence[int]
) -> nn.ModuleList:
    """The residual stages res2 to res5 of a pathway; `lateral_ratio` times beta of its input comes from the side."""
    stages, inputs = nn.ModuleList(), stem_width
    for index, (depth, temporal_kernel) in enumerate(zip(depths, temporal_kernels, strict=True)):
        width, stride = stem_width * 2**index, 1 if index == 0 else 2
        first = Bottleneck(inputs + round(lateral_ratio * beta * inputs), width, temporal_kernel, stride)
        inputs = EXPANSION * width
        stages.append(
            nn.Sequential(first, *(Bottleneck(inputs, width, temporal_kernel, stride=1) for _ in range(depth - 1)))
        )
    return stages


class SlowFast(nn.Module):
    """The two pathways, joined from fast to slow before each of their four residual stages.

    Input (B, 3, T, H, W), the frames of the fast pathway; T is a multiple of `alpha`. Output (B, num_classes).

    Args:
        depths: blocks in each of the four stages.
        num_classes: outputs.
        alpha: the fast pathway sees this many times the frames of the slow one.
        beta: the fast pathway has this part of the slow one's channels.
        fusion_kernel: frames that a lateral connection looks at; odd.
        dropout: probability of dropping a feature before the classifier.
        lateral_norm: False leaves a lateral connection a bare convolution, without batch norm and ReLU.

    Raises:
        UsageError: an argument does not fit, or, when called, T is not a positive multiple of `alpha`.

    >>> net = SlowFast(depths=(1, 1, 1, 1), num_classes=5, alpha=4).eval()
    >>> net(torch.zeros(2, 3, 8, 32, 32)).shape
    torch.Size([2, 5])
    """

    def __init__(
        self,
        depths: Sequence[int],
        num_classes: int = 400,
        alpha: int = 4,
        beta: float = 1 / 8,
        fusion_kernel: int = 7,
        dropout: float = 0.5,
        lateral_norm: bool = True,
    ) -> None:
        super().__init__()
        if alpha < 1:
            raise UsageError(f"SlowFast: alpha={alpha}; the fast pathway needs at least the slow one's frames, alpha=1")
        if fusion_kernel < 1 or fusion_kernel % 2 == 0:
            raise UsageError(f"SlowFast: fusion_kernel={fusion_kernel}; only an odd one keeps the frames aligned")
        fast_width = round(beta * STEM_WIDTH)
        if fast_width < 1 or fast_width != beta * STEM_WIDTH:
            raise UsageError(f"SlowFast: beta={beta} of {STEM_WIDTH} channels is not a whole number; take 1/8 or 1/4")
        self.alpha = alpha
        self.slow_stem = _stem(STEM_WIDTH, temporal_kernel=1)
        self.fast_stem = _stem(fast_width, temporal_kernel=5)
        self.slow_stages = _stages(depths, STEM_WIDTH, LATERAL_RATIO, beta, temporal_kernels=(1, 1, 3, 3))
        self.fast_stages = _stages(depths, fast_width, 0, beta, temporal_kernels=(3, 3, 3, 3))
        self.laterals = nn.ModuleList()
        for channels in (fast_width, *(fast_width * EXPANSION * 2**index for index in range(3))):
            lateral = conv_bn_relu(channels, LATERAL_RATIO * channels, (fusion_kernel, 1, 1), (alpha, 1, 1))
            self.laterals.append(lateral if lateral_norm else lateral[0])
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear((STEM_WIDTH + fast_width) * EXPANSION * 8, num_classes)
        self._initialise()

    def layer_groups(self) -> list[list[nn.Module]]:
        """What stands side by side, from input to output: for a learning rate by depth (`layer_decay`)."""
        stages = zip(self.slow_stages, self.fast_stages, [*self.laterals[1:], None], strict=True)
        groups: list[list[nn.Module]] = [[self.slow_stem, self.fast_stem, self.laterals[0]]]
        groups += [[slow, fast] + ([lateral] if lateral is not None else []) for slow, fast, lateral in stages]
        return [*groups, [self.head]]

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, video: Tensor) -> Tensor:
        frames = slow_frames(video.shape[2], self.alpha)
        # Slices instead of an index tensor: that one would be copied to the device, and waited for, at every step.
        slow = self.slow_stem(torch.stack([video[:, :, frame] for frame in frames], dim=2))
        fast = self.fast_stem(video)
        for lateral, slow_stage, fast_stage in zip(self.laterals, self.slow_stages, self.fast_stages, strict=True):
            slow = slow_stage(torch.cat([slow, lateral(fast)], dim=1))
            fast = fast_stage(fast)
        features = torch.cat([slow.mean((2, 3, 4)), fast.mean((2, 3, 4))], dim=1)
        return self.head(self.dropout(features))


def _builder(name: str, depths: tuple[int, int, int, int], fusion_kernel_8x8: int = 5) -> Callable[..., SlowFast]:
    """List the builder of one depth in MODELS; the signature, which a config sees, is the same for every depth."""
    default_kernels = {"8x8": fusion_kernel_8x8, "4x16": 5}

    def build(
        num_classes: int = 400,
        variant: str = "8x8",
        alpha: int | None = None,
        beta: float = 1 / 8,
        fusion_kernel: int | None = None,
        dropout: float = 0.5,
        lateral_norm: bool = True,
    ) -> SlowFast:
        """SlowFast on a ResNet; see `SlowFast` for the shapes.

        Args:
            num_classes: outputs.
            variant: the slow pathway's frames and the distance between them, for a clip of 32 frames at stride 2:
                `8x8` (alpha 4) or `4x16` (alpha 8).
            alpha: the fast pathway sees this many times the frames of the slow one; None: as the variant has it.
            beta: the fast pathway has this part of the slow one's channels.
            fusion_kernel: frames that a lateral connection looks at, an odd number; None: as the published weights
                have it, 7 for slowfast_r50 8x8 and 5 for all others.
            dropout: probability of dropping a feature before the classifier.
            lateral_norm: False leaves a lateral connection a bare convolution, without batch norm and ReLU.

        Raises:
            UsageError: no such variant, or an argument does not fit.
        """
        if variant not in ALPHAS:
            raise UsageError(f"{name}: unknown variant '{variant}'; take one of {', '.join(ALPHAS)}")
        return SlowFast(
            depths,
            num_classes,
            ALPHAS[variant] if alpha is None else alpha,
            beta,
            default_kernels[variant] if fusion_kernel is None else fusion_kernel,
            dropout,
            lateral_norm,
        )

    build.__name__ = build.__qualname__ = name  # the name it is found by, for pickle and for --help
    return MODELS.register(name)(build)


slowfast_r50 = _builder("slowfast_r50", (3, 4, 6, 3), fusion_kernel_8x8=7)
slowfast_r101 = _builder("slowfast_r101", (3, 4, 23, 3))
slowfast_r152 = _builder("slowfast_r152", (3, 8, 36, 3))
slowfast_r200 = _builder("slowfast_r200", (3, 24, 36, 3))
