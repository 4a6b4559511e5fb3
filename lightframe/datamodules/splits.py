"""Which videos are in which split, and the one class list for all of them."""

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lightframe.datamodules import sources
from lightframe.datamodules.sources import Source, Video
from lightframe.errors import UsageError

SPLITS = ("train", "val", "test", "predict")


class Splits:
    """The videos and labels of each split. Nothing is read before it is asked for, and nothing twice.

    Args:
        root: folder, or several, with a folder for each split.
        given: sources of single splits, which win over `root`; None where there is none.
        val_fraction: share of each class of the training split that is the validation split instead.
        classes: the class names; None: made from the training split.
        seed: of the choice that `val_fraction` makes.
    """

    def __init__(
        self,
        root: Source | None,
        given: Mapping[str, Source | None],
        val_fraction: float = 0.0,
        classes: Sequence[str] | None = None,
        seed: int = 0,
    ) -> None:
        self.roots = sources.as_list(root)
        self.given = given
        self.val_fraction = val_fraction
        self.seed = seed
        self._classes = list(classes) if classes is not None else None
        self._origin = "the training split" if classes is None else "the list that classes gives"
        self._videos: dict[str, list[Video]] = {}

    def has(self, split: str) -> bool:
        """Whether there is such a split."""
        return bool(self._sources(split)) or (split == "val" and self.val_fraction > 0 and self.has("train"))

    def videos(self, split: str) -> list[Video]:
        """The videos of a split with their labels.

        Raises:
            UsageError: there is no such split, or its folders or annotation files are at fault.
        """
        if split not in self._videos:
            if split == "predict":
                self._videos[split] = sources.find_unlabelled(self._require(split), self._base)
            elif self.val_fraction and split in ("train", "val"):
                self._videos["train"], self._videos["val"] = self._take_validation(self._find("train"))
            else:
                self._videos[split] = self._find(split)
        return self._videos[split]

    @property
    def knows_classes(self) -> bool:
        """Whether the class list can be had."""
        return self._classes is not None or self.has("train")

    @property
    def classes(self) -> list[str]:
        """The class names in the order of their indices."""
        if self._classes is None:
            if not self.has("train"):
                where = ", ".join(f"no '{root / 'train'}'" for root in self.roots)
                raise UsageError(
                    f"the class list is made from the training split, and there is none{where and f' ({where})'}: "
                    f"give root or train, or classes, or a checkpoint{self._flat_hint()}"
                )
            videos = self.videos("train") + (self.videos("val") if self.val_fraction else [])
            self._classes = sources.class_names(videos)
        return self._classes

    def restore_classes(self, classes: Sequence[str]) -> None:
        """Take the class list of a checkpoint; if there is one already it must be the same."""
        if self.knows_classes and self.classes != list(classes):
            only = [
                f"only {where} has '{min(names)}'"
                for where, names in (
                    ("the checkpoint", set(classes) - set(self.classes)),
                    ("the data", set(self.classes) - set(classes)),
                )
                if names
            ]
            reason = ", ".join(only) or "the same names in another order"
            raise UsageError(f"the checkpoint was trained on other classes than the data has: {reason}")
        self._classes, self._origin = list(classes), "the checkpoint's class list"

    @property
    def multilabel(self) -> bool:
        """Whether some video has several classes."""
        labelled = [split for split in ("train", "val", "test") if self.has(split)]
        return any(len(video.labels) > 1 for split in labelled for video in self.videos(split))

    def folders(self, split: str) -> list[Path]:
        """The folders in which the videos of a split are looked for."""
        taken = split == "val" and self.val_fraction > 0 and not self._sources("val")
        found = self._require("train" if taken else split)
        return [path if path.is_dir() else self._base or path.parent for path in found]

    def labels(self, split: str) -> Tensor:
        """(N,) class indices, -1 for prediction; in a multi-label set (N, classes) floats, 1 for each positive."""
        videos = self.videos(split)
        if split == "predict":
            return torch.full((len(videos),), -1)
        indices = sources.label_indices(videos, self.classes, self._origin)
        if not self.multilabel:
            return torch.tensor([index for (index,) in indices])
        labels = torch.zeros(len(videos), len(self.classes))
        for row, positives in zip(labels, indices, strict=True):
            row[list(positives)] = 1.0
        return labels

    @property
    def _base(self) -> Path | None:
        return self.roots[0] if self.roots else None

    def _sources(self, split: str) -> list[Path]:
        if self.given.get(split) is not None:
            return sources.as_list(self.given[split])
        return [root / split for root in self.roots if (sources.require_folder(root, "root") / split).is_dir()]

    def _require(self, split: str) -> list[Path]:
        found = self._sources(split)
        if found:
            return found
        if not self.roots:
            raise UsageError(f"there is no {split} split: give root, or {split}")
        where = " or ".join(f"'{root / split}'" for root in self.roots)
        hint = self._flat_hint()
        raise UsageError(f"there is no {split} split: {where} does not exist, and {split} was not given{hint}")

    def _flat_hint(self) -> str:
        """For a root without splits, which may hold the class folders itself."""
        if not self.roots or any(self._sources(split) for split in SPLITS):
            return ""
        return f"; if the class folders stand in '{self.roots[0]}' itself, give it as train, with val_fraction"

    def _find(self, split: str) -> list[Video]:
        return sources.find_videos(self._require(split), self._base)

    def _take_validation(self, videos: list[Video]) -> tuple[list[Video], list[Video]]:
        if self._sources("val"):
            raise UsageError(
                "val_fraction takes the validation split from the training videos, but there is one already: leave "
                "val_fraction out, or give the training videos alone, as train instead of root"
            )

        def shuffle(name: str, count: int) -> Sequence[int]:
            # By the class's name and not its number: another class more must not move this one's videos.
            return np.random.default_rng([self.seed, zlib.crc32(name.encode())]).permutation(count).tolist()

        train, val = sources.split_per_class(videos, self.val_fraction, shuffle)
        if not val:
            raise UsageError(f"val_fraction={self.val_fraction} takes no video: every class has but one")
        return train, val
