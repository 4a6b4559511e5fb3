import json
import math
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as F

from lightframe.datamodules import SyntheticVideoDataModule, VideoBatch
from lightframe.datamodules.synthetic import MOTIONS, render
from lightframe.errors import UsageError
from lightframe.models import MODELS

TINY = {"train_videos": 2, "eval_videos": 1, "video_frames": 10, "video_size": 32, "num_workers": 0}
DIRECTIONS = {"down": (1, 0), "left": (0, -1), "right": (0, 1), "up": (-1, 0)}  # rows, columns
TURNS = {"clockwise": 1, "counterclockwise": -1}


def write(root: Path, **settings) -> SyntheticVideoDataModule:
    data = SyntheticVideoDataModule(str(root), **{**TINY, **settings})
    data.prepare_data()
    return data


def content(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def times(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """A complete set, only to be read."""
    root = tmp_path_factory.mktemp("world") / "videos"
    write(root)
    return root


@pytest.fixture
def world(tmp_path, written) -> Path:
    """A complete set of one's own."""
    root = tmp_path / "videos"
    for name, data in content(written).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


# Files


def test_class_folders_of_h264(written):
    videos = [path for path in written.rglob("*") if path.is_file() and path.suffix != ".json"]
    counts = {"train": 2, "val": 1, "test": 1}
    expected = {
        written / split / motion / f"{number:04d}.mp4"
        for split, count in counts.items()
        for motion in MOTIONS
        for number in range(count)
    }
    assert set(videos) == expected  # no .partial among them
    assert tuple(sorted({**DIRECTIONS, **TURNS})) == MOTIONS
    for path in videos:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert container.format.name.split(",")[1] == "mp4"
            assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert np.shape(frames) == (10, 32, 32, 3)
        assert min(np.std(frame) for frame in frames) > 10  # there is something to see


def test_no_two_videos_are_alike(written):
    videos = [data for name, data in content(written).items() if name.endswith(".mp4")]
    assert len(set(videos)) == len(videos) == 24


def test_the_files_hold_what_is_rendered(written):
    """Up to the loss of H.264, whose colours have half the resolution."""
    rng = np.random.default_rng([0, 0, 1, MOTIONS.index("left")])  # the second training video
    expected = np.stack(list(render("left", rng, 10, 32))).astype(float).mean(-1)
    with av.open(str(written / "train" / "left" / "0001.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24").astype(float).mean(-1) for frame in container.decode(video=0)]
    assert np.abs(np.stack(frames) - expected).mean() < 8


def test_two_folders_are_equal_byte_by_byte(written, tmp_path):
    write(tmp_path / "again")
    assert content(tmp_path / "again") == content(written)
    write(tmp_path / "other", seed=1)
    other, first = content(tmp_path / "other"), content(written)
    assert all(other[name] != first[name] for name in first)


def test_a_complete_set_is_not_written_again(world):
    before = times(world)
    write(world)
    assert times(world) == before


def remove_a_file(root):
    (root / "val" / "up" / "0000.mp4").unlink()


def cut_a_file_short(root):
    path = root / "train" / "right" / "0001.mp4"
    path.write_bytes(path.read_bytes()[:-50])


def stop_half_way(root):
    """As a killed run leaves it: a manifest without files, some videos, and one of which only a part is written."""
    manifest = root / "lightframe-synthetic.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "files": {}}))
    remove_a_file(root)
    path = root / "train" / "right" / "0001.mp4"
    path.rename(path.with_suffix(".partial"))


@pytest.mark.parametrize("harm", [remove_a_file, cut_a_file_short, stop_half_way])
def test_an_incomplete_set_is_redone(world, written, harm):
    harm(world)
    assert content(world) != content(written)
    write(world)
    assert content(world) == content(written)


def test_a_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "holiday.mp4").write_text("sun")
    with pytest.raises(UsageError, match=r"mine' exists and was not written by lightframe: choose another root"):
        write(tmp_path / "mine")
    assert content(tmp_path / "mine") == {"holiday.mp4": b"sun"}
    with pytest.raises(UsageError, match=r"holiday\.mp4' exists and was not written"):
        write(tmp_path / "mine" / "holiday.mp4")


def test_an_empty_folder_will_do(tmp_path):
    write(tmp_path, train_videos=1)
    assert len(content(tmp_path)) == 18 + 1


@pytest.mark.parametrize("other", [{"train_videos": 3}, {"video_frames": 9}, {"seed": 1}])
def test_a_set_with_other_settings_is_left_alone(world, other):
    before = content(world), times(world)
    with pytest.raises(UsageError, match=r"with other settings .*'train_videos': 2.*choose another root, or delete it"):
        write(world, **other)
    assert (content(world), times(world)) == before


@pytest.mark.parametrize(
    "settings",
    [{"train_videos": 0}, {"eval_videos": 0}, {"video_frames": 0}, {"video_size": 33}, {"video_size": 14}],
)
def test_settings_that_make_no_videos(tmp_path, settings):
    with pytest.raises(UsageError, match="must be at least 1, video_size an even number from 16 on"):
        SyntheticVideoDataModule(str(tmp_path), **settings)


def test_batches(world):
    data = SyntheticVideoDataModule(str(world), **TINY, frames=4, stride=2, size=24, batch_size=4)
    assert data.classes == list(MOTIONS)  # known before the videos are
    batches = list(data.train_dataloader())
    assert [batch.video.shape for batch in batches] == [(4, 3, 4, 24, 24)] * 3
    assert all(isinstance(batch, VideoBatch) for batch in batches)
    assert sorted(label for batch in data.val_dataloader() for label in batch.label.tolist()) == list(range(6))
    assert len(data.dataset("test")) == 6


# What moves, and how: found by searching, without the formulas of `render`


def same_world(seed, frames=5, size=64):
    """One clip of each motion, of the same random numbers, as floats (T, 3, H, W) in [0, 1]."""
    clips = {}
    for motion in MOTIONS:
        clip = np.stack(list(render(motion, np.random.default_rng(seed), frames, size)))
        assert clip.dtype == np.uint8
        clips[motion] = torch.from_numpy(clip).permute(0, 3, 1, 2).double() / 255
    return clips


def shape_in_the_middle(clips):
    """Rolls the (toroidal) frames so that the shape starts in the middle of the frame.

    Turned in opposite senses, the shape is the only thing in which two frames differ. Its place is the circular mean
    of these differences.
    """
    difference = (clips["clockwise"][1:] - clips["counterclockwise"][1:]).abs().mean((0, 1))
    size = difference.shape[-1]
    angles = 2 * math.pi * torch.arange(size, dtype=torch.float64) / size

    def centre(weights):
        return round(math.atan2(weights @ angles.sin(), weights @ angles.cos()) * size / (2 * math.pi))

    shift = size // 2 - centre(difference.sum(1)), size // 2 - centre(difference.sum(0))
    return {motion: clip.roll(shift, (2, 3)) for motion, clip in clips.items()}


def disc(size, radius):
    rows, columns = torch.meshgrid(torch.arange(size) - size // 2, torch.arange(size) - size // 2, indexing="ij")
    return (rows**2 + columns**2 <= radius**2).double()


@pytest.mark.parametrize("seed", range(4))
def test_each_motion_is_what_its_name_says(seed):
    size, last = 64, 4
    clips = shape_in_the_middle(same_world(seed, last + 1, size))
    mask = disc(size, 0.12 * size)  # well within the smallest shape

    def mismatch(moved, still):
        return float(((moved - still) ** 2 * mask).mean())

    for motion, (down, right) in DIRECTIONS.items():
        first, later = clips[motion][0], clips[motion][last]
        shifts = [(row, column) for row in range(-16, 17) for column in range(-16, 17)]
        found = min(shifts, key=lambda shift: mismatch(later.roll((-shift[0], -shift[1]), (1, 2)), first))
        along, across = found[0] * down + found[1] * right, found[0] * right + found[1] * down
        assert 0.025 * size * last - 1 <= along <= 0.05 * size * last + 1, motion
        assert abs(across) <= 1, motion
    for motion, sense in TURNS.items():
        first, later = clips[motion][0], clips[motion][last]
        # torchvision counts degrees counter-clockwise.
        found = min(range(-75, 76, 3), key=lambda angle: mismatch(F.rotate(first[None], -angle, 2)[0], later))
        assert 7 * last - 6 <= found * sense <= 14 * last + 6, motion


@pytest.mark.parametrize("seed", range(4))
def test_the_first_frame_and_the_background_are_the_same_in_every_class(seed):
    clips = same_world(seed)
    assert all(torch.equal(clip[0], clips["up"][0]) for clip in clips.values())
    # In any later frame most of what lies around the shape is the same too: it drifts alike whatever the class.
    for time in range(1, 5):
        stack = torch.stack([clip[time] for clip in clips.values()])
        alike = (stack - stack.median(0).values).abs().amax(1) < 1e-9
        assert (alike.sum(0) >= 4).double().mean() > 0.5
        assert not torch.equal(stack.median(0).values, clips["up"][0])  # and it does drift


# No single frame tells the class


def clips_of_every_class(split, count):
    """`count` clips a class (N, 3, 8, 32, 32) and labels, from `render` itself."""
    videos, labels = [], []
    for label, motion in enumerate(MOTIONS):
        for number in range(count):
            frames = list(render(motion, np.random.default_rng([split, label, number]), 15, 32))
            videos.append(np.stack(frames[::2]))
            labels.append(label)
    return torch.from_numpy(np.stack(videos)).permute(0, 4, 1, 2, 3) / 255 - 0.5, torch.tensor(labels)


def accuracy(train, test, frames, steps=300):
    """Of a tiny3d on the first `frames` frames; everywhere the same but for the number of frames."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        net = MODELS.build("tiny3d", num_classes=len(MOTIONS), width=8)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=steps)
    for _ in range(steps):
        chosen = torch.randint(len(train[1]), (32,), generator=generator)
        # The world is a torus: rolled, a clip is another clip of its class.
        shift = torch.randint(32, (2,), generator=generator).tolist()
        # The one frame is any frame of the clip.
        begin = int(torch.randint(8 - frames + 1, (), generator=generator))
        videos = train[0][chosen, :, begin : begin + frames].roll(shift, (3, 4))
        loss = torch.nn.functional.cross_entropy(net(videos), train[1][chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
    net.eval()
    with torch.no_grad():
        return (net(test[0][:, :, :frames]).argmax(1) == test[1]).double().mean().item()


@pytest.mark.slow
def test_no_single_frame_tells_the_class():
    train, test = clips_of_every_class(0, 80), clips_of_every_class(1, 30)
    count, chance = len(test[1]), 1 / len(MOTIONS)
    # Hits of a net that cannot tell are binomial(count, chance); four standard deviations above their mean.
    bound = chance + 4 * math.sqrt(chance * (1 - chance) / count)
    assert bound < 0.28
    assert accuracy(train, test, frames=1) < bound
    assert accuracy(train, test, frames=8) > 0.6


def test_classes_of_a_checkpoint(tmp_path):
    """The command line gives them to whatever data is evaluated."""
    root = str(tmp_path / "videos")
    assert SyntheticVideoDataModule(root, classes=list(MOTIONS)).classes == list(MOTIONS)
    with pytest.raises(UsageError, match="leave classes out"):
        SyntheticVideoDataModule(root, classes=["up"])
