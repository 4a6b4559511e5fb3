"""Boxes in torchvision's dict form, checked, as rows of numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lightframe.errors import UsageError

# The columns of each kind of row, all float64, in which every float32 and every label below 2**53 is exact.
DETECTION = 6  # x1, y1, x2, y2, label, score
OBJECT = 7  # x1, y1, x2, y2, label, whether it is one to ignore, area (nan: not given)
IMAGE = 3  # number of detections, number of objects, image_id (nan: not given)


def to_rows(outputs: Any, targets: Any, ignore: str) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of detections (n, 6), objects (m, 7) and images (B, 3) of one batch, float64 on the CPU.

    Args:
        outputs: for each image {boxes: (n, 4) x1, y1, x2, y2 in pixels, labels: (n,), scores: (n,)}.
        targets: for each image {boxes: (m, 4), labels: (m,)}, and where wanted `ignore`: (m,), area: (m,) and
            image_id, a whole number.
        ignore: the key that marks the objects which need not be found: `iscrowd` or `difficult`.

    Raises:
        UsageError: another form, another number of images on the two sides, or shapes that do not fit.

    >>> one = {"boxes": torch.tensor([[0.0, 0.0, 2.0, 3.0]]), "labels": torch.tensor([7])}
    >>> detections, objects, images = to_rows([{**one, "scores": torch.tensor([0.5])}], [one], "iscrowd")
    >>> detections.tolist(), objects.tolist(), images.tolist()
    ([[0.0, 0.0, 2.0, 3.0, 7.0, 0.5]], [[0.0, 0.0, 2.0, 3.0, 7.0, 0.0, nan]], [[1.0, 1.0, nan]])
    """
    outputs = _images("outputs", outputs, "{boxes, labels, scores}")
    targets = _images("targets", targets, "{boxes, labels}")
    if len(outputs) != len(targets):
        raise UsageError(f"{len(targets)} targets beside {len(outputs)} outputs: both have a dict for each image")
    detections = [_detections(image, f"outputs[{place}]") for place, image in enumerate(outputs)]
    objects = [_objects(image, f"targets[{place}]", ignore) for place, image in enumerate(targets)]
    images = [
        [len(found[0]), len(wanted[0]), _image_id(target)]
        for found, wanted, target in zip(detections, objects, targets, strict=True)
    ]
    return (
        _join(detections, DETECTION),
        _join(objects, OBJECT),
        torch.tensor(images, dtype=torch.float64).reshape(-1, IMAGE),
    )


def _images(name: str, images: Any, form: str) -> Sequence[Mapping[str, Any]]:
    what = type(images).__name__
    if isinstance(images, Sequence) and not isinstance(images, str):
        others = [type(image).__name__ for image in images if not isinstance(image, Mapping)]
        if not others:
            return images
        what = f"a {what} with a {others[0]}"
    raise UsageError(f"the {name} of a detection metric are a list with a dict {form} for each image, not {what}")


def _detections(image: Mapping[str, Any], where: str) -> list[Tensor]:
    boxes, labels = _boxes(image, where), _labels(image, where)
    scores = _vector(image, "scores", where, boxes)
    _same_length(where, boxes, labels=labels, scores=scores)
    return [boxes, labels, scores]


def _objects(image: Mapping[str, Any], where: str, ignore: str) -> list[Tensor]:
    boxes, labels = _boxes(image, where), _labels(image, where)
    none = torch.zeros(len(boxes), device=boxes.device)
    ignored = none if image.get(ignore) is None else _vector(image, ignore, where, boxes)
    area = none + torch.nan if image.get("area") is None else _vector(image, "area", where, boxes)
    _same_length(where, boxes, **{"labels": labels, ignore: ignored, "area": area})
    return [boxes, labels, ignored, area]


def _tensor(image: Mapping[str, Any], key: str, where: str) -> Tensor:
    if key not in image:
        raise UsageError(f"{where} has no '{key}', only {sorted(image)}")
    value = image[key]
    if not isinstance(value, Tensor):
        raise UsageError(f"{where}['{key}'] is a {type(value).__name__}, not a tensor")
    return value


def _boxes(image: Mapping[str, Any], where: str) -> Tensor:
    boxes = _tensor(image, "boxes", where)
    layout = getattr(getattr(boxes, "format", None), "name", "XYXY")  # torchvision's BoundingBoxes know theirs
    if layout != "XYXY":
        raise UsageError(f"{where}['boxes'] are {layout}: convert them to XYXY, with torchvision's box_convert")
    if boxes.numel() == 0:
        return boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise UsageError(f"{where}['boxes'] have shape {tuple(boxes.shape)}, not (n, 4): x1, y1, x2, y2 of each")
    return boxes


def _labels(image: Mapping[str, Any], where: str) -> Tensor:
    labels = _tensor(image, "labels", where)
    # An empty list of labels becomes a float tensor in the hands of most people.
    if labels.numel() and (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool):
        raise UsageError(f"{where}['labels'] are {labels.dtype}, not whole numbers: give one class index for each box")
    return labels


def _vector(image: Mapping[str, Any], key: str, where: str, boxes: Tensor) -> Tensor:
    return _tensor(image, key, where).to(boxes.device)


def _same_length(where: str, boxes: Tensor, **columns: Tensor) -> None:
    for key, column in columns.items():
        if column.shape != (len(boxes),):
            raise UsageError(f"{where}['{key}'] have shape {tuple(column.shape)} beside {len(boxes)} boxes")


def _image_id(target: Mapping[str, Any]) -> float:
    """torchvision gives an int or a tensor of one; a file's name, say, is no number and not used."""
    value = target.get("image_id")
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    return float(value) if isinstance(value, int) else torch.nan


def _join(images: list[list[Tensor]], columns: int) -> Tensor:
    """One table of all images; each column crosses from the device once."""
    if not images:
        return torch.empty(0, columns, dtype=torch.float64)
    joined = [torch.cat(parts).detach().cpu().double() for parts in zip(*images, strict=True)]
    return torch.cat([part if part.ndim == 2 else part[:, None] for part in joined], dim=1)
