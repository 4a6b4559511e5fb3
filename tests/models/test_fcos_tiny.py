import pickle

import pytest
import torch
from torchvision.models.detection import FCOS

from lightframe.errors import UsageError
from lightframe.models import MODELS


def batch(count: int = 2) -> tuple[list[torch.Tensor], list[dict[str, torch.Tensor]], torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = [torch.rand(3, 64, 64 + 16 * number, generator=generator) for number in range(count)]
    boxes = torch.tensor([[4.0, 8.0, 36.0, 40.0]])
    targets = [{"boxes": boxes + number, "labels": torch.tensor([1 + number])} for number in range(count)]
    return images, targets, torch.arange(count)


def test_it_is_torchvisions_fcos_on_three_levels():
    net = MODELS.build("FCOS_tiny", num_classes=4, score_thresh=0.3)
    assert isinstance(net.detector, FCOS)
    assert net.detector.score_thresh == 0.3
    assert (net.detector.transform.min_size, net.detector.transform.max_size) == ((128,), 256)
    features = net.detector.backbone(torch.zeros(1, 3, 128, 128))
    assert [tuple(level.shape) for level in features.values()] == [(1, 64, 16, 16), (1, 64, 8, 8), (1, 64, 4, 4)]
    assert sum(parameter.numel() for parameter in net.parameters()) < 600_000


def test_every_parameter_learns_and_an_image_without_objects_does_no_harm():
    torch.manual_seed(0)
    net = MODELS.build("fcos_tiny", num_classes=4)
    images, targets, index = batch()
    targets[1] = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    sum(net((images, targets, index)).values()).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert all(parameter.grad.abs().sum() > 0 for name, parameter in net.named_parameters() if "stage" in name)


def test_nothing_depends_on_the_batch():
    torch.manual_seed(0)
    net = MODELS.build("fcos_tiny", num_classes=4, score_thresh=0.0).eval()
    images, _, _ = batch()
    images[1] = images[1][..., :64]
    with torch.no_grad():
        together, alone = net(images), [net([image])[0] for image in images]
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one["scores"], other["scores"], rtol=1e-4, atol=1e-5)


def test_boxes_are_in_pixels_of_the_image_that_was_given():
    """The same picture twice as large: the net sees nearly the same, and its boxes are twice as large."""
    torch.manual_seed(0)
    net = MODELS.build("fcos_tiny", num_classes=4, score_thresh=0.0, detections_per_img=5).eval()
    small = batch()[0][0].repeat_interleave(2, -1).repeat_interleave(2, -2)
    large = small.repeat_interleave(2, -1).repeat_interleave(2, -2)
    with torch.no_grad():
        one, other = net([small])[0], net([large])[0]
    assert other["boxes"].max() > 128
    torch.testing.assert_close(other["boxes"], 2 * one["boxes"], rtol=0.05, atol=1.0)


def test_one_image_can_be_learnt_by_heart():
    torch.manual_seed(0)
    net = MODELS.build("fcos_tiny", num_classes=4, width=32)
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3)
    data = batch()
    for _ in range(60):
        optimizer.zero_grad()
        sum(net(data).values()).backward()
        optimizer.step()
    with torch.no_grad():
        found = net.eval()(data)
    for one, target in zip(found, data[1], strict=True):
        assert one["labels"][0] == target["labels"][0]
        torch.testing.assert_close(one["boxes"][:1], target["boxes"], rtol=0, atol=4.0)


def test_pickles():
    net = MODELS.build("fcos_tiny", num_classes=4)
    again = pickle.loads(pickle.dumps(net))
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize("width", [0, 16, 40])
def test_width(width):
    with pytest.raises(UsageError, match=f"width must be a multiple of 32, not {width}"):
        MODELS.build("fcos_tiny", num_classes=4, width=width)


def test_an_argument_that_fcos_does_not_take():
    with pytest.raises(UsageError, match="net 'fcos_tiny' takes no 'score_tresh'; did you mean 'score_thresh'"):
        MODELS.build("fcos_tiny", num_classes=4, score_tresh=0.5)


def test_the_number_of_classes_is_needed():
    with pytest.raises(UsageError, match="num_classes"):
        MODELS.build("fcos_tiny")
