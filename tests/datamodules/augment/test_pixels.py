"""Pixels: the same change in every frame, as torchvision makes it, in the layout in which they came."""

import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from lightframe import UsageError
from lightframe.datamodules.augment import AUGMENTATIONS
from lightframe.datamodules.augment.pixels import augment_pixels

NAMES = ["color_jitter", "rand_augment", "random_erasing", "trivial_augment"]


def noise(clips: int, frames: int, side: int = 32) -> torch.Tensor:
    """(B, 3, T, H, W), a view of memory with the channels last, as frames come from the decoder."""
    generator = torch.Generator().manual_seed(clips)
    memory = torch.randint(256, (clips, frames, side, side, 3), dtype=torch.uint8, generator=generator)
    return memory.permute(0, 4, 1, 2, 3)


@pytest.mark.parametrize("name", NAMES)
def test_all_frames_of_a_clip_change_alike(name):
    still = noise(1, 1).expand(24, 3, 3, 32, 32)
    changed = augment_pixels(still, [(name, AUGMENTATIONS.build(name))], range(24))
    assert torch.equal(changed, changed[:, :, :1].expand_as(changed))
    different = [clip for clip in changed if not torch.equal(clip, still[0])]
    assert len({clip.numpy().tobytes() for clip in different}) >= 4


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("color_jitter", v2.ColorJitter(0.4, 0.4, 0.4, 0.1)),
        ("rand_augment", v2.RandAugment(num_ops=2, magnitude=9)),
        ("trivial_augment", v2.TrivialAugmentWide()),
    ],
)
def test_the_change_is_that_of_torchvision_with_the_clip_s_seed(name, theirs):
    video = noise(4, 3)
    changed = augment_pixels(video, [(name, AUGMENTATIONS.build(name))], [7, 8, 9, 10])
    for clip, got, seed in zip(video, changed, [7, 8, 9, 10], strict=True):
        torch.manual_seed(seed)
        expected = theirs(tv_tensors.Video(clip.transpose(0, 1)))
        assert torch.equal(got.transpose(0, 1), expected)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("contiguous", [False, True])
def test_the_layout_stays_and_the_input_is_not_touched(name, contiguous):
    video = noise(3, 2).contiguous() if contiguous else noise(3, 2)
    copy = video.clone()
    changed = augment_pixels(video, [(name, AUGMENTATIONS.build(name))], [1, 2, 3])
    assert changed.stride() == video.stride()
    assert torch.equal(video, copy)


@pytest.mark.parametrize("name", NAMES)
def test_the_layout_does_not_change_the_pixels(name):
    video, transforms = noise(12, 2), [(name, AUGMENTATIONS.build(name))]
    assert torch.equal(
        augment_pixels(video, transforms, range(12)), augment_pixels(video.contiguous(), transforms, range(12))
    )


def test_transforms_follow_one_another():
    transforms = [("invert", lambda clip: 255 - clip), ("halve", lambda clip: clip // 2)]
    video = noise(2, 2)
    assert torch.equal(augment_pixels(video, transforms, [0, 1]), (255 - video) // 2)


def erased_boxes(video: torch.Tensor, **arguments) -> list[torch.Tensor]:
    """What stands in the erased box of each clip of a black video, (3, T, height, width)."""
    erase = AUGMENTATIONS.build("random_erasing", **arguments)
    boxes = []
    for clip in augment_pixels(video, [("random_erasing", erase)], range(len(video))):
        rows = clip.amax((0, 1, 3)).nonzero()
        if len(rows):
            columns = clip.amax((0, 1, 2)).nonzero()
            box = clip[:, :, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            assert (clip > 0).sum() == (box > 0).sum()
            boxes.append(box)
    return boxes


def test_random_erasing_paints_one_box_of_the_asked_size():
    boxes = erased_boxes(noise(100, 2) * 0, p=1, scale=(0.1, 0.2), ratio=(0.5, 2.0), value=(10, 20, 30))
    assert len(boxes) == 100
    for box in boxes:
        assert torch.equal(box, torch.tensor([10, 20, 30]).view(3, 1, 1, 1).expand_as(box))
        height, width = box.shape[2:]
        assert (height - 1) * (width - 1) <= 0.2 * 32**2
        assert (height + 1) * (width + 1) >= 0.1 * 32**2
        assert (height - 1) / (width + 1) <= 2
        assert (width - 1) / (height + 1) <= 2


def test_random_erasing_strikes_as_often_as_asked():
    boxes = erased_boxes(noise(400, 1) * 0, p=0.25, value=255)
    assert abs(len(boxes) - 100) < 4 * (400 * 0.25 * 0.75) ** 0.5


def test_random_erasing_paints_random_colours_evenly_from_0_to_255():
    boxes = erased_boxes(torch.zeros(20, 3, 1, 64, 64, dtype=torch.uint8), p=1, scale=(0.2, 0.3))
    values = torch.cat([box.flatten() for box in boxes]).double()
    assert (values.min(), values.max()) == (0, 255)
    assert abs(values.mean() - 127.5) < 4 * 73.9 / len(values) ** 0.5
    assert values.std() == pytest.approx(((256**2 - 1) / 12) ** 0.5, rel=0.02)


@pytest.mark.parametrize(
    ("transform", "got"),
    [
        (lambda clip: clip.float(), r"torch.float32 \(2, 3, 32, 32\)"),
        (lambda clip: clip[:1], r"torch.uint8 \(1, 3, 32, 32\)"),
        (lambda clip: None, "NoneType"),
    ],
)
def test_a_transform_that_gives_no_clip_is_named(transform, got):
    with pytest.raises(UsageError, match=f"augmentation 'mine' gave back {got} and must give a clip"):
        augment_pixels(noise(1, 2), [("mine", transform)], [0])


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("rand_augment", {"magnitude": 31}, "magnitude must be below num_magnitude_bins=31"),
        ("rand_augment", {"num_ops": 1.5}, "num_ops must be a whole number"),
        ("trivial_augment", {"num_magnitude_bins": 1}, "num_magnitude_bins must be a whole number of at least 2"),
        ("random_erasing", {"scale": [0.3, 0.1]}, "scale must be two numbers"),
        ("random_erasing", {"value": "grey"}, "value must be 'random', or one or three numbers"),
        ("random_erasing", {"value": [0, 256, 0]}, "value must be 'random', or one or three numbers"),
    ],
)
def test_wrong_arguments_are_named(name, arguments, message):
    with pytest.raises(UsageError, match=message):
        AUGMENTATIONS.build(name, **arguments)
