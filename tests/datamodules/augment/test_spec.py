"""Every form of a config, and what is said of those that cannot be read."""

import pytest
import torch
from torchvision.transforms import v2

from lightframe import UsageError
from lightframe.datamodules.augment.flip import Flip
from lightframe.datamodules.augment.spec import read_spec


@pytest.mark.parametrize(
    "spec",
    [
        "Flip",
        ["flip"],
        [["flip"]],
        {"flip": None},
        {"flip": True},
        {"flip": {}},
        [{"flip": None}],
        {"name": "flip"},
        [{"name": "flip"}],
        {"class_path": "lightframe.datamodules.augment.flip.Flip"},
        Flip(),
        ("flip", {"mixup": False}),
    ],
)
def test_every_form_of_a_name_without_arguments(spec):
    [(_, flip)] = read_spec(spec)
    assert isinstance(flip, Flip)
    assert flip.p == 0.5


@pytest.mark.parametrize(
    "spec",
    [
        {"flip": {"p": 0.1}},
        [{"flip": {"p": 0.1}}],
        {"name": "flip", "p": 0.1},
        {"class_path": "lightframe.datamodules.augment.flip.Flip", "init_args": {"p": 0.1}},
    ],
)
def test_every_form_of_a_name_with_arguments(spec):
    [(_, flip)] = read_spec(spec)
    assert flip.p == 0.1


def test_the_order_of_the_config_stays():
    spec = ["random_resized_crop", {"flip": {"p": 0.5}, "color_jitter": None}, "random_erasing", {"mixup": {}}]
    names = ["random_resized_crop", "flip", "color_jitter", "random_erasing", "mixup"]
    assert [name for name, _ in read_spec(spec)] == names


@pytest.mark.parametrize("spec", [None, [], {}])
def test_nothing(spec):
    assert read_spec(spec) == []


def test_an_import_path_of_a_class_is_built():
    [(_, blur)] = read_spec({"torchvision.transforms.v2.GaussianBlur": {"kernel_size": 5, "sigma": [1.0, 2.0]}})
    assert isinstance(blur, v2.GaussianBlur)
    assert list(blur.sigma) == [1.0, 2.0]


def test_an_import_path_of_a_function_gets_its_arguments_bound():
    [(_, solarize)] = read_spec({"torchvision.transforms.v2.functional.solarize": {"threshold": 100}})
    pixels = torch.tensor([99, 100, 255], dtype=torch.uint8).expand(1, 3, 1, 3)
    assert solarize(pixels)[0, 0, 0].tolist() == [99, 155, 0]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("color_jiter", "unknown augmentation 'color_jiter'; did you mean 'color_jitter'"),
        ({"flip": {"prob": 0.5}}, r"augmentation 'flip': it takes no 'prob'.*signature: flip\(p=0.5"),
        ({"mixup": {"alhpa": 1}}, "it takes no 'alhpa'; did you mean 'alpha'"),
        ({"flip": 0.5}, "augmentation 'flip': give its arguments by name, {argument: value}, not 0.5"),
        ({3: None}, "an augmentation's name must be a string, not 3"),
        ({"color_jitter": {"hue": 2}}, "augmentation 'color_jitter': hue values should be between"),
        ({"random_erasing": {"p": 2}}, "augmentation 'random_erasing': `p` should be"),
        ("torchvision.transforms.v2.GaussianBlurr", "has no 'GaussianBlurr'; did you mean 'GaussianBlur'"),
        ("torchvision.transforms.v2.GaussianBlur", "missing a required argument: 'kernel_size'"),
        ({"torchvision.transforms.v2.functional.solarize": {"threshhold": 1}}, "did you mean 'threshold'"),
        ({"class_path": "torchvision.transforms.v2.RandomGrayscale", "p": 1}, "only 'init_args' may stand"),
    ],
)
def test_mistakes_are_named_with_the_way_out(spec, message):
    with pytest.raises(UsageError, match=message):
        read_spec(spec)
