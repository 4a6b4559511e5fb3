"""Several views of one video, one score."""

import math

from torch import Tensor
from torch.nn import functional as F


def average_views(logits: Tensor, sigmoid: bool = False) -> Tensor:
    """The logits whose probabilities are the mean of the views' probabilities.

    Args:
        logits: (B, views, classes).
        sigmoid: each class is judged by itself; otherwise one softmax over the classes.

    Returns:
        (B, classes). Softmax or sigmoid of it is the mean of the views' softmax or sigmoid.

    >>> import torch
    >>> views = torch.tensor([[[0.9, 0.1], [0.5, 0.5]]]).log()
    >>> average_views(views).exp()
    tensor([[0.7000, 0.3000]])
    """
    logits = logits.float()
    if not sigmoid:
        return logits.log_softmax(-1).logsumexp(1) - math.log(logits.shape[1])
    # log p - log (1 - p) of the mean, each from a sum of exponentials: no rounding to 0 or 1 on the way.
    return F.logsigmoid(logits).logsumexp(1) - F.logsigmoid(-logits).logsumexp(1)
