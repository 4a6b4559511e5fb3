"""Random sets of detections and objects in torchvision's dict form."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

Images = list[dict[str, Tensor]]
MakeSet = Callable[..., tuple[Images, Images]]


def random_boxes(count: int, generator: torch.Generator, grid: int | None, dtype: torch.dtype) -> Tensor:
    """Of 4 to 260 pixels in an image of 320, so that all of COCO's sizes occur; or small ones with whole corners."""
    if grid:
        corner = torch.randint(grid, (count, 2), generator=generator)
        return torch.cat([corner, corner + torch.randint(1, grid, (count, 2), generator=generator)], 1).to(dtype)
    sides = 4 * 65 ** torch.rand(count, 2, generator=generator, dtype=dtype)
    corner = torch.rand(count, 2, generator=generator, dtype=dtype) * (320 - sides)
    return torch.cat([corner, corner + sides], 1)


def jitter(boxes: Tensor, generator: torch.Generator) -> Tensor:
    """The same boxes, moved and scaled by up to an eighth of their sides."""
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    return boxes + (torch.rand(len(boxes), 4, generator=generator, dtype=boxes.dtype) - 0.5) / 4 * sides


@pytest.fixture
def make_set() -> MakeSet:
    """Makes outputs and targets, for example `make_set(seed=1, images=20, grid=6)`.

    Args of it:
        images: how many; some have no objects, some no detections.
        classes: labels are 3, 6, 9, ...; the first is never an object's, the last never a detection's.
        objects, detections: at most so many in an image. Half of the detections lie near objects.
        grid: whole corners up to about twice this, for ties and IoUs that lie on a threshold; None: any corners.
        scores: so many different ones; None: no ties.
        extras: objects have iscrowd, area, difficult and image_id.
    """

    def make(
        seed: int = 0,
        images: int = 30,
        classes: int = 5,
        objects: int = 8,
        detections: int = 24,
        grid: int | None = None,
        scores: int | None = None,
        extras: bool = True,
        dtype: torch.dtype = torch.float32,
    ) -> tuple[Images, Images]:
        generator = torch.Generator().manual_seed(seed)

        def draw(high: int, count: tuple[int, ...] = (), low: int = 0) -> Tensor:
            return torch.randint(low, high, count, generator=generator)

        outputs: Images = []
        targets: Images = []
        for place in range(images):
            wanted = 0 if place % 7 == 3 else int(draw(objects + 1))
            found = 0 if place % 5 == 2 else int(draw(detections + 1))
            boxes = random_boxes(wanted, generator, grid, dtype)
            target: dict[str, Any] = {"boxes": boxes, "labels": 3 * draw(classes, (wanted,), low=1)}
            if extras:
                target["iscrowd"] = (torch.rand(wanted, generator=generator) < 0.15).long()
                target["difficult"] = torch.rand(wanted, generator=generator) < 0.15
                target["image_id"] = 1000 - place
                if place % 2:
                    target["area"] = torch.rand(wanted, generator=generator) * 2000
            targets.append(target)
            near = found // 2 if wanted else 0
            chosen = draw(max(wanted, 1), (near,))
            some = random_boxes(found - near, generator, grid, dtype)
            copies = boxes[chosen] if grid else jitter(boxes[chosen], generator)
            labels = torch.cat([target["labels"][chosen], 3 * draw(classes, (found - near,), low=0)])
            values = torch.rand(found, generator=generator, dtype=dtype)
            outputs.append(
                {
                    "boxes": torch.cat([copies, some]),
                    "labels": labels,
                    "scores": (values * scores).round() / scores if scores else values,
                }
            )
        return outputs, targets

    return make
