"""A run that is stopped and goes on from a checkpoint sees what the run sees that is not stopped, to the last bit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.tuner import Tuner
from recording import Recorder, quiet_trainer
from typing_extensions import override

from lightframe import VideoDataModule

pytestmark = pytest.mark.usefixtures("no_worker_is_left")

# Which videos, and a checksum of their pixels and labels; not Lightning's number of the epoch: resumed where one ended,
# with max_steps, it counts it twice.
Batch = tuple[list[int], str]

AUGMENT = {"random_resized_crop": {}, "flip": {}, "random_erasing": {"p": 1.0}, "mixup": {}}
EPOCHS = 2  # of 5 batches: 11 videos in batches of 2, the odd one left out


@pytest.fixture
def root(make_folders: Callable[..., Path]) -> Path:
    return make_folders(train={"jump": 6, "run": 5}, val={"jump": 2, "run": 2})


class Saver(Callback):
    """Saves a checkpoint wherever a run may be stopped, and remembers how many batches it had seen."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.saved: dict[Path, int] = {}

    def save(self, trainer: Trainer, net: Any, hook: str) -> None:
        if not trainer.sanity_checking:
            path = self.folder / f"{hook}-{len(net.trained)}.ckpt"
            trainer.save_checkpoint(path)
            self.saved[path] = len(net.trained)

    @override
    def on_train_start(self, trainer: Trainer, net: Any) -> None:
        self.save(trainer, net, "start")

    @override
    def on_train_batch_end(self, trainer: Trainer, net: Any, *_: Any) -> None:
        self.save(trainer, net, "batch")

    @override
    def on_validation_end(self, trainer: Trainer, net: Any) -> None:
        self.save(trainer, net, "validation")

    @override
    def on_train_epoch_end(self, trainer: Trainer, net: Any) -> None:
        self.save(trainer, net, "epoch_end")

    @override
    def on_train_end(self, trainer: Trainer, net: Any) -> None:
        self.save(trainer, net, "end")


def data(root: Path, **settings: Any) -> VideoDataModule:
    small = {"frames": 2, "stride": 1, "size": 8, "batch_size": 2, "num_workers": 0, "augment": AUGMENT}
    return VideoDataModule(root, **{**small, **settings})


def fit(root: Path, workers: int = 0, checkpoint: Path | None = None, **settings: Any) -> list[Batch]:
    """What a run was trained on."""
    net = Recorder()
    trainer = quiet_trainer(**{"max_epochs": EPOCHS, **settings})
    trainer.fit(net, data(root, num_workers=workers), ckpt_path=checkpoint, weights_only=True if checkpoint else None)
    return net.trained


def stopped(root: Path, folder: Path, workers: int = 0, **settings: Any) -> dict[Path, int]:
    """The checkpoints of a run."""
    saver = Saver(folder)
    fit(root, workers, callbacks=[saver], **settings)
    return saver.saved


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"accumulate_grad_batches": 2},
        {"limit_train_batches": 3},
        {"val_check_interval": 0.5},
        {"val_check_interval": 2, "limit_train_batches": 4, "accumulate_grad_batches": 2},
        {"check_val_every_n_epoch": 2},
        {"limit_val_batches": 0},
        {"reload_dataloaders_every_n_epochs": 1},
        {"max_epochs": -1, "max_steps": 8},
        {"max_epochs": -1, "max_steps": 8, "limit_val_batches": 0},
    ],
    ids=str,
)
def test_from_any_checkpoint(root: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    whole = fit(root, **settings)
    assert len({checksum for _, checksum in whole}) == len(whole) >= 6
    saved = stopped(root, tmp_path, **settings)
    hooks = {path.name.split("-")[0] for path in saved}
    assert hooks >= {"start", "batch", "epoch_end", "end"}
    assert ("validation" in hooks) == (settings.get("limit_val_batches") != 0)
    for path, done in saved.items():
        if "max_steps" in settings and "limit_val_batches" in settings and path.name.startswith("epoch_end"):
            continue  # Lightning 2.6 goes on with an epoch of one batch
        assert fit(root, checkpoint=path, **settings) == whole[done:], path.name


@pytest.mark.parametrize("hook", ["batch-3", "batch-5", "validation-5", "epoch_end-5"])
def test_with_workers(root: Path, tmp_path: Path, hook: str) -> None:
    whole = fit(root, max_epochs=2)
    saved = stopped(root, tmp_path, workers=2, max_epochs=1)
    path = tmp_path / f"{hook}.ckpt"
    assert fit(root, workers=2, checkpoint=path, max_epochs=2) == whole[saved[path] :]


@pytest.mark.parametrize("more", [{"max_epochs": EPOCHS + 1}, {"max_epochs": -1, "max_steps": 12}], ids=str)
def test_a_run_that_came_to_its_end_is_made_longer(root: Path, tmp_path: Path, more: dict[str, int]) -> None:
    less = {"max_epochs": EPOCHS} if "max_steps" not in more else {"max_epochs": -1, "max_steps": 8}
    whole = fit(root, **more)
    for path, done in stopped(root, tmp_path, **less).items():
        assert fit(root, checkpoint=path, **more) == whole[done:], path.name


def test_a_resumed_run_is_resumed(root: Path, tmp_path: Path) -> None:
    """With max_steps, where Lightning counts an epoch twice that ended before the resume."""
    for folder in ("once", "twice"):
        (tmp_path / folder).mkdir()
    settings = {"max_epochs": -1, "max_steps": 8}
    whole = fit(root, **settings)
    stopped(root, tmp_path / "once", **settings)
    for path, done in stopped(
        root, tmp_path / "twice", checkpoint=tmp_path / "once" / "epoch_end-5.ckpt", **settings
    ).items():
        assert fit(root, checkpoint=path, **settings) == whole[5 + done :], path.name


def test_model_checkpoints(root: Path, tmp_path: Path) -> None:
    """As the callback of Lightning saves them, and from a run that an error ended."""

    class Failing(Callback):
        def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
            if trainer.global_step == 8:
                raise ZeroDivisionError

    whole = fit(root)
    saving = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=3, save_top_k=-1)
    with pytest.raises(ZeroDivisionError):
        fit(root, enable_checkpointing=True, callbacks=[saving, Failing()])
    for step in (3, 6):
        assert fit(root, checkpoint=tmp_path / f"step={step}.ckpt") == whole[step:]


def test_an_epoch_that_is_cut_short(root: Path, tmp_path: Path) -> None:
    """By a callback, or max_time: Lightning goes on with the next epoch."""

    class Stopping(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
            trainer.should_stop = trainer.global_step == 7

    whole = fit(root, max_epochs=3)
    fit(root, max_epochs=3, callbacks=[Stopping(), Saver(tmp_path)])
    for hook in ("epoch_end", "end"):
        assert fit(root, max_epochs=3, checkpoint=tmp_path / f"{hook}-7.ckpt") == whole[10:]
    assert fit(root, max_epochs=3, checkpoint=tmp_path / "batch-7.ckpt") == whole[7:]
    assert len(whole) == 15


def test_other_batches_go_on_behind_the_same_videos(root: Path, tmp_path: Path) -> None:
    """A checkpoint counts samples: with batches of another size none is seen twice in an epoch."""
    whole = fit(root)
    stopped(root, tmp_path, max_epochs=1)
    net = Recorder()
    quiet_trainer(max_epochs=1).fit(
        net, data(root, batch_size=1), ckpt_path=tmp_path / "batch-2.ckpt", weights_only=True
    )
    before = [index for indices, _ in whole[:2] for index in indices]
    after = [index for indices, _ in net.trained for index in indices]
    assert sorted(before + after) == list(range(11))


# One data module for several fits


def test_a_data_module_is_used_again(root: Path, tmp_path: Path) -> None:
    whole = fit(root)
    stopped(root, tmp_path, max_epochs=1)
    again, net = data(root), Recorder()
    quiet_trainer(max_epochs=EPOCHS).fit(net, again, ckpt_path=tmp_path / "batch-3.ckpt", weights_only=True)
    assert net.trained == whole[3:]
    net = Recorder()
    trainer = quiet_trainer(max_epochs=1)
    trainer.fit(net, again)  # by a trainer that begins from nothing
    assert net.trained == whole[:5]
    trainer.fit_loop.max_epochs = EPOCHS
    trainer.fit(net, again)  # by one that goes on
    assert net.trained == whole
    net = Recorder()
    trainer = quiet_trainer(max_epochs=EPOCHS)
    trainer.validate(net, again, verbose=False)
    trainer.fit(net, again)
    assert net.trained == whole


def test_after_a_search_for_the_learning_rate(root: Path, tmp_path: Path) -> None:
    class Tuned(Recorder):
        lr = 0.1

    net, whole = Tuned(), fit(root)
    trainer = quiet_trainer(max_epochs=EPOCHS, default_root_dir=tmp_path)
    module = data(root)
    Tuner(trainer).lr_find(net, datamodule=module, num_training=7, early_stop_threshold=None)
    assert len(net.trained) == 7
    net.batches["train"].clear()
    trainer.fit(net, module)
    assert net.trained == whole


# Without a trainer


def test_state(root: Path) -> None:
    module = data(root)
    assert module.state_dict() == {"classes": ["jump", "run"], "epoch": 0, "done": 0, "skipped": {}}
    resumed = data(root)
    state = {"classes": ["jump", "run"], "epoch": 3, "done": 4, "skipped": {}}
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    loader = module.train_dataloader()
    epochs = [list(loader) for _ in range(5)]
    rest = list(resumed.train_dataloader())
    assert [batch.index.tolist() for batch in rest] == [batch.index.tolist() for batch in epochs[3][2:]]
    assert all(torch.equal(one.video, other.video) for one, other in zip(rest, epochs[3][2:], strict=True))
    assert resumed.state_dict()["epoch"] == 3  # it is the trainer that counts
