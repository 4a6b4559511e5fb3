"""Files and URLs: what is read, and what is refused without running anything of it."""

import functools
import http.server
import os
import pickle
import re
import shlex
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import ResNet18_Weights

from lightframe import load_weights
from lightframe.errors import UsageError
from lightframe.pretrained.foreign import conversion, foreign_class
from lightframe.pretrained.read_weights import read_weights

STATE = {"weight": torch.arange(6.0).view(2, 3), "bias": torch.tensor([7.0, 8.0])}


class MetricStorage:
    """A class of the framework that wrote the file."""


class MakesFolder:
    """Makes a folder when it is unpickled: what a stranger's file could do."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def same(found: Any) -> bool:
    return found.keys() == STATE.keys() and all(torch.equal(found[name], STATE[name]) for name in STATE)


@pytest.mark.parametrize("name", ["a.pt", "a.pth", "a.pyth", "a.bin", "a.ckpt", "a", "Gewichte für Ä.pth.tar"])
@pytest.mark.parametrize("zipped", [True, False])
def test_files_of_torch_save(tmp_path: Path, name: str, zipped: bool) -> None:
    torch.save(STATE, tmp_path / name, _use_new_zipfile_serialization=zipped)
    found, called = read_weights(tmp_path / name)
    assert same(found)
    assert called == str(tmp_path / name)
    assert same(read_weights(str(tmp_path / name))[0])
    assert same(read_weights((tmp_path / name).as_uri())[0])


def test_safetensors_whatever_they_are_called(tmp_path: Path) -> None:
    for name in ("a.safetensors", "b.bin"):
        save_file(STATE, tmp_path / name)
        assert same(read_weights(tmp_path / name)[0]["state_dict"])
    whole = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(whole[:-3])
    with pytest.raises(UsageError, match=r"a\.safetensors' is (cut short|damaged)"):
        read_weights(tmp_path / "a.safetensors")


def test_what_was_read_already() -> None:
    assert read_weights(STATE) == (STATE, "the given dict")
    with pytest.raises(UsageError, match=r"not Linear: give its state_dict\(\)"):
        read_weights(nn.Linear(1, 1))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"not int$"):
        read_weights(3)  # type: ignore[arg-type]


# Files that would run code


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_a_file_is_run(tmp_path: Path, zipped: bool) -> None:
    path, trace = tmp_path / "evil.pt", tmp_path / "trace"
    torch.save({"state_dict": STATE, "hook": MakesFolder(trace)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UsageError, match=r"only code of others makes, the first of them a (posix|nt)\.mkdir"):
        read_weights(path)
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(MakesFolder(trace)))
    with pytest.raises(UsageError, match="take PyTorchVideo's"):
        read_weights(tmp_path / "plain.pkl")
    assert not trace.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_the_line_that_converts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool) -> None:
    """A checkpoint as torch-frame 1.7 writes it: refused by name, and the line in the message makes one that is not."""
    path = tmp_path / "it's latest.pth"
    data = {"epoch": 1, "model": STATE, "metric_storage": MetricStorage()}
    torch.save(data, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UsageError) as error:
        read_weights(path)
    message = str(error.value)
    assert f"the first of them a {MetricStorage.__module__}.MetricStorage" in message
    assert "which runs its code" in message
    _, flag, code, old, new = shlex.split(message[message.index("python -c") :])
    assert (flag, old) == ("-c", str(path))
    monkeypatch.setattr(sys, "argv", ["-c", old, new])
    exec(code, {})
    assert same(read_weights(new)[0])


@pytest.mark.parametrize(
    "content",
    [
        nn.Linear(3, 2),
        {"state_dict": STATE, "x": MetricStorage()},
        {"model_state": STATE, "x": MetricStorage()},
        {"model": nn.Linear(3, 2)},
        {**STATE, "x": MetricStorage()},
    ],
)
def test_the_line_finds_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: Any) -> None:
    path = tmp_path / "x.pth"
    torch.save(content, path)
    with pytest.raises(UsageError, match="if you trust the file"):
        read_weights(path)
    _, _, code, old, new = shlex.split(conversion(path))
    monkeypatch.setattr(sys, "argv", ["-c", old, new])
    exec(code, {})
    assert read_weights(new)[0].keys() == STATE.keys()


def test_formats_that_run_code_as_such(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "old.tar", "w") as tar:
        for name in ("storages", "tensors", "pickle"):
            (tmp_path / name).write_bytes(b"")
            tar.add(tmp_path / name, name)
    with pytest.raises(UsageError, match=r"\.tar of torch 0\.1"):
        read_weights(tmp_path / "old.tar")


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_torchscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "scripted.pt"
    torch.jit.trace(nn.Linear(3, 2), torch.zeros(1, 3)).save(str(path))
    with pytest.raises(UsageError, match="is a TorchScript archive"):
        read_weights(path)
    _, _, code, old, new = shlex.split(conversion(path, script=True))
    monkeypatch.setattr(sys, "argv", ["-c", old, new])
    exec(code, {})
    assert read_weights(new)[0].keys() == STATE.keys()


def test_torch_still_says_which_class_it_was() -> None:
    assert foreign_class("unsupported GLOBAL os.system whose module os is blocked.") == "os.system"
    assert foreign_class("Unsupported global: GLOBAL getattr was not an allowed global by default.") == "getattr"
    assert foreign_class("anything else") == "an object that is no tensor"


# Files that are not there, or not what they should be


def test_missing_files(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "slowfast_r50.pth")
    with pytest.raises(UsageError, match=r"there is no file '.*slowfast_r5\.pth'; did you mean 'slowfast_r50\.pth'\?"):
        read_weights(tmp_path / "slowfast_r5.pth")
    with pytest.raises(UsageError, match=r"no file 'r3d_18'; torchvision's weights .* are R3D_18_Weights\.DEFAULT$"):
        read_weights("r3d_18")
    with pytest.raises(UsageError, match=r"there is no file 'nowhere/x\.pt'$"):
        read_weights("nowhere/x.pt")
    with pytest.raises(UsageError, match="is a folder: name a file of weights in it"):
        read_weights(tmp_path)
    with pytest.raises(UsageError, match=r"cannot be read|there is no file"):
        read_weights("x" * 5000)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "pointer of Git LFS"),
        (b"<!DOCTYPE html><html>", "is a web page"),
        (b"\x89HDF\r\n\x1a\n" + bytes(60), "HDF5"),
        (b"\x93NUMPY" + bytes(60), "NumPy"),
        (b"hello" * 30, "is no file of torch.save, or is damaged"),
        (bytes(range(256)), "is no file of torch.save, or is damaged"),
    ],
)
def test_files_of_other_kinds(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        read_weights(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_cut_short_or_damaged(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "x.pth"
    torch.save({"weight": torch.arange(1000.0)}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:-1], whole[:100]):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=r"x\.pth' is "):
            read_weights(path)
    if zipped:  # a single number in the middle that is another: only a zip has checksums
        where = whole.index(torch.tensor([500.0]).numpy().tobytes())
        path.write_bytes(whole[: where + 2] + b"\x99" + whole[where + 3 :])
        with pytest.raises(UsageError, match=r"x\.pth' is damaged \(the checksum"):
            read_weights(path)


# From elsewhere


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a web server of `tmp_path/site`; torch's downloads go to `tmp_path/hub`."""
    (tmp_path / "site").mkdir()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=tmp_path / "site")
    ) as web:
        thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{web.server_address[1]}"
        web.shutdown()
        thread.join()


def test_urls_are_downloaded_once(server: str, tmp_path: Path) -> None:
    """Two files of one name at two places are two files, which torch.hub would take for one."""
    for number, folder in enumerate("ab"):
        (tmp_path / "site" / folder).mkdir()
        torch.save({"weight": torch.tensor([float(number)])}, tmp_path / "site" / folder / "best.pth")
    for _ in range(2):  # the second time without the server's files
        for number, folder in enumerate("ab"):
            found, name = read_weights(f"{server}/{folder}/best.pth?download=1")
            assert found["weight"].item() == number
            assert name.startswith(server)
            (tmp_path / "site" / folder / "best.pth").unlink(missing_ok=True)


def test_urls_of_files_that_run_code_or_are_not_there(server: str, tmp_path: Path) -> None:
    torch.save(MakesFolder(tmp_path / "trace"), tmp_path / "site" / "evil.pt")
    with pytest.raises(UsageError, match="only code of others makes"):
        read_weights(f"{server}/evil.pt")
    assert not (tmp_path / "trace").exists()
    with pytest.raises(UsageError, match=r"/gone\.pt' cannot be fetched: File not found"):
        read_weights(f"{server}/gone.pt")
    assert [path for path in (tmp_path / "hub").rglob("*") if "gone" in path.name] == []
    save_file(STATE, tmp_path / "site" / "a.safetensors")
    assert same(read_weights(f"{server}/a.safetensors")[0]["state_dict"])


def test_other_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    with pytest.raises(UsageError, match=r"s3://x/y\.pt': weights come from a path or an http"):
        read_weights("s3://x/y.pt")
    with pytest.raises(UsageError, match=r"cannot be fetched: .*(refused|resolution|failure)"):
        read_weights("http://127.0.0.1:9/x.pt")
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "file"))  # no place for what is downloaded
    with pytest.raises(UsageError, match="cannot be fetched: Not a directory"):
        read_weights("http://127.0.0.1:9/x.pt")


def test_names_of_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def get_state_dict(self: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        asked.update(kwargs, name=str(self))
        return dict(STATE)

    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", get_state_dict)
    found, name = read_weights("ResNet18_Weights.IMAGENET1K_V1")
    assert same(found)
    assert name == asked.pop("name") == "ResNet18_Weights.IMAGENET1K_V1"
    assert asked == {"progress": True, "check_hash": True, "map_location": "cpu", "weights_only": True}
    for wrong, right in (
        ("R3D_18_Weights.KINETICS400_V9", "R3D_18_Weights.KINETICS400_V1"),
        ("Resnet18_Weights.X", ""),
    ):
        with pytest.raises(UsageError, match=rf"torchvision has no weights '{re.escape(wrong)}'.*{right}"):
            read_weights(wrong)


def test_all_of_it_in_one(server: str, tmp_path: Path) -> None:
    torch.save(
        {"state_dict": {f"model.{name}": tensor for name, tensor in STATE.items()}}, tmp_path / "site" / "x.ckpt"
    )
    net = nn.Linear(3, 2)
    assert load_weights(net, f"{server}/x.ckpt", show=False).share == 1
    assert same(net.state_dict())
