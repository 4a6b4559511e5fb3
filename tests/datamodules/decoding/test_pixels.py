from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from known_videos import sequential, to_rgb, turned, write_video
from torchvision.transforms.v2 import functional as F

from lightframe.datamodules.decoding import ClipRequest, probe, read_clips, read_frames
from lightframe.datamodules.decoding.pixels import Scaler, stored_box

HEIGHT, WIDTH = 120, 160


def natural(height=HEIGHT, width=WIDTH, seed=0):
    """RGB with fine texture in brightness and coarse colours, as pictures of the world have."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]

    def waves(finest):
        down, right = rng.uniform(-finest, finest, size=(2, 8, 1, 1))
        return (rng.uniform(10, 25, size=(8, 1, 1)) * np.sin(down * rows + right * columns)).sum(axis=0)

    brightness = waves(0.4)
    return np.stack([128 + brightness + waves(0.03) for _ in range(3)], axis=-1).clip(0, 255).astype(np.uint8)


def frame_of(pixels, layout):
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24").reformat(format=layout)
    frame.pts, frame.time_base = 0, Fraction(1, 25)
    return frame


def scaled(frame, crop=None, size=None, mirror=False):
    return Scaler((frame.height, frame.width), crop, size, mirror)(frame).copy()


def by_torchvision(pixels, crop=None, size=None):
    """The crop of the RGB frame, and then its scaling."""
    top, left, height, width = crop or (0, 0, *pixels.shape[:2])
    picture = torch.from_numpy(np.ascontiguousarray(pixels[top : top + height, left : left + width])).permute(2, 0, 1)
    picture = picture if size is None else F.resize(picture, list(size), antialias=True)
    return picture.permute(1, 2, 0).numpy()


def distance(one, other):
    return float(np.abs(one.astype(float) - other).mean())


LAYOUTS = {  # and how far from torchvision
    "yuv420p": 1.5, "yuvj420p": 1.5, "nv12": 1.5, "yuv422p": 1.5, "yuyv422": 1.5, "yuv420p10le": 1.7, "yuva420p": 1.5,
    "yuv444p": 0.6, "gray": 0.6, "rgb24": 0.6, "bgr0": 0.6, "gbrp": 0.6,
}  # fmt: skip
BOXES = [
    ((20, 30, 60, 80), (56, 56)),
    ((20, 30, 60, 80), (90, 120)),  # larger
    ((0, 0, 120, 160), (64, 64)),
    ((40, 60, 80, 100), (48, 64)),  # at the border, below and on the right
    ((0, 0, 30, 50), (48, 64)),
    ((40, 62, 79, 97), (64, 64)),  # odd height and width
    ((20, 30, 60, 80), (60, 80)),  # not scaled
    (None, (56, 80)),
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("crop", "size"), BOXES)
def test_crop_and_scale_against_torchvision(layout, crop, size):
    frame = frame_of(natural(), layout)
    pixels = to_rgb(frame)
    got = scaled(frame, crop, size)
    assert got.shape == (*size, 3)
    assert got.dtype == np.uint8
    right = distance(got, by_torchvision(pixels, crop, size))
    assert right < LAYOUTS[layout]
    if crop is None:
        return
    top, left, height, width = crop
    for down, across in ((2, 0), (-2, 0), (0, 2), (0, -2)):  # a crop elsewhere is another picture
        moved = (top + down, left + across, height, width)
        if moved[0] >= 0 and moved[1] >= 0 and moved[0] + height <= HEIGHT and moved[1] + width <= WIDTH:
            assert distance(got, by_torchvision(pixels, moved, size)) > 3 * right


@pytest.mark.parametrize("layout", ["yuv420p", "yuv422p", "yuv444p", "gray"])
@pytest.mark.parametrize("crop", [(20, 30, 60, 80), (0, 0, 2, 2), (118, 158, 2, 2), (20, 30, 60, 81)])
def test_a_crop_on_even_pixels_is_exactly_that_of_the_rgb_frame(layout, crop):
    frame = frame_of(natural(), layout)
    assert np.array_equal(scaled(frame, crop), by_torchvision(to_rgb(frame), crop))


@pytest.mark.parametrize("layout", ["yuv420p", "yuv422p", "nv12"])
@pytest.mark.parametrize("size", [None, (32, 48)])
def test_a_crop_on_odd_pixels_is_exactly_that_of_the_rgb_frame(layout, size):
    """FFmpeg would move it to where chroma is stored."""
    frame = frame_of(natural(), layout)
    for crop in ((21, 33, 60, 80), (20, 33, 61, 80), (119, 159, 1, 1)):
        assert np.array_equal(scaled(frame, crop, size), by_torchvision(to_rgb(frame), crop, size))


@pytest.mark.parametrize("layout", ["yuv420p", "yuv444p", "yuv420p10le", "gray", "rgb24"])
def test_odd_sizes(layout):
    frame = frame_of(natural(119, 157), layout)
    pixels = to_rgb(frame)
    assert np.array_equal(scaled(frame), pixels)
    for crop, size in (((20, 30, 99, 127), (50, 64)), ((0, 0, 119, 157), (119, 157)), (None, (40, 50))):
        assert distance(scaled(frame, crop, size), by_torchvision(pixels, crop, size)) < 1.7


def test_whole_frames_are_converted_as_they_are():
    frame = frame_of(natural(), "yuv420p")
    assert np.array_equal(scaled(frame), to_rgb(frame))


def test_lossless_rgb_is_not_touched(make_video):
    frames = list(np.random.default_rng(0).integers(0, 256, size=(3, 24, 32, 3), dtype=np.uint8))
    clip = read_frames(make_video("a.mkv", frames), [2, 0], (5, 3, 7, 11)).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(clip, np.stack([frames[2], frames[0]])[:, 5:12, 3:14])


@pytest.mark.parametrize("size", [(24, 40), (90, 20), (32, 32)])
def test_lossless_rgb_scaled_against_float64(make_video, size):
    frames = [natural(48, 64, seed) for seed in range(3)]
    clip = read_frames(make_video("a.mkv", frames), [1, 2], (2, 4, 40, 48), size)
    known = torch.from_numpy(np.stack(frames[1:])).permute(0, 3, 1, 2)[:, :, 2:42, 4:52]
    error = (clip.double() - F.resize(known.double(), list(size), antialias=True)).abs()
    assert clip.shape == (2, 3, *size)
    assert error.max() < 6  # at the border FFmpeg weights a little otherwise
    assert error.mean() < 0.6


# Mirrored


@pytest.mark.parametrize("layout", ["yuv420p", "yuv444p", "rgb24", "yuv420p10le"])
@pytest.mark.parametrize(
    ("crop", "size"), [*BOXES, ((21, 33, 60, 80), (50, 50)), (None, None), ((20, 30, 60, 80), None)]
)
def test_mirrored_is_the_flip_of_what_is_not(layout, crop, size):
    frame = frame_of(natural(), layout)
    straight, mirrored = scaled(frame, crop, size), scaled(frame, crop, size, mirror=True)
    # Ten bits are dithered in a pattern that is not mirrored.
    assert distance(mirrored[:, ::-1], straight) < (1.5 if "10" in layout else 0.5)
    assert distance(mirrored, straight) > 10


# Rotated


@pytest.mark.parametrize("turns", range(4))
def test_the_box_in_the_stored_frame(turns):
    """Pixels that are numbered tell where they were."""
    stored = np.arange(9 * 14).reshape(9, 14)
    upright = np.rot90(stored, turns)
    height, width = upright.shape
    rng = np.random.default_rng(turns)
    for _ in range(30):
        top, bottom = np.sort(rng.choice(height + 1, size=2, replace=False)).tolist()
        left, right = np.sort(rng.choice(width + 1, size=2, replace=False)).tolist()
        y, x, down, across = stored_box((top, left, bottom - top, right - left), 9, 14, turns)
        assert np.array_equal(np.rot90(stored[y : y + down, x : x + across], turns), upright[top:bottom, left:right])


@pytest.fixture(scope="session")
def upright_video(tmp_path_factory):
    path = tmp_path_factory.mktemp("rotated") / "upright.mp4"
    return write_video(path, [natural(seed=seed) for seed in range(3)], pixel_format="yuv444p", options={"qp": "0"})


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize(
    ("crop", "size"),
    [
        (None, None),
        ((10, 20, 60, 80), None),
        ((10, 20, 60, 80), (40, 50)),
        (None, (50, 40)),
        ((11, 21, 61, 81), (40, 50)),
    ],
)
@pytest.mark.parametrize("mirror", [False, True])
def test_rotation_is_applied_first(upright_video, tmp_path, degrees, crop, size, mirror):
    path = turned(upright_video, tmp_path / "turned.mp4", degrees)
    info = probe(path)
    frame = np.rot90(natural(seed=1), degrees // 90)
    assert (info.height, info.width) == frame.shape[:2]
    (clip,) = read_clips(path, [ClipRequest([1], crop, size, mirror)], info)
    known = by_torchvision(frame, crop, size)
    assert distance(clip[0].permute(1, 2, 0).numpy(), known[:, ::-1] if mirror else known) < 1


def test_one_pixel_of_a_rotated_frame(zoo, tmp_path):
    path = turned(zoo("h264.mp4"), tmp_path / "turned.mp4", 180)
    clip = read_frames(path, [0], (8, 9, 1, 1), (4, 4))
    known = next(sequential(path))[8, 9]
    assert np.array_equal(clip[0].permute(1, 2, 0).numpy(), np.broadcast_to(known, (4, 4, 3)))


# Colours

PATCHES = np.array(
    [[255, 255, 255], [128, 128, 128], [200, 30, 30], [30, 200, 30], [30, 30, 200], [200, 200, 30], [0, 0, 0]], float
)
WEIGHTS = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}  # of red and blue


def patches(layout, matrix, full, tag=True):
    """A frame of flat colours, 32 x 32 pixels each, by the formulas of ITU-R BT.709, BT.601 and BT.2020."""
    bits, kind = (10, np.uint16) if "10" in layout else (8, np.uint8)
    across, down = {"420": (2, 2), "422": (2, 1), "444": (1, 1)}[layout.removeprefix("yuv")[:3]]
    red_weight, blue_weight = WEIGHTS[matrix]
    red, green, blue = PATCHES.T / 255
    luma = red_weight * red + (1 - red_weight - blue_weight) * green + blue_weight * blue
    chroma = (blue - luma) / (2 - 2 * blue_weight), (red - luma) / (2 - 2 * red_weight)
    unit, zero = 2 ** (bits - 8), 128 * 2 ** (bits - 8)
    top = 2**bits - 1
    if full:
        planes = [luma * top, *(zero + plane * top for plane in chroma)]
    else:
        planes = [(16 + 219 * luma) * unit, *(zero + 224 * plane * unit for plane in chroma)]
    frame = av.VideoFrame(32 * len(PATCHES), 32, layout)
    for number, (plane, values) in enumerate(zip(frame.planes, planes, strict=True)):
        row = np.repeat(values.round(), 32 // (across if number else 1)).astype(kind)
        rows = np.zeros((32 // (down if number else 1), plane.line_size // row.itemsize), kind)
        rows[:, : len(row)] = row
        plane.update(rows.tobytes())
    frame.pts, frame.time_base = 0, Fraction(1, 25)
    if tag:
        frame.colorspace, frame.color_range = matrix, 2 if full else 1
    return frame


@pytest.mark.parametrize(
    ("layout", "matrix", "full", "tag"),
    [
        ("yuv420p", 5, False, False),
        ("yuv420p", 6, False, True),
        ("yuv420p", 1, False, True),
        ("yuv420p", 9, False, True),
        ("yuv420p", 1, True, True),
        ("yuv420p", 6, True, True),
        ("yuv422p", 1, False, True),
        ("yuv444p", 1, False, True),
        ("yuv444p", 1, True, True),
        ("yuv420p10le", 1, False, True),
        ("yuv420p10le", 9, True, True),
        ("yuv444p10le", 6, True, True),
    ],
)
@pytest.mark.parametrize(
    ("crop", "size"),
    [
        (None, None),
        ((0, 0, 32, 224), None),
        (None, (24, 168)),
        ((4, 0, 20, 224), (40, 280)),
        ((3, 0, 21, 224), (24, 168)),
    ],
)
def test_colours_are_those_of_the_tags(layout, matrix, full, tag, crop, size):
    pixels = scaled(patches(layout, matrix, full, tag), crop, size)
    centres = ((np.arange(len(PATCHES)) + 0.5) * pixels.shape[1] / len(PATCHES)).astype(int)
    assert np.abs(pixels[pixels.shape[0] // 2, centres] - PATCHES).max() <= 5  # 20 and more with another matrix


@pytest.mark.skipif(not hasattr(av.VideoFrame, "color_trc"), reason="this PyAV cannot tag a frame so")
@pytest.mark.parametrize("tag", [{"color_trc": 3}, {"color_trc": 0}, {"color_primaries": 3}])
@pytest.mark.parametrize(("crop", "size"), [((20, 30, 60, 80), (40, 50)), (None, (40, 50)), ((20, 30, 60, 80), None)])
def test_reserved_tags_are_overlooked(tag, crop, size):
    frame, plain = frame_of(natural(), "yuv420p"), frame_of(natural(), "yuv420p")
    for name, value in tag.items():
        setattr(frame, name, value)
    scaler = Scaler((HEIGHT, WIDTH), crop, size)
    for _ in range(2):
        assert distance(scaler(frame), by_torchvision(to_rgb(plain), crop, size)) < 0.5


# What changes in mid-stream


def test_another_size_is_scaled_to_the_first_one():
    small, large = frame_of(natural(60, 80), "yuv420p"), frame_of(natural(), "yuv420p")
    scaler = Scaler((HEIGHT, WIDTH), (20, 30, 60, 80), (30, 40))
    alone = scaler(large).copy()
    known = by_torchvision(by_torchvision(to_rgb(small), None, (HEIGHT, WIDTH)), (20, 30, 60, 80), (30, 40))
    assert distance(scaler(small), known) < 3
    assert np.array_equal(scaler(large), alone)


def test_a_file_that_changes_its_size(tmp_path):
    """What comes late is scaled even when it is read alone."""
    first = write_video(tmp_path / "first.ts", [natural(48, 64, seed) for seed in range(8)], container="mpegts")
    second = write_video(tmp_path / "second.ts", [natural(96, 80, seed) for seed in range(8)], container="mpegts")
    both = tmp_path / "both.ts"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    frames = list(sequential(both))
    assert {frame.shape for frame in frames} == {(48, 64, 3), (96, 80, 3)}
    late = [number for number, frame in enumerate(frames) if frame.shape[0] == 96]
    assert len(late) > 5
    info = probe(both)
    assert (info.height, info.width) == (48, 64)
    for frame, number in zip(read_frames(both, late, info=info), late, strict=True):
        assert distance(frame.permute(1, 2, 0).numpy(), by_torchvision(frames[number], None, (48, 64))) < 5
    cropped = read_frames(both, [0, late[0]], (8, 16, 40, 48), 24, info=info)
    assert cropped.shape == (2, 3, 24, 24)


def test_another_layout_in_mid_stream():
    scaler = Scaler((HEIGHT, WIDTH), (20, 30, 60, 80), (30, 40))
    for layout in ("yuv420p", "yuv444p", "rgb24", "yuv420p"):
        frame = frame_of(natural(), layout)
        assert distance(scaler(frame), by_torchvision(to_rgb(frame), (20, 30, 60, 80), (30, 40))) < 1.5
