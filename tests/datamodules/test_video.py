import os
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from clip_pixels import equal, frame_numbers
from recording import Recorder, quiet_trainer

from lightframe.datamodules import VideoBatch, VideoDataModule
from lightframe.datamodules.sampler import EpochSampler
from lightframe.datamodules.video_index import INDEX_NAME, index_table, write_index
from lightframe.errors import UsageError
from lightframe.tools.video_record import VideoFile, video_record

pytestmark = pytest.mark.usefixtures("no_worker_is_left")

SMALL = {"frames": 2, "stride": 1, "size": 8, "batch_size": 2, "num_workers": 0}


@pytest.fixture
def folders(make_folders):
    return make_folders(train={"jump": 4, "run": 3}, val={"run": 1, "jump": 2}, test={"run": 3}, more={"run": 2})


def shuffled(size, seed, epoch):
    return [index for _, index in EpochSampler(range(size), seed, epoch=epoch)]


# Batches


def test_batches(folders):
    data = VideoDataModule(folders, **SMALL, predict=folders / "more")
    assert data.classes == ["jump", "run"]
    assert data.num_classes == 2
    loaders = {
        "train": data.train_dataloader(),
        "val": data.val_dataloader(),
        "test": data.test_dataloader(),
        "predict": data.predict_dataloader(),
    }
    labels = {"train": [0] * 4 + [1] * 3, "val": [0, 0, 1], "test": [1] * 3, "predict": [-1, -1]}
    for split, loader in loaders.items():
        batches = list(loader)
        assert all(isinstance(batch, VideoBatch) for batch in batches)
        assert all(batch.video.dtype == torch.uint8 for batch in batches)
        assert all(batch.video.shape == (len(batch.index), 3, 2, 8, 8) for batch in batches)
        sizes = [len(batch.index) for batch in batches]
        indices = [index for batch in batches for index in batch.index.tolist()]
        assert [label for batch in batches for label in batch.label.tolist()] == [labels[split][i] for i in indices]
        if split == "train":  # in its own order, and without the odd one
            assert sizes == [2, 2, 2]
            assert indices == shuffled(7, 0, 0)[:6]
        else:
            assert sizes == {3: [2, 1], 2: [2]}[len(labels[split])]
            assert indices == list(range(len(labels[split])))


def test_a_set_smaller_than_a_batch_is_one_batch(make_folders):
    data = VideoDataModule(make_folders(train={"run": 3}), **{**SMALL, "batch_size": 8})
    assert [len(batch.index) for batch in data.train_dataloader()] == [3]


@pytest.mark.parametrize(("batch_size", "videos"), [(2, 1), (6, 1), (12, 2), (17, 2)])
def test_views_are_for_testing(folders, batch_size, videos):
    """A batch has about as many clips as in training."""
    data = VideoDataModule(folders, **{**SMALL, "batch_size": batch_size}, views=(3, 2), predict=folders / "more")
    for loader in (data.test_dataloader(), data.predict_dataloader()):
        assert next(iter(loader)).video.shape == (videos, 6, 3, 2, 8, 8)
    assert next(iter(data.val_dataloader())).video.shape == (min(batch_size, 3), 3, 2, 8, 8)


def test_clips_per_video(folders):
    data = VideoDataModule(folders, **{**SMALL, "batch_size": 6}, clips_per_video=3, augment=["random_erasing"])
    order = shuffled(7, 0, 0)
    batches = list(data.train_dataloader())
    assert [batch.index.tolist() for batch in batches] == [
        [order[place]] * 3 + [order[place + 1]] * 3 for place in (0, 2, 4)
    ]
    labels = data.dataset("train").labels
    for batch in batches:
        assert torch.equal(batch.label, labels[batch.index])
        assert batch.video.shape == (6, 3, 2, 8, 8)
    assert [len(batch.index) for batch in data.val_dataloader()] == [3]  # there a video is one clip
    with pytest.raises(UsageError, match="clips_per_video=4 does not divide a batch of 6 clips"):
        VideoDataModule(folders, **{**SMALL, "batch_size": 6}, clips_per_video=4).setup("fit")


def test_the_clips_of_a_video_are_augmented_each_by_itself(folders):
    """The same clip, thrice: what differs is what is erased of it."""
    data = VideoDataModule(folders, **SMALL, clips_per_video=3, augment={"random_erasing": {"p": 1.0}})
    video = data.dataset("val")[0].video.expand(6, -1, -1, -1, -1)
    batch = data.augment(VideoBatch(video, torch.zeros(6), torch.tensor([4, 4, 4, 2, 2, 2])), epoch=1)
    assert len({clip.numpy().tobytes() for clip in batch.video}) == 6
    # In whatever batch they stand.
    other = data.augment(VideoBatch(video[:3], torch.zeros(3), torch.tensor([2, 2, 2])), epoch=1)
    assert torch.equal(other.video, batch.video[3:])
    assert not torch.equal(data.augment(VideoBatch(*other), epoch=2).video, other.video)


def test_mixed_batches(folders):
    data = VideoDataModule(folders, **SMALL, augment={"mixup": {"alpha": 1.0}})
    net = Recorder()
    quiet_trainer(max_epochs=3).fit(net, data)
    mixed = 0
    for batch in net.batches["train"]:
        hard = torch.nn.functional.one_hot(data.dataset("train").labels[batch.index], 2).float()
        # Each clip with the other, in the same proportion.
        share = batch.label[0, hard[0].argmax()] if not torch.equal(*hard) else torch.tensor(1.0)
        torch.testing.assert_close(batch.label, share * hard + (1 - share) * hard.flip(0))
        mixed += bool(0 < share < 1)
    assert mixed > 2
    assert all(batch.label.dtype == torch.long for batch in data.val_dataloader())


def test_mirrored_clips_of_classes_that_have_a_side(make_folders, tmp_path):
    root = make_folders(train={"jump": 2, "turn left": 3, "turn right": 3}, val={"turn left": 2})
    whole = {"random_resized_crop": {"scale": [1, 1], "ratio": [4 / 3, 4 / 3]}}
    flip = {"p": 0.5, "label_map": {"turn left": "turn right"}}
    data = VideoDataModule(root, **SMALL, augment={**whole, "flip": flip})
    mirror, seen = [0, 2, 1], set()
    loader = data.train_dataloader()
    for _ in range(4):
        for batch in loader:
            for clip, label, index in zip(*batch, strict=True):
                own, flipped = data.dataset("train").labels[index].item(), bool(clip[1, 0, 0, 0] > clip[1, 0, 0, -1])
                assert label == (mirror[own] if flipped else own)
                seen.add((own, flipped))
    assert len(seen) == 6
    assert [label for batch in data.val_dataloader() for label in batch.label.tolist()] == [1, 1]

    lines = ["train/jump/0.mkv jump|turn_left", "train/jump/1.mkv turn_right", "train/jump/0.mkv turn_left|turn_right"]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    flip = {"p": 1.0, "label_map": {"turn_left": "turn_right"}}
    several = VideoDataModule(
        root, train=str(tmp_path / "list.txt"), **{**SMALL, "batch_size": 3}, augment={"flip": flip}
    )
    (batch,) = several.train_dataloader()
    assert batch.label[batch.index.argsort()].tolist() == [[1, 0, 1], [0, 1, 0], [0, 1, 1]]


def test_a_label_map_with_a_class_that_there_is_not(folders):
    data = VideoDataModule(folders, **SMALL, augment={"flip": {"label_map": {"jumb": "run"}}})
    with pytest.raises(UsageError, match=r"flip: label_map names 'jumb', which is no class; did you mean 'jump'\?"):
        data.setup("fit")


def test_several_labels(folders, tmp_path):
    (tmp_path / "list.txt").write_text("train/run/0.mkv jump|run\ntrain/run/1.mkv run\n")
    data = VideoDataModule(folders, train=str(tmp_path / "list.txt"), **SMALL)
    (batch,) = data.train_dataloader()
    assert batch.label.tolist() == [[[1, 1], [0, 1]][index] for index in batch.index.tolist()]


def test_batches_do_not_depend_on_workers_and_threads(folders):
    """The pixels are changed on the device, here too."""
    augment = {"random_resized_crop": {}, "flip": {}, "color_jitter": {}, "random_erasing": {"p": 0.5}, "mixup": {}}

    def epochs(workers, threads):
        data = VideoDataModule(folders, **{**SMALL, "num_workers": workers}, threads=threads, augment=augment)
        loader = data.train_dataloader()
        return [data.augment(batch, epoch) for epoch in (0, 1) for batch in loader]

    alone = epochs(0, 1)
    assert len({batch.video.numpy().tobytes() for batch in alone}) == 6
    for workers, threads in [(1, 3), (2, 1)]:
        assert all(equal(one, other) for one, other in zip(epochs(workers, threads), alone, strict=True))


def test_other_samplings(folders):
    """Of 20 frames; two of them."""
    for settings, expected in [
        ({"sampling": "uniform"}, [5, 15]),
        ({"sampling": "dense", "stride": 6}, [4, 10]),
        ({"fps": 5.0, "stride": 2}, [0, 10]),  # of frames 0, 5, 10, 15
    ]:
        data = VideoDataModule(folders, **{**SMALL, **settings})
        assert frame_numbers(data.dataset("val")[0].video) == expected
        for epoch in range(5):
            clip = frame_numbers(data.dataset("train")[epoch, 0].video)
            if settings.get("sampling") == "uniform":
                assert clip[0] < 10 <= clip[1]
            else:
                assert clip[1] - clip[0] == {"dense": 6}.get(settings.get("sampling"), 10)


# Settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frames": 0}, "frames must be at least 1, got 0"),
        ({"frames": -4}, "frames must be at least 1, got -4"),
        ({"stride": 0}, "stride must be at least 1"),
        ({"size": 0}, "size must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"global_batch_size": 0}, "global_batch_size must be at least 1"),
        ({"views": (0, 1)}, "views must be at least 1"),
        ({"views": (3,)}, "views must be two numbers"),
        ({"views": ()}, "views must be at least 1"),
        ({"num_workers": -1}, "num_workers must not be negative"),
        ({"speeds": ()}, "speeds must be one or more numbers > 0"),
        ({"speeds": (1.0, 0.0)}, "speeds must be one or more numbers > 0"),
        ({"val_fraction": -0.1}, "val_fraction must be at least 0 and below 1"),
        ({"val_fraction": 1.0}, "val_fraction must be at least 0 and below 1"),
        ({"clips_per_video": 0}, "clips_per_video must be at least 1"),
        ({"threads": 0}, "threads must be at least 1"),
        ({"fps": 0}, "fps must be above 0"),
        ({"max_errors": 0}, "max_errors must be at least 1; on_error='raise' stops at the first"),
        ({"sampling": "unifrom"}, "unknown sampling 'unifrom'; did you mean 'uniform'"),
        ({"sampling": "uniform", "speeds": (0.5, 1)}, r"speeds=\[0.5, 1\] go with sampling='random'"),
        ({"augment": "flipp"}, "'flipp'; did you mean 'flip'"),
        ({"augment": {"flip": {"p": 1.5}}}, "flip: p must"),
        ({"augment": ["random_resized_crop", "short_side_jitter"]}, "exclude each other"),
        ({"eval_crop": 0.0}, "eval_crop must lie above 0 and at most 1"),
        ({"eval_crop": 1.1}, "eval_crop must lie above 0 and at most 1"),
        ({"on_error": "ignore"}, "on_error must be 'skip' or 'raise'"),
        ({"decoder": "pyva"}, "decoder must be one of auto, pyav, torchcodec, got 'pyva'; did you mean 'pyav'"),
        ({"device": "cuda"}, "device='cuda' needs decoder='torchcodec'"),
        ({"mean": (0.5,)}, "mean and std must be three numbers each"),
        ({"std": (1.0, 1.0, 0.0)}, "std above 0"),
        ({"classes": []}, "classes must be different names, at least one"),
        ({"classes": ["run", "run"]}, "classes must be different names"),
        ({"classes": "no/such/file.txt"}, r"class file 'no/such/file\.txt' does not exist"),
        ({"train_transform": 3}, "transform 3 is not callable"),
        ({"eval_transform": "torch.pi"}, "transform 'torch.pi' is not callable"),
        ({"eval_transform": "no_such_package.crop"}, "no_such_package"),
    ],
)
def test_settings_that_make_no_clip(settings, message):
    with pytest.raises(UsageError, match=message):
        VideoDataModule("anywhere", **settings)


def test_a_class_file(folders, tmp_path):
    (tmp_path / "classes.txt").write_bytes("\ufeffrun\n\n  jump \n".encode())
    data = VideoDataModule(folders, classes=str(tmp_path / "classes.txt"), **SMALL)
    assert data.classes == ["run", "jump"]
    assert data.dataset("val").labels.tolist() == [1, 1, 0]
    (tmp_path / "classes.txt").write_bytes(b"r\xf6nn\n")
    with pytest.raises(UsageError, match=r"class file '.*classes\.txt' is not UTF-8"):
        VideoDataModule(folders, classes=str(tmp_path / "classes.txt"))


class Mirror(torch.nn.Module):
    """A transform that a config can name."""

    def forward(self, video):
        return video.flip(-1)


def test_transforms_by_import_path(folders):
    data = VideoDataModule(folders, **SMALL, train_transform=f"{__name__}.Mirror", eval_transform="torch.flipud")
    assert isinstance(data.train_transform, Mirror)
    assert data.eval_transform is torch.flipud
    assert data.dataset("train")[0, 0].video[1, 0, 0].tolist() == list(range(32))[::-1]


def test_global_batch_size(folders):
    def on(devices):
        data = VideoDataModule(folders, **SMALL, global_batch_size=6)
        data.trainer = namedtuple("Trainer", "world_size global_rank current_epoch")(devices, devices - 1, 0)
        return data

    assert on(1).train_dataloader().batch_size == 6
    assert on(3).train_dataloader().batch_size == 2
    assert on(3).train_dataloader().sampler.rank == 2
    with pytest.raises(UsageError, match="global_batch_size=6 is not divisible by 4 devices"):
        on(4).setup("fit")
    assert VideoDataModule(folders, **SMALL, global_batch_size=6).val_dataloader().batch_size == 6


@pytest.mark.parametrize(("devices", "workers"), [(1, 6), (2, 3)])
def test_default_number_of_workers(folders, monkeypatch, devices, workers):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(6)), raising=False)
    monkeypatch.setattr("torch.utils.data.DataLoader.check_worker_number_rationality", lambda self: None)
    data = VideoDataModule(folders, **{**SMALL, "num_workers": None})
    data.trainer = namedtuple("Trainer", "world_size global_rank num_devices")(1, 0, devices)
    assert data.test_dataloader().num_workers == workers


def test_decoding_on_the_gpu_happens_in_the_training_process(folders, monkeypatch):
    with pytest.raises(UsageError, match=r"GPU|CUDA|cuda|torchcodec"):
        VideoDataModule(folders, **SMALL, decoder="torchcodec", device="cuda")
    monkeypatch.setattr("lightframe.datamodules.video.check_decoder", lambda decoder, device: None)
    monkeypatch.setattr("torch.cuda.current_device", lambda: 0)
    with pytest.raises(UsageError, match="device='cuda' decodes in the training process: it goes with num_workers=0"):
        VideoDataModule(folders, **{**SMALL, "num_workers": 2}, decoder="torchcodec", device="cuda")
    for workers in (0, None):
        data = VideoDataModule(folders, **{**SMALL, "num_workers": workers}, decoder="torchcodec", device="cuda")
        assert data.val_dataloader().num_workers == 0
        assert not data.val_dataloader().pin_memory  # it is there already


# A scan of the videos


def scan(folder):
    """What the command does, without its processes."""
    rows = [video_record(VideoFile.of(path, folder)) for path in folder.rglob("*.mkv")]
    write_index(index_table(rows), folder / INDEX_NAME, folder)


@pytest.fixture
def scanned(folders):
    """One training video is broken, one to validate on, and one to predict; an index of the folder tells."""
    for name in ("train/jump/1.mkv", "val/run/0.mkv", "more/run/0.mkv"):
        (folders / name).unlink()
        (folders / name).write_text("no video")
    scan(folders)
    return folders


def names(data, split):
    return ["/".join(Path(path).parts[-2:]) for path in data.dataset(split).paths]


def test_what_a_scan_found_broken_is_left_out(scanned, caplog, monkeypatch):
    data = VideoDataModule(scanned, **SMALL, predict=scanned / "more")
    assert names(data, "train") == ["jump/0.mkv", "jump/2.mkv", "jump/3.mkv", "run/0.mkv", "run/1.mkv", "run/2.mkv"]
    assert data.dataset("train").labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert (names(data, "val"), data.dataset("val").labels.tolist()) == (["jump/0.mkv", "jump/1.mkv"], [0, 0])
    assert names(data, "predict") == ["run/1.mkv"]
    said = [record.getMessage() for record in caplog.records]
    assert [line.split(" videos are broken")[0] for line in said] == [
        "1 of the 7 train",
        "1 of the 3 val",
        "1 of the 2 predict",
    ]
    assert "train/jump/1.mkv" in said[0]
    caplog.clear()
    # What is known needs no look before it is read.
    monkeypatch.setattr("lightframe.datamodules.reader.probe", lambda path: pytest.fail("a known video was looked at"))
    assert [batch.index.tolist() for batch in data.train_dataloader()]
    assert [batch.index.tolist() for batch in data.val_dataloader()] == [[0, 1]]
    assert caplog.records == []


def test_a_scan_is_found_or_named(scanned, tmp_path):
    (scanned / "lightframe-scan.parquet").rename(tmp_path / "elsewhere.parquet")
    assert len(VideoDataModule(scanned, **SMALL).dataset("train")) == 7
    index = str(tmp_path / "elsewhere.parquet")
    with pytest.raises(UsageError, match="there is no index 'nowhere"):
        VideoDataModule(scanned, **SMALL, index="nowhere.parquet").setup("fit")
    (tmp_path / "elsewhere.parquet").rename(scanned / "renamed.parquet")
    assert len(VideoDataModule(scanned, **SMALL, index=str(scanned / "renamed.parquet")).dataset("train")) == 6
    assert not Path(index).exists()


def test_a_video_that_was_repaired_is_used_again(scanned, numbered_video):
    (scanned / "val/run/0.mkv").unlink()
    (scanned / "val/run/0.mkv").hardlink_to(numbered_video)
    os.utime(scanned / "val/run/0.mkv")
    data = VideoDataModule(scanned, **SMALL)
    assert names(data, "val") == ["jump/0.mkv", "jump/1.mkv", "run/0.mkv"]
    assert [index for batch in data.val_dataloader() for index in batch.index.tolist()] == [0, 1, 2]


def test_known_bad_videos_are_an_error_if_asked_for(scanned):
    data = VideoDataModule(scanned, **SMALL, on_error="raise")
    with pytest.raises(
        UsageError, match=r"1 of the 7 train videos are broken, as lightframe scan found \(.*jump/1\.mkv"
    ):
        data.setup("fit")


def test_a_set_of_which_all_is_known_to_be_bad(make_folders):
    root = make_folders(train={"run": 1})
    for path in [root / "train/run/0.mkv"]:
        path.unlink()
        path.write_text("no video")
    scan(root)
    with pytest.raises(UsageError, match=r"1 of the 1 train videos are broken"):
        VideoDataModule(root, **SMALL).setup("fit")


def test_the_taken_validation_videos_are_looked_up_too(scanned):
    (scanned / "val").rename(scanned / "not_val")
    data = VideoDataModule(scanned, **SMALL, val_fraction=0.5)
    assert len(data.dataset("train")) + len(data.dataset("val")) == 6


def test_setup_of_many_videos_asks_the_disk_for_few(folders, tmp_path, monkeypatch):
    """A network drive takes minutes to tell of hundreds of thousands."""
    lines = ["train/jump/0.mkv jump\n"] + [f"train/run/{number}.mkv run\n" for number in range(20_000)]
    (tmp_path / "list.txt").write_text("".join(lines))
    asked = []
    stat = Path.stat
    video = stat(folders / "train/jump/0.mkv")

    def told(path, **more):
        asked.append(path)
        return video if path.suffix == ".mkv" else stat(path, **more)

    monkeypatch.setattr(Path, "stat", told)
    data = VideoDataModule(folders, train=str(tmp_path / "list.txt"), val=str(tmp_path / "list.txt"), **SMALL)
    data.setup("fit")
    assert len(data.dataset("train")) == 20_001
    assert len(asked) < 4000


# With Lightning's trainer


@pytest.mark.parametrize(("precision", "dtype"), [("32-true", torch.float32), ("bf16-true", torch.bfloat16)])
def test_normalisation_on_the_device(folders, precision, dtype):
    data = VideoDataModule(folders, **SMALL, mean=(0.1, 0.5, 0.9), std=(0.2, 0.3, 0.4))
    net = Recorder()
    quiet_trainer(precision=precision).fit(net, data)
    raw = data.dataset("val")
    for batch in net.batches["val"]:
        assert batch.video.dtype == dtype
        assert batch.video.is_contiguous()
        for video, index in zip(batch.video, batch.index.tolist(), strict=True):
            mean, std = torch.tensor([[0.1, 0.5, 0.9], [0.2, 0.3, 0.4]], dtype=torch.float64).view(2, 3, 1, 1, 1)
            expected = (raw[index].video.double() / 255 - mean) / std
            torch.testing.assert_close(
                video.double(), expected, rtol=2**-8 if dtype == torch.bfloat16 else 0, atol=1e-5
            )
    assert all(batch.video.dtype == dtype for batch in net.batches["train"])


def test_each_epoch_has_its_own_order_and_clips(folders):
    net = Recorder()
    quiet_trainer(max_epochs=3).fit(net, VideoDataModule(folders, **SMALL, seed=4))
    assert [net.order(epoch) for epoch in range(3)] == [shuffled(7, 4, epoch)[:6] for epoch in range(3)]
    assert len({tuple(net.order(epoch)) for epoch in range(3)}) == 3
    epochs = [sorted(zip(batch.index.tolist(), batch.video.tolist(), strict=True)) for batch in net.batches["val"]]
    assert epochs[:2] == epochs[2:4] == epochs[4:]  # while the validation clips stay


def test_pixels_are_changed_on_the_device(folders):
    """As the data module's own `augment` does it, by the epoch."""
    augment = {"color_jitter": {}, "random_erasing": {"p": 1.0}, "mixup": {}}
    data, net = VideoDataModule(folders, **SMALL, augment=augment), Recorder()
    quiet_trainer(max_epochs=2).fit(net, data)
    plain = VideoDataModule(folders, **SMALL, augment=augment)
    expected = [
        plain.normalize(plain.augment(plain.dataset("train").batch([(epoch, index) for index in pair])[0], epoch))
        for epoch in (0, 1)
        for pair in zip(*[iter(shuffled(7, 0, epoch)[:6])] * 2, strict=True)
    ]
    assert all(equal(one, other) for one, other in zip(net.batches["train"], expected, strict=True))
    for batch in net.batches["val"]:
        unchanged = [plain.dataset("val")[index].video for index in batch.index.tolist()]
        label = plain.dataset("val").labels[batch.index]
        assert equal(batch, plain.normalize(VideoBatch(torch.stack(unchanged), label, batch.index)))


@pytest.mark.filterwarnings("ignore:Total length of `list` across ranks is zero")  # Lightning's remark on just that
def test_without_validation(make_folders):
    net = Recorder()
    quiet_trainer().fit(net, VideoDataModule(make_folders(train={"run": 2}), **SMALL))
    assert [len(net.batches[phase]) for phase in ("train", "val")] == [1, 0]


def test_validation_from_the_training_videos(make_folders):
    net = Recorder()
    data = VideoDataModule(make_folders(train={"run": 4, "jump": 4}), val_fraction=0.25, **SMALL)
    quiet_trainer().fit(net, data)
    assert [batch.label.tolist() for batch in net.batches["val"]] == [[0, 1]]
    assert len(net.order(0)) == 6


@pytest.mark.parametrize(
    ("stage", "folders", "message"),
    [
        ("fit", {"val": {"run": 1}}, "there is no train split"),
        ("fit", {"train": {"run": 1}, "val": {"walk": 1}}, "val/walk: the training split has no class 'walk'"),
        ("fit", {"train": {"run": 1, "walk": 0}}, r"class folder '.*walk' holds no videos"),
        ("validate", {"train": {"run": 1}}, "there is no val split"),
        ("test", {"train": {"run": 1}}, "there is no test split"),
        ("predict", {"train": {"run": 1}}, "there is no predict split"),
    ],
)
def test_errors_come_before_the_first_step(make_folders, stage, folders, message):
    net = Recorder()
    with pytest.raises(UsageError, match=message):
        getattr(quiet_trainer(), stage)(net, datamodule=VideoDataModule(make_folders(**folders), **SMALL))
    assert not any(net.batches.values())


# Checkpoints


def test_classes_of_a_checkpoint(folders, make_folders):
    state = VideoDataModule(folders, **SMALL).state_dict()
    assert state["classes"] == ["jump", "run"]
    VideoDataModule(folders, **SMALL).load_state_dict(state)
    other = make_folders("other", train={"swim": 1, "run": 1}, test={"run": 1})
    with pytest.raises(UsageError, match="only the checkpoint has 'jump', only the data has 'swim'"):
        VideoDataModule(other, **SMALL).load_state_dict(state)


def test_a_test_set_by_itself_takes_the_classes_of_the_checkpoint(folders):
    state = VideoDataModule(folders, **SMALL).state_dict()
    alone = VideoDataModule(test=str(folders / "more"), **SMALL)
    assert alone.state_dict()["classes"] is None
    alone.load_state_dict(state)
    assert alone.num_classes == 2
    assert next(iter(alone.test_dataloader())).label.tolist() == [1, 1]


def test_settings_with_which_evaluation_sees_the_same(folders):
    data = VideoDataModule(folders, **SMALL, eval_crop=0.5, std=(0.3, 0.3, 0.3))
    again = VideoDataModule(test=str(folders / "more"), num_workers=0, **data.settings())
    assert again.classes == ["jump", "run"]
    assert torch.equal(again.dataset("test")[1].video, data.dataset("test")[1].video)
    batch = VideoBatch(data.dataset("test")[1].video, torch.tensor(0), torch.tensor(0))
    assert torch.equal(again.normalize(batch).video, data.normalize(batch).video)
