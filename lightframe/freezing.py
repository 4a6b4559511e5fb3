"""Freezing parts of a net by their names."""

import re
from collections.abc import Iterator, Sequence

from torch import nn

from lightframe.errors import UsageError, did_you_mean
from lightframe.pretrained.prefixes import bare


class Freezing:
    """What of a net is not trained: the parts whose names these patterns match.

    A pattern is a regular expression that is matched with the beginning of a name, and only with whole parts of it:
    `stem` is everything below `stem` and nothing below `stem2`. Names are those of the net's modules and parameters,
    as `stem`, `blocks.0`, `blocks.0.conv.weight`, without what torch.compile puts into them. DDP takes no notice of
    what is frozen before it starts, and needs no find_unused_parameters for it.

    Args:
        patterns: one or several; a parameter that one of them matches is frozen.

    Raises:
        UsageError: a pattern is no regular expression.

    >>> net = nn.ModuleDict({"stem": nn.Linear(1, 1), "stem2": nn.Linear(1, 1), "head": nn.Linear(1, 1)})
    >>> Freezing("stem|hea").apply(net)
    >>> [name for name, parameter in net.named_parameters() if not parameter.requires_grad]
    ['stem.weight', 'stem.bias']
    """

    def __init__(self, patterns: str | Sequence[str]) -> None:
        given = [patterns] if isinstance(patterns, str) else list(patterns)
        self._patterns: dict[str, re.Pattern[str]] = {}
        for pattern in given:
            if not isinstance(pattern, str) or not pattern:
                raise UsageError(f"freeze takes patterns of names such as 'stem|blocks.0', not {pattern!r}")
            try:
                self._patterns[pattern] = re.compile(rf"(?:{pattern})(?:\.|$)")
            except re.error as error:
                raise UsageError(f"freeze: '{pattern}' is no regular expression: {error}") from None

    def apply(self, net: nn.Module) -> None:
        """Freeze the parameters that are matched, and keep the statistics of the norm layers among them.

        Raises:
            UsageError: a pattern matches none of them.
        """
        parameters = {bare(name): parameter for name, parameter in net.named_parameters(remove_duplicate=False)}
        for pattern, compiled in self._patterns.items():
            matched = [parameter for name, parameter in parameters.items() if compiled.match(name)]
            if not matched:
                raise UsageError(_no_match(pattern, net))
            for parameter in matched:
                parameter.requires_grad_(False)
        self.keep_statistics(net)

    def norms(self, net: nn.Module) -> Iterator[nn.Module]:
        """The layers with running statistics that a pattern matches as a whole."""
        for name, module in net.named_modules():
            matched = any(pattern.match(bare(name)) for pattern in self._patterns.values())
            if matched and getattr(module, "running_mean", None) is not None:
                yield module

    def keep_statistics(self, net: nn.Module) -> None:
        """Put these layers in evaluation mode, in which they use their statistics and leave them as they are."""
        for module in self.norms(net):
            module.eval()


def _no_match(pattern: str, net: nn.Module) -> str:
    names = [bare(name) for name, module in net.named_modules() if name and any(True for _ in module.parameters())]
    top = [bare(name) for name, _ in net.named_children()]
    return (
        f"freeze: no parameter of the net is below '{pattern}'{did_you_mean(pattern, names)} "
        f"(the net has {', '.join(top[:12]) or 'no parts'})"
    )
