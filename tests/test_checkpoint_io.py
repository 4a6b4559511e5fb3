"""Checkpoints through Lightning: written whole or not at all, read whole, and nothing of them run."""

import errno
import os
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel
from test_checkpoint_reading import Evil, make_checkpoint, same
from test_module import fit, loader, make_data, make_net, make_trainer

from lightframe import LightFrameModule
from lightframe.checkpoint_io import SafeCheckpointIO, read_checkpoint
from lightframe.checkpoint_reading import DamagedCheckpointError
from lightframe.errors import UsageError
from lightframe.export import export_weights


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def cut(path: Path) -> None:
    """Half of a file, as old as it was."""
    written = path.stat().st_mtime_ns
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    os.utime(path, ns=(written, written))


# Writing


def test_what_is_saved_is_what_lightning_saves(tmp_path: Path) -> None:
    for name, io in (("ours", SafeCheckpointIO()), ("theirs", TorchCheckpointIO())):
        io.save_checkpoint(make_checkpoint(), tmp_path / "folder" / f"{name}.ckpt")
    assert names(tmp_path / "folder") == ["ours.ckpt", "theirs.ckpt"]
    for name in ("ours", "theirs"):
        for io in (SafeCheckpointIO(), TorchCheckpointIO()):
            assert same(io.load_checkpoint(tmp_path / f"folder/{name}.ckpt"), make_checkpoint())
    SafeCheckpointIO().remove_checkpoint(tmp_path / "folder/ours.ckpt")
    assert names(tmp_path / "folder") == ["theirs.ckpt"]


def test_other_machines_are_lightnings(tmp_path: Path) -> None:
    io = SafeCheckpointIO()
    io.save_checkpoint(make_checkpoint(), "memory://folder/a.ckpt")
    assert same(io.load_checkpoint("memory://folder/a.ckpt"), make_checkpoint())
    io.save_checkpoint({"evil": Evil(tmp_path / "touched")}, "memory://folder/evil.ckpt")
    with pytest.raises(UsageError, match="pickled"):
        io.load_checkpoint("memory://folder/evil.ckpt")
    io.save_checkpoint(make_checkpoint(), f"file://{tmp_path.as_posix()}/a.ckpt")
    assert names(tmp_path) == ["a.ckpt"]
    with pytest.raises(TypeError, match="storage_options"):
        io.save_checkpoint({}, tmp_path / "b.ckpt", storage_options={"a": 1})


class Full:
    """A file on a disk with room for some bytes more."""

    def __init__(self, file: Any, room: int, code: int) -> None:
        self.file, self.room, self.code = file, room, code

    def write(self, content: Any) -> int:
        self.room -= len(content)
        if self.room < 0:
            raise OSError(self.code, os.strerror(self.code))
        return self.file.write(content)

    def __enter__(self) -> "Full":
        return self

    def __exit__(self, *_: Any) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


FULL = {errno.ENOSPC: "the disk is full", errno.EFBIG: "larger than may be written"}
if sys.platform != "win32":
    FULL[errno.EDQUOT] = "quota"


@pytest.mark.parametrize("code", FULL)
@pytest.mark.parametrize("room", [0, 20, 400, 900, 1500, 2500])
def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, code: int) -> None:
    """At whichever byte it happens: what stood there stays, and the error says how to go on."""
    io = SafeCheckpointIO()
    io.save_checkpoint({"state_dict": {}}, tmp_path / "old.ckpt")
    before = (tmp_path / "old.ckpt").read_bytes()
    opened = Path.open
    with monkeypatch.context() as patch:
        patch.setattr(
            Path,
            "open",
            lambda self, mode="r", *args: (
                Full(opened(self, mode, *args), room, code) if "w" in mode else opened(self, mode, *args)
            ),
        )
        for name in ("old.ckpt", "new.ckpt"):
            with pytest.raises(UsageError) as raised:
                io.save_checkpoint(make_checkpoint(), tmp_path / name)
            said = str(raised.value)
            assert FULL[code] in said
            assert f"'{tmp_path / name}' needs 0.0 MB" in said
            assert "MB are free" in said
            assert said.endswith(f"go on with --ckpt_path {tmp_path / 'old.ckpt'}")
    assert names(tmp_path) == ["old.ckpt"]
    assert (tmp_path / "old.ckpt").read_bytes() == before


def test_a_limit_of_the_system_on_the_size_of_files(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    large = {"state_dict": {"w": torch.zeros(1_000_000)}}
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(UsageError, match=r"may be written here: .*needs 4\.0 MB.*none was written before it"):
            SafeCheckpointIO().save_checkpoint(large, tmp_path / "a.ckpt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == []


def test_a_full_disk_in_training_keeps_the_last_good_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save, saved = SafeCheckpointIO.save_checkpoint, []

    def full(self: Any, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        saved.append(path)
        if len(saved) == 3:
            monkeypatch.setattr("lightframe.checkpoint_io.torch.save", broken)
        save(self, checkpoint, path, storage_options)

    def broken(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(SafeCheckpointIO, "save_checkpoint", full)
    module = LightFrameModule(make_net(), "ce")
    callback = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    with pytest.raises(UsageError, match=r"disk is full.*go on with --ckpt_path .*epoch=1\.ckpt"):
        fit(module, epochs=5, callbacks=[callback], enable_checkpointing=True)
    assert names(tmp_path) == ["epoch=0.ckpt", "epoch=1.ckpt"]
    monkeypatch.undo()
    make_trainer(max_epochs=3).fit(
        LightFrameModule(make_net(), "ce"), loader(make_data()), ckpt_path=tmp_path / "epoch=1.ckpt"
    )


def test_other_failures_name_their_cause(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.ckpt").mkdir()
    for path in (tmp_path / "file/a.ckpt", tmp_path / "folder.ckpt"):
        with pytest.raises(UsageError, match=r"cannot be written \("):
            SafeCheckpointIO().save_checkpoint(make_checkpoint(), path)
    assert names(tmp_path) == ["file", "folder.ckpt"]
    with pytest.raises(AttributeError):  # an object that cannot be pickled is a mistake of another kind
        SafeCheckpointIO().save_checkpoint({"a": lambda: None}, tmp_path / "a.ckpt")
    assert names(tmp_path) == ["file", "folder.ckpt"]


def test_what_failed_before_is_not_taken_for_the_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that has failed may be saved: why it failed is not why it cannot be."""

    def broken(*_: Any) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr("lightframe.checkpoint_io.torch.save", broken)
    try:
        raise FileNotFoundError("a video is gone")
    except FileNotFoundError:
        with pytest.raises(RuntimeError, match="no memory"):
            SafeCheckpointIO().save_checkpoint(make_checkpoint(), tmp_path / "a.ckpt")


# Reading


def test_the_one_before_a_damaged_one_is_offered(tmp_path: Path) -> None:
    io, folder = SafeCheckpointIO(), tmp_path / "runs/run_1/checkpoints"
    for number, path in enumerate(("run_0/checkpoints/old", "run_1/checkpoints/a", "run_1/checkpoints/b", "run_2/new")):
        io.save_checkpoint(make_checkpoint(), tmp_path / f"runs/{path}.ckpt")
        os.utime(tmp_path / f"runs/{path}.ckpt", ns=(0, number * 10**9))
    cut(folder / "b.ckpt")
    for read in (io.load_checkpoint, read_checkpoint):
        with pytest.raises(DamagedCheckpointError) as raised:
            read(folder / "b.ckpt")
        said = f"'{folder / 'b.ckpt'}' is cut short (its end is missing): go on with --ckpt_path {folder / 'a.ckpt'}"
        assert str(raised.value) == said
    cut(folder / "a.ckpt")
    with pytest.raises(DamagedCheckpointError, match=r"go on with --ckpt_path .*run_0/checkpoints/old\.ckpt"):
        io.load_checkpoint(folder / "b.ckpt")
    cut(tmp_path / "runs/run_0/checkpoints/old.ckpt")
    with pytest.raises(DamagedCheckpointError, match="there is no whole one before it"):
        io.load_checkpoint(folder / "b.ckpt")
    run_2 = tmp_path / "runs/run_2"
    with pytest.raises(DamagedCheckpointError, match=r"run_2' is a folder: go on with --ckpt_path .*run_2.new\.ckpt"):
        io.load_checkpoint(run_2)
    with pytest.raises(DamagedCheckpointError, match=r"there is no file '.*c\.ckpt': go on with .*new\.ckpt"):
        io.load_checkpoint(folder / "c.ckpt")
    for name in ("x" * 300, "a\0b"):
        with pytest.raises(DamagedCheckpointError, match="cannot be read"):
            io.load_checkpoint(folder / name)
    with pytest.raises(DamagedCheckpointError, match="is a folder"):
        io.load_checkpoint(folder)


def test_lightning_reads_through_it(tmp_path: Path) -> None:
    callback = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    module = LightFrameModule(make_net(), "ce")
    trainer = fit(module, epochs=2, callbacks=[callback], enable_checkpointing=True)
    assert type(trainer.strategy.checkpoint_io) is SafeCheckpointIO
    cut(tmp_path / "epoch=1.ckpt")
    for use in ("fit", "validate", "test", "predict"):
        with pytest.raises(DamagedCheckpointError, match=r"epoch=1\.ckpt' is cut short.*--ckpt_path .*epoch=0\.ckpt"):
            getattr(make_trainer(max_epochs=3), use)(module, loader(make_data()), ckpt_path=tmp_path / "epoch=1.ckpt")
    with pytest.raises(DamagedCheckpointError):
        LightFrameModule.load_from_checkpoint(tmp_path / "epoch=1.ckpt", net=make_net())
    loaded = LightFrameModule.load_from_checkpoint(tmp_path / "epoch=0.ckpt", net=make_net(), map_location="cpu")
    assert same(dict(loaded.state_dict()), torch.load(tmp_path / "epoch=0.ckpt")["state_dict"])
    with (tmp_path / "epoch=0.ckpt").open("rb") as file:
        LightFrameModule.load_from_checkpoint(file, net=make_net())
    with pytest.raises(TypeError, match="cannot be called on an instance"):  # as Lightning's
        loaded.load_from_checkpoint(tmp_path / "epoch=0.ckpt")


def test_any_module_may_have_it(tmp_path: Path) -> None:
    trainer = make_trainer(max_steps=1, plugins=[SafeCheckpointIO()])
    trainer.fit(BoringModel())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    cut(tmp_path / "a.ckpt")
    with pytest.raises(DamagedCheckpointError):
        make_trainer(max_steps=2, plugins=[SafeCheckpointIO()]).fit(BoringModel(), ckpt_path=tmp_path / "a.ckpt")


def test_a_plugin_that_was_chosen_stays() -> None:
    class Mine(TorchCheckpointIO):
        pass

    trainer = fit(LightFrameModule(make_net(), "ce"), epochs=1, plugins=[Mine()])
    assert type(trainer.strategy.checkpoint_io) is Mine


# A stranger's


@pytest.fixture
def strangers(tmp_path: Path) -> Iterator[Path]:
    """A checkpoint of a training to which a stranger has added an object that writes a file when it is unpickled."""
    trainer = fit(LightFrameModule(make_net(), "ce"), epochs=1)
    trainer.save_checkpoint(path := tmp_path / "stranger.ckpt")
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["lightframe"]["evil"] = Evil(tmp_path / "touched")
    torch.save(checkpoint, path)
    yield path
    assert not (tmp_path / "touched").exists()
    torch.load(path, weights_only=False)  # which it is meant to
    assert (tmp_path / "touched").exists()


def use_checkpoint(use: str, path: Path, weights_only: bool | None) -> None:
    module = LightFrameModule(make_net(), "ce")
    if use == "load_from_checkpoint":
        LightFrameModule.load_from_checkpoint(path, weights_only=weights_only, net=make_net())
    elif use == "export":
        export_weights(path)
    else:
        run = getattr(make_trainer(max_epochs=2), use)
        run(module, loader(make_data()), ckpt_path=path, weights_only=weights_only)


USES = ["fit", "validate", "test", "predict", "load_from_checkpoint"]


@pytest.mark.parametrize(
    ("use", "weights_only"), [("export", None), *((u, w) for u in USES for w in (None, True, False))]
)
def test_a_strangers_checkpoint_runs_nothing(strangers: Path, use: str, weights_only: bool | None) -> None:
    expected = "weights_only=False would let" if weights_only is False else "holds a pickled pathlib"
    with pytest.raises(UsageError, match=expected) as raised:
        use_checkpoint(use, strangers, weights_only)
    assert "python -c" in str(raised.value)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def test_a_strangers_checkpoint_from_the_web_runs_nothing(
    strangers: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where Lightning's own default is to run it."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_port}/stranger.ckpt"
            with pytest.raises(UsageError, match="pickled"):
                SafeCheckpointIO().load_checkpoint(url)
            with pytest.raises(UsageError, match="pickled"):
                LightFrameModule.load_from_checkpoint(url, net=make_net())
        finally:
            server.shutdown()
            thread.join()


def test_what_lightning_is_trusted_with() -> None:
    """That `load_from_checkpoint` takes these arguments in this order."""
    import inspect

    expected = ["checkpoint_path", "map_location", "hparams_file", "strict", "weights_only", "kwargs"]
    assert list(inspect.signature(LightningModule.load_from_checkpoint).parameters)[-6:] == expected
    assert list(inspect.signature(LightFrameModule.load_from_checkpoint).parameters)[-6:] == expected
