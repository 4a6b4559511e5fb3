import gc
import multiprocessing
import shutil
from collections import namedtuple
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch

from lightframe.datamodules import VideoBatch, VideoDataModule
from lightframe.datamodules.sampler import EpochSampler
from lightframe.errors import UsageError

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),  # tiny data needs none
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*deprecated:FutureWarning"),  # Lightning 2.6 on torch 2.15
]

SMALL = {"frames": 2, "stride": 1, "size": 8, "batch_size": 2, "num_workers": 0}


@pytest.fixture(autouse=True)
def no_worker_is_left():
    yield
    if multiprocessing.active_children():
        gc.collect()  # persistent workers end with their loader
    assert multiprocessing.active_children() == []


@pytest.fixture
def folders(make_folders):
    return make_folders(train={"jump": 4, "run": 3}, val={"run": 1, "jump": 2}, test={"run": 3}, more={"run": 2})


class Net(pl.LightningModule):
    """Trains one number and keeps what it was given."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.seen = {"train": [], "val": []}

    def training_step(self, batch, batch_idx):
        self.seen["train"].append((self.current_epoch, batch))
        return self.weight * batch.video.mean()

    def validation_step(self, batch, batch_idx):
        self.seen["val"].append((self.current_epoch, batch))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def order(self, epoch):
        """The indices of an epoch's training videos as they came."""
        return [index for at, batch in self.seen["train"] if at == epoch for index in batch.index.tolist()]


def trainer(**more):
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return pl.Trainer(accelerator="cpu", **{**quiet, "num_sanity_val_steps": 0, "max_epochs": 1, **more})


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


def test_views_are_for_testing(folders):
    data = VideoDataModule(folders, **SMALL, views=(3, 2))
    assert next(iter(data.test_dataloader())).video.shape == (2, 6, 3, 2, 8, 8)
    assert next(iter(data.val_dataloader())).video.shape == (2, 3, 2, 8, 8)


def test_several_labels(folders, tmp_path):
    (tmp_path / "list.txt").write_text("train/run/0.mkv jump|run\ntrain/run/1.mkv run\n")
    data = VideoDataModule(folders, train=str(tmp_path / "list.txt"), **SMALL)
    (batch,) = data.train_dataloader()
    assert batch.label.tolist() == [[[1, 1], [0, 1]][index] for index in batch.index.tolist()]


def test_batches_do_not_depend_on_the_workers_nor_touch_the_global_generator(folders):
    def epochs(workers):
        data = VideoDataModule(folders, **{**SMALL, "num_workers": workers})
        loader = data.train_dataloader()
        batches = []
        for epoch in (0, 1):
            loader.sampler.set_epoch(epoch)
            batches += list(loader)
        return batches + list(data.val_dataloader())

    torch.manual_seed(0)
    state = torch.get_rng_state()
    alone = epochs(0)
    torch.rand(5)  # whatever state it is in
    other = torch.get_rng_state()
    helped = epochs(2)
    assert torch.equal(torch.get_rng_state(), other)
    torch.set_rng_state(state)
    epochs(0)
    assert torch.equal(torch.get_rng_state(), state)
    assert len(alone) == len(helped) == 3 + 3 + 2
    for one, two in zip(alone, helped, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not torch.equal(alone[0].video, alone[3].video)


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
        ({"flip": 1.5}, "flip must lie between 0 and 1"),
        ({"flip": -0.5}, "flip must lie between 0 and 1"),
        ({"crop_scale": (0.0, 1.0)}, "crop_scale must be two shares"),
        ({"crop_scale": (0.5, 1.5)}, "crop_scale must be two shares"),
        ({"crop_scale": (0.9, 0.5)}, "crop_scale must be two shares"),
        ({"crop_scale": (0.5,)}, "crop_scale must be two shares"),
        ({"eval_crop": 0.0}, "eval_crop must lie above 0 and at most 1"),
        ({"eval_crop": 1.1}, "eval_crop must lie above 0 and at most 1"),
        ({"on_error": "ignore"}, "on_error must be 'skip' or 'raise'"),
        ({"decoder": "ffmpeg"}, "decoder must be 'auto' or 'pyav'"),
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
        data.trainer = namedtuple("Trainer", "world_size global_rank")(devices, devices - 1)
        return data

    assert on(1).train_dataloader().batch_size == 6
    assert on(3).train_dataloader().batch_size == 2
    assert on(3).train_dataloader().sampler.rank == 2
    with pytest.raises(UsageError, match="global_batch_size=6 is not divisible by 4 devices"):
        on(4).setup("fit")
    assert VideoDataModule(folders, **SMALL, global_batch_size=6).val_dataloader().batch_size == 6


@pytest.mark.parametrize(("cores", "devices", "workers"), [(4, 1, 4), (4, 2, 2), (64, 2, 8), (1, 1, 1), (2, 8, 1)])
def test_default_number_of_workers(folders, monkeypatch, cores, devices, workers):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(cores)), raising=False)
    data = VideoDataModule(folders, **{**SMALL, "num_workers": None})
    data.trainer = namedtuple("Trainer", "world_size global_rank num_devices")(1, 0, devices)
    assert data.test_dataloader().num_workers == workers


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no shared memory folder here")
def test_workers_without_enough_shared_memory(folders, monkeypatch):
    """Two workers with two batches each of 2 clips of 3 x 2 x 1024 x 1024 bytes: 48 MiB."""

    def free(mebibytes):
        usage = shutil.disk_usage("/")._replace(free=mebibytes * 2**20)
        monkeypatch.setattr("lightframe.datamodules.video.shutil.disk_usage", lambda path: usage)

    data = VideoDataModule(folders, **{**SMALL, "size": 1024, "num_workers": 2}, views=(2, 1))
    free(47)
    with pytest.raises(UsageError, match=r"2 loader workers need about 48 MiB .* has 47 MiB free: use num_workers=0"):
        data.train_dataloader()
    free(48)
    data.train_dataloader(), data.val_dataloader()
    with pytest.raises(UsageError, match="need about 96 MiB"):
        data.test_dataloader()  # twice the views
    free(0)
    VideoDataModule(folders, **SMALL).train_dataloader()  # no workers, no need


# With Lightning's trainer


@pytest.mark.parametrize(("precision", "dtype"), [("32-true", torch.float32), ("bf16-true", torch.bfloat16)])
def test_normalisation_on_the_device(folders, precision, dtype):
    data = VideoDataModule(folders, **SMALL, mean=(0.1, 0.5, 0.9), std=(0.2, 0.3, 0.4))
    net = Net()
    trainer(precision=precision).fit(net, data)
    raw = data.dataset("val")
    for _, batch in net.seen["val"]:
        assert batch.video.dtype == dtype
        for video, index in zip(batch.video, batch.index.tolist(), strict=True):
            mean, std = torch.tensor([[0.1, 0.5, 0.9], [0.2, 0.3, 0.4]], dtype=torch.float64).view(2, 3, 1, 1, 1)
            expected = (raw[index].video.double() / 255 - mean) / std
            torch.testing.assert_close(
                video.double(), expected, rtol=2**-8 if dtype == torch.bfloat16 else 0, atol=1e-5
            )
    assert all(batch.video.dtype == dtype for _, batch in net.seen["train"])


def test_each_epoch_has_its_own_order_and_clips(folders):
    net = Net()
    trainer(max_epochs=3).fit(net, VideoDataModule(folders, **SMALL, seed=4))
    assert [net.order(epoch) for epoch in range(3)] == [shuffled(7, 4, epoch)[:6] for epoch in range(3)]
    assert len({tuple(net.order(epoch)) for epoch in range(3)}) == 3
    epochs = [sorted(zip(batch.index.tolist(), batch.video.tolist(), strict=True)) for _, batch in net.seen["val"]]
    assert epochs[:2] == epochs[2:4] == epochs[4:]  # while the validation clips stay


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_goes_on_with_the_next_epoch(folders, tmp_path, workers):
    """Lightning names the epoch when the workers have begun already."""

    def fit(epochs, **more):
        net, data = Net(), VideoDataModule(folders, **{**SMALL, "num_workers": workers})
        run = trainer(max_epochs=epochs)
        run.fit(net, data, **more)
        return net, run

    _, run = fit(1)
    run.save_checkpoint(tmp_path / "a.ckpt")
    del run
    net, _ = fit(3, ckpt_path=tmp_path / "a.ckpt", weights_only=True)
    assert [net.order(epoch) for epoch in range(3)] == [[], *(shuffled(7, 0, epoch)[:6] for epoch in (1, 2))]
    straight, _ = fit(3)
    rest = [batch for epoch, batch in straight.seen["train"] if epoch]
    assert all(torch.equal(a.video, b.video) for a, (_, b) in zip(rest, net.seen["train"], strict=True))


@pytest.mark.filterwarnings("ignore:Total length of `list` across ranks is zero")  # Lightning's remark on just that
def test_without_validation(make_folders):
    net = Net()
    trainer().fit(net, VideoDataModule(make_folders(train={"run": 2}), **SMALL))
    assert len(net.seen["train"]) == 1
    assert net.seen["val"] == []


def test_validation_from_the_training_videos(make_folders):
    net = Net()
    data = VideoDataModule(make_folders(train={"run": 4, "jump": 4}), val_fraction=0.25, **SMALL)
    trainer().fit(net, data)
    assert [batch.label.tolist() for _, batch in net.seen["val"]] == [[0, 1]]
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
    net = Net()
    net.test_step = net.predict_step = net.validation_step
    with pytest.raises(UsageError, match=message):
        getattr(trainer(), stage)(net, datamodule=VideoDataModule(make_folders(**folders), **SMALL))
    assert net.seen == {"train": [], "val": []}


# Checkpoints


def test_state(folders, make_folders):
    data = VideoDataModule(folders, **SMALL)
    state = data.state_dict()
    assert state == {"classes": ["jump", "run"], "epoch": 0}

    resumed = VideoDataModule(folders, **SMALL)
    resumed.load_state_dict({**state, "epoch": 3})
    assert resumed.state_dict() == {**state, "epoch": 3}
    assert list(resumed.train_dataloader().sampler) == list(EpochSampler(range(7), epoch=3))

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
