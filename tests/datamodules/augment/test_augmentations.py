"""The object that the data module uses: every name works, and the same clip gets the same treatment anywhere."""

import pickle

import numpy as np
import pytest
import torch

from lightframe import UsageError
from lightframe.datamodules.augment import AUGMENTATIONS, build_augmentations

PIXELS = ["color_jitter", "rand_augment", "trivial_augment", {"random_erasing": {"p": 0.9}}]


def noise(clips: int, frames: int = 4, side: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    memory = torch.randint(256, (clips, frames, side, side, 3), dtype=torch.uint8, generator=generator)
    return memory.permute(0, 4, 1, 2, 3)


def on_device(augmentations, video, numbers, seed=0, epoch=0):
    index = torch.tensor(numbers)
    return augmentations.on_device(video, index % 3, index, seed, epoch, num_classes=3)


@pytest.mark.parametrize("name", AUGMENTATIONS.names())
def test_every_name_works_by_itself(name):
    augmentations = pickle.loads(pickle.dumps(build_augmentations(name, size=32)))
    (top, left, height, width), mirrored = augmentations.draw(np.random.default_rng(0), 48, 64)
    assert 0 <= top < top + height <= 48
    assert 0 <= left < left + width <= 64
    assert isinstance(mirrored, bool)
    video, label = on_device(augmentations, noise(2), [0, 1])
    assert (video.dtype, video.shape, type(video)) == (torch.uint8, (2, 3, 4, 32, 32), torch.Tensor)
    assert label.shape == ((2, 3) if augmentations.mixes else (2,))


def test_every_name_is_of_one_kind_that_is_known():
    kinds = {
        "random_resized_crop": "crop",
        "short_side_jitter": "crop",
        "flip": "flip",
        "mixup": "mix",
        "cutmix": "mix",
    }
    for name in AUGMENTATIONS.names():
        augmentations = build_augmentations(name, size=32)
        kind = kinds.get(name, "pixels")
        assert augmentations.mixes == (kind == "mix")
        assert augmentations.on_device_needed == (kind in ("mix", "pixels"))
        assert (augmentations.flip is not None) == (kind == "flip")


def test_without_a_crop_the_box_is_the_centre_square():
    augmentations = build_augmentations(None, size=224)
    assert augmentations.draw(np.random.default_rng(0), 256, 340) == ((16, 58, 224, 224), False)
    assert build_augmentations([], 224, eval_crop=1.0).draw(np.random.default_rng(0), 256, 340)[0] == (0, 42, 256, 256)
    assert not augmentations.on_device_needed


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_clips_are_mirrored_as_often_as_asked(p):
    augmentations = build_augmentations(["random_resized_crop", {"flip": {"p": p}}], size=32)
    rng = np.random.default_rng(0)
    mirrored = sum(augmentations.draw(rng, 48, 64)[1] for _ in range(4000))
    assert abs(mirrored - 4000 * p) <= 4 * (4000 * p * (1 - p)) ** 0.5


def test_draws_come_from_the_given_generator_alone():
    augmentations = build_augmentations(["random_resized_crop", "flip"], size=32)
    draws = []
    for state in (1, 2):
        np.random.seed(state)
        torch.manual_seed(state)
        before = np.random.get_state()[1].copy()
        rng = np.random.default_rng(4)
        draws.append([augmentations.draw(rng, 240, 320) for _ in range(10)])
        assert (np.random.get_state()[1] == before).all()
    assert draws[0] == draws[1]
    assert len(set(draws[0])) > 5


@pytest.mark.parametrize("spec", [PIXELS, ["mixup", "cutmix"], [*PIXELS, "mixup", "cutmix"]])
def test_the_device_s_part_does_not_depend_on_global_state_and_leaves_it(spec):
    video, results = noise(4), []
    for state in (1, 2):
        torch.manual_seed(state)
        before = torch.get_rng_state()
        # Built anew: nothing may be remembered from one batch to the next.
        results.append(on_device(build_augmentations(spec, 32), video, [5, 6, 7, 8]))
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


def test_a_clip_has_the_same_pixels_in_whatever_batch_it_stands():
    augmentations, video = build_augmentations(PIXELS, 32), noise(4)
    together, _ = on_device(augmentations, video, [5, 6, 7, 8])
    turned, _ = on_device(augmentations, video.flip(0), [8, 7, 6, 5])
    assert torch.equal(turned.flip(0), together)
    for number in range(4):
        alone, _ = on_device(augmentations, video[number : number + 1], [5 + number])
        assert torch.equal(alone[0], together[number])


@pytest.mark.parametrize("spec", [PIXELS, [{"mixup": {"alpha": 1.0}}]])
@pytest.mark.parametrize("change", [{"seed": 1}, {"epoch": 1}, {"numbers": [8, 6, 7, 5]}])
def test_another_seed_epoch_or_video_is_another_draw(spec, change):
    augmentations, video = build_augmentations(spec, 32), noise(4)
    one, _ = on_device(augmentations, video, [5, 6, 7, 8])
    other, _ = on_device(augmentations, video, **{"numbers": [5, 6, 7, 8], **change})
    assert not torch.equal(one[0], other[0])


def test_mirrored_labels_follow_the_flip_s_map():
    labels = torch.tensor([0, 1, 2])
    spec = {"flip": {"label_map": {"left": "right"}}}
    mirrored = build_augmentations(spec, 32).mirrored_labels(labels, ["left", "right", "jump"])
    assert mirrored.tolist() == [1, 0, 2]
    for without in (None, "flip"):
        assert build_augmentations(without, 32).mirrored_labels(labels, ["left", "right", "jump"]) is labels


def test_a_class_of_one_s_own_by_import_path_or_as_it_is():
    video = noise(1)
    for spec in ("torchvision.transforms.v2.functional.invert", [lambda clip: 255 - clip]):
        assert torch.equal(on_device(build_augmentations(spec, 32), video, [0])[0], 255 - video)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            ["random_resized_crop", "short_side_jitter"],
            "'random_resized_crop' and 'short_side_jitter' exclude each other",
        ),
        (["flip", {"flip": {"p": 0.1}}], "'flip' and 'flip' exclude each other"),
        ("short_side_jitter", "has no room for clips of size=300; choose a min_size of 300 or more"),
        ([3], "an augmentation may be a name, .*, not 3"),
        ("collections.OrderedDict", "an augmentation may be a name"),
    ],
)
def test_what_does_not_go_together_is_named(spec, message):
    with pytest.raises(UsageError, match=message):
        build_augmentations(spec, size=300)
