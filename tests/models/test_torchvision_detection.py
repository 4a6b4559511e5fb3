import pytest
import torch
from torch import nn
from torchvision import models as torchvision_models
from torchvision.models import detection

from lightframe.errors import UsageError
from lightframe.models import MODELS
from lightframe.models.torchvision_detection import Detector
from lightframe.registry import accepts

# Written out: a name that a torchvision drops or renames is noticed here.
NAMES = [
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "fcos_resnet50_fpn",
    "keypointrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn_v2",
    "retinanet_resnet50_fpn",
    "retinanet_resnet50_fpn_v2",
    "ssd300_vgg16",
    "ssdlite320_mobilenet_v3_large",
]
# One of each head; the others differ in their backbones.
HEADS = [
    "ssdlite320_mobilenet_v3_large",
    pytest.param("fasterrcnn_mobilenet_v3_large_320_fpn", marks=pytest.mark.slow),
    pytest.param("fcos_resnet50_fpn", marks=pytest.mark.slow),
    pytest.param("maskrcnn_resnet50_fpn", marks=pytest.mark.slow),
    pytest.param("retinanet_resnet50_fpn_v2", marks=pytest.mark.slow),
]


def images_and_targets() -> tuple[list[torch.Tensor], list[dict[str, torch.Tensor]]]:
    generator = torch.Generator().manual_seed(0)
    images = [torch.rand(3, 64, 96, generator=generator), torch.rand(3, 80, 64, generator=generator)]
    empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    return images, [{"boxes": torch.tensor([[8.0, 8.0, 50.0, 40.0]]), "labels": torch.tensor([6])}, empty]


def shapes(net: nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in net.state_dict().items() if "num_batches_tracked" not in name}


@pytest.fixture
def published(monkeypatch):
    """Instead of a download: the state dict of the same net for COCO's classes, every weight made up."""

    def publish(name: str) -> dict[str, torch.Tensor]:
        state = torchvision_models.get_model(name, weights_backbone=None).state_dict()
        generator = torch.Generator().manual_seed(1)
        made_up = {
            key: 0.5 + torch.rand(value.shape, generator=generator) if value.is_floating_point() else torch.tensor(77)
            for key, value in state.items()
        }
        weights = torchvision_models.get_model_weights(name)
        monkeypatch.setattr(weights, "get_state_dict", lambda self, *args, **kwargs: dict(made_up))
        return made_up

    return publish


def test_all_of_torchvisions_detectors_are_listed():
    assert set(NAMES) <= set(MODELS.names())
    assert set(torchvision_models.list_models(module=detection)) <= set(MODELS.names())
    assert "r3d_18" in MODELS


@pytest.mark.parametrize("name", NAMES)
def test_builds_with_any_number_of_classes_and_no_download(name, monkeypatch):
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", None)
    assert accepts(MODELS[name], "num_classes")
    with torch.device("meta"):
        net = MODELS.build(name, num_classes=7)
        expected = torchvision_models.get_model(name, weights_backbone=None, num_classes=7)
    assert isinstance(net, Detector)
    assert shapes(net.detector) == shapes(expected)


def test_a_whole_batch_gives_what_torchvision_gives():
    torch.manual_seed(0)
    net = MODELS.build("fasterrcnn_mobilenet_v3_large_320_fpn", num_classes=7, box_score_thresh=0.0, min_size=64)
    images, targets = images_and_targets()
    torch.manual_seed(1)  # Faster R-CNN samples the boxes that it trains on
    losses = net((images, targets, torch.arange(2)))
    torch.manual_seed(1)
    expected = net.detector([image.clone() for image in images], targets)
    assert losses.keys() == {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"}
    assert all(torch.allclose(losses[key], expected[key]) for key in expected)
    net.eval()
    with torch.no_grad():
        found, plain = net((images, targets, torch.arange(2))), net(images)
        wanted = net.detector(images)
    assert len(found) == 2
    for one, other, third in zip(found, plain, wanted, strict=True):
        assert one.keys() == {"boxes", "labels", "scores"}
        assert len(one["boxes"]) > 0
        assert all(torch.equal(one[key], other[key]) and torch.equal(one[key], third[key]) for key in one)


@pytest.mark.parametrize("name", HEADS)
def test_published_weights_with_new_classes(name, published):
    state = published(name)
    net = MODELS.build(name, num_classes=7, weights="DEFAULT", trainable_backbone_layers=2)
    found = net.detector.state_dict()
    expected = shapes(torchvision_models.get_model(name, weights_backbone=None, num_classes=7))
    assert {key: value.shape for key, value in found.items() if key in expected} == {
        key: expected[key] for key in expected
    }
    changed = {key for key, shape in expected.items() if shape != state[key].shape}
    assert 2 <= len(changed) <= 24  # the twelve layers of SSDlite's six levels
    for key in expected.keys() - changed:
        assert torch.equal(found[key], state[key]), key
    trained = {key for key, value in net.detector.named_parameters() if value.requires_grad}
    assert changed <= trained
    assert len(trained) < len(list(net.parameters()))  # the first layers of the backbone stay frozen
    # What the heads know of the number of classes beside their layers' shapes.
    assert 91 not in [value for module in net.modules() for value in vars(module).values() if type(value) is int]


@pytest.mark.slow
def test_published_classes_stay(published):
    state = published("fcos_resnet50_fpn")
    net = MODELS.build("fcos_resnet50_fpn", weights="coco_v1")
    assert all(torch.equal(value, state[key]) for key, value in net.detector.state_dict().items())


def test_a_net_with_new_classes_trains_and_predicts(published):
    published("ssdlite320_mobilenet_v3_large")
    net = MODELS.build("ssdlite320_mobilenet_v3_large", num_classes=7, weights="DEFAULT")
    images, targets = images_and_targets()
    losses = net((images, targets, torch.arange(2)))
    sum(losses.values()).backward()
    with torch.no_grad():
        found = net.eval()(images)
    assert all(0 < label < 7 for one in found for label in one["labels"].tolist())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"weights": "COCO_V2"}, "net 'fcos_resnet50_fpn' has no weights 'COCO_V2'; did you mean 'COCO_V1'"),
        ({"weights_backbone": "IMAGENET"}, "the backbone of net 'fcos_resnet50_fpn' has no weights 'IMAGENET'"),
        ({"mni_size": 3}, "net 'fcos_resnet50_fpn' takes no 'mni_size'; did you mean 'min_size'"),
    ],
)
def test_wrong_arguments(arguments, said):
    with pytest.raises(UsageError, match=said), torch.device("meta"):
        MODELS.build("fcos_resnet50_fpn", num_classes=7, **arguments)


@pytest.mark.slow
def test_backbone_weights_by_name(monkeypatch):
    asked = []
    kind = torchvision_models.ResNet50_Weights
    state = torchvision_models.resnet50().state_dict()
    monkeypatch.setattr(kind, "get_state_dict", lambda self, **_: asked.append(self) or dict(state))
    net = MODELS.build("fcos_resnet50_fpn", num_classes=7, weights_backbone="imagenet1k_v2")
    assert asked == [kind.IMAGENET1K_V2]
    assert torch.equal(net.detector.backbone.body.conv1.weight, state["conv1.weight"])


@pytest.mark.parametrize(
    ("name", "needed"), [("maskrcnn_resnet50_fpn", "masks"), ("keypointrcnn_resnet50_fpn", "keypoints")]
)
def test_targets_for_other_nets_than_for_boxes(name, needed):
    with torch.device("meta"):
        net = MODELS.build(name, num_classes=7)
    with pytest.raises(UsageError, match=f"trains on {needed}, which these targets lack"):
        net((*images_and_targets(), torch.arange(2)))
