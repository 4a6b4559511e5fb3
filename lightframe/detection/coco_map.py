"""COCO's average precision and recall of boxes."""

import contextlib
import io
from dataclasses import replace

import numpy as np
from torch import Tensor
from typing_extensions import override

from lightframe.detection.box_metric import BoxMetric
from lightframe.detection.coco_curves import Curves, Settings, coco_curves
from lightframe.detection.tables import Detections, Objects

# In the order of COCOeval.stats.
_PRECISIONS = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large")
_RECALLS = ("AR_1", "AR_10", "AR_100", "AR_small", "AR_medium", "AR_large")


class CocoMAP(BoxMetric):
    """The twelve figures of COCO's detection challenge, for boxes, as pycocotools gives them to the last digit.

    pycocotools has the parameters, the IoU and the summary; its loops over images, classes, area ranges and
    thresholds are done at once for all of them.

    | key                           | what                                                                            |
    |-------------------------------|---------------------------------------------------------------------------------|
    | AP                            | mean over the classes and IoU thresholds 0.5, 0.55, ..., 0.95 of the precision  |
    | AP50, AP75                    | the same at one threshold                                                       |
    | AP_small, AP_medium, AP_large | of objects below 32², up to 96², and above 96² pixels                           |
    | AR_1, AR_10, AR_100           | mean greatest recall with so many detections of a class in an image             |
    | AR_small, AR_medium, AR_large | of objects of these sizes, with 100 detections                                  |
    | AP/<class>                    | with `class_metrics`, AP of each class that occurs in the targets               |

    A figure is -1, as in pycocotools, where there is no object that it could be of. Objects with `iscrowd` need not
    be found, and any number of detections may lie on them. An object's `area` is that of its box unless the target
    has it. A label without objects counts nowhere.

    Source: https://cocodataset.org/#detection-eval and pycocotools' COCOeval.

    Args:
        class_metrics: give AP/<class>, too.
        classes: `classes[label]` is what a label is called; one without a name of its own is called by its number.

    >>> import torch
    >>> target = {"boxes": torch.tensor([[0.0, 0.0, 10.0, 10.0]]), "labels": torch.tensor([1])}
    >>> output = {"boxes": torch.tensor([[0.0, 0.0, 10.0, 6.1]]), "labels": torch.tensor([1]), "scores": torch.ones(1)}
    >>> metric = CocoMAP(class_metrics=True, classes=["background", "cat"])
    >>> metric.update([output], [target])
    >>> {name: round(value.item(), 4) for name, value in metric.compute().items() if name[:2] == "AP"}
    {'AP': 0.3, 'AP50': 1.0, 'AP75': 0.0, 'AP_small': 0.3, 'AP_medium': -1.0, 'AP_large': -1.0, 'AP/cat': 0.3}
    """

    figure = "AP"
    ignore = "iscrowd"

    @override
    def compute(self) -> dict[str, Tensor]:
        """The figures of the set, each a tensor without dimensions."""
        detections, objects = self.tables()
        box_area = np.prod(objects.xywh[:, 2:], axis=1)
        objects = replace(objects, area=np.where(np.isnan(objects.area), box_area, objects.area))
        curves = coco_curves(detections, objects, _iou, _settings())
        figures = dict(zip(_PRECISIONS + _RECALLS, _summarize(curves), strict=True))
        if self.class_metrics:
            for k, label in enumerate(curves.labels.tolist()):
                # In the order in which pycocotools adds them up; where it is -1 for one threshold, it is for all.
                figures[f"AP/{self.class_name(label)}"] = curves.precision[:, :, k, 0].ravel().mean()
        return self.values(figures)


def _settings() -> Settings:
    from pycocotools.cocoeval import Params

    params = Params(iouType="bbox")
    return Settings(
        params.iouThrs, params.recThrs, np.array(params.areaRng, dtype=float), np.array(sorted(params.maxDets))
    )


def _iou(detections: Detections, objects: Objects) -> np.ndarray:
    from pycocotools import mask

    return mask.iou(detections.xywh, objects.xywh, objects.ignored)


def _summarize(curves: Curves) -> np.ndarray:
    """The twelve means, by COCOeval itself from what it would have accumulated."""
    from pycocotools.cocoeval import COCOeval

    evaluation = COCOeval(iouType="bbox")
    # It has a last axis for the number of detections, of which the summary reads the greatest alone.
    precision = np.repeat(curves.precision[..., None], curves.recall.shape[-1], axis=-1)
    evaluation.eval = {"precision": precision, "recall": curves.recall}
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.summarize()
    return evaluation.stats
