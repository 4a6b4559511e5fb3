"""A net in one file: the same tensors, all that it takes to use them, and no damage unseen."""

import json
import math
import random
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from test_checkpoint_reading import same
from test_module import FEATURES, fit, loader, make_data, make_net, make_trainer
from torch import nn

from lightframe import LightFrameModule
from lightframe.callbacks import EMA
from lightframe.checkpoint_reading import DamagedCheckpointError, check_checkpoint, load_plain
from lightframe.errors import UsageError
from lightframe.export import export_weights, load_exported
from lightframe.version import __version__


class Net(nn.Module):
    """With tied weights, a buffer, a scalar, an empty tensor and tensors of several types."""

    def __init__(self, width: int = 4, num_classes: int = 3) -> None:
        super().__init__()
        self.first = nn.Linear(FEATURES, width)
        self.second = nn.Linear(FEATURES, width)
        self.second.weight = self.first.weight
        self.norm = nn.BatchNorm1d(width)
        self.last = nn.Linear(width, num_classes)
        self.register_buffer("halves", torch.randn(3).half())
        self.register_buffer("brain", torch.randn(2, 2).bfloat16())
        self.register_buffer("mask", torch.tensor([True, False]))
        self.register_buffer("nothing", torch.empty(0, 3))
        self.register_buffer("across", torch.randn(4, 3).T)  # not contiguous
        self.register_buffer("not_finite", torch.tensor([math.nan, math.inf, -0.0]))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.last(self.norm(self.first(inputs) + self.second(inputs)))


NET: dict[str, Any] = {"name": f"{__name__}.Net", "width": 6}


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def assert_same_bits(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert (one[name].dtype, one[name].shape) == (other[name].dtype, other[name].shape), name
        assert bits(one[name]) == bits(other[name]), name


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    module = LightFrameModule(NET, "ce", lr=0.1, optimizer_args={"momentum": 0.9}, num_classes=3)
    callbacks = [EMA(decay=0.9, ramp=1), ModelCheckpoint(folder, filename="trained")]
    fit(module, epochs=2, callbacks=callbacks, enable_checkpointing=True)
    return folder / "trained.ckpt"


@pytest.fixture
def exported(checkpoint: Path, tmp_path: Path) -> Path:
    return export_weights(checkpoint, tmp_path / "net.safetensors")


def test_the_tensors_are_those_of_the_checkpoint(checkpoint: Path, exported: Path) -> None:
    saved = torch.load(checkpoint, weights_only=True)
    # As another library reads them: each under its name in the module, tied ones included.
    assert_same_bits(saved["state_dict"], load_file(exported))
    assert_same_bits(saved["state_dict"], load_exported(exported)["state_dict"])
    assert {"net.first.weight", "net.second.weight"} <= saved["state_dict"].keys()
    # The averaged weights: those that training goes on from are others.
    assert not torch.equal(saved["current_model_state"]["net.last.weight"], load_file(exported)["net.last.weight"])


def test_the_header_says_what_the_net_is(checkpoint: Path, exported: Path) -> None:
    with safe_open(exported, framework="pt") as file:
        metadata = file.metadata()
    assert metadata["format"] == "pt"
    about = json.loads(metadata["lightframe"])
    assert (about["format_version"], about["exported_with"], about["version"]) == (1, __version__, __version__)
    assert about["class_path"] == "lightframe.module.LightFrameModule"
    assert about["hyper_parameters"]["net"] == NET
    assert about["objects"] == {}
    assert "resume" not in about
    loaded, saved = load_exported(exported), torch.load(checkpoint, weights_only=True)
    for key in ("epoch", "global_step", "pytorch-lightning_version"):
        assert loaded[key] == saved[key]
    assert set(loaded) == {
        "state_dict",
        "hyper_parameters",
        "lightframe",
        "epoch",
        "global_step",
        "pytorch-lightning_version",
    }


def test_outputs_are_equal_to_the_last_bit(checkpoint: Path, exported: Path) -> None:
    inputs = loader(make_data(20, seed=4))

    def outputs(path: Path, module: LightFrameModule) -> torch.Tensor:
        found: Any = make_trainer().predict(module, inputs, ckpt_path=path)
        return torch.cat([batch["outputs"] for batch in found])

    expected = outputs(checkpoint, LightFrameModule(NET, "ce", num_classes=3))
    assert same(outputs(exported, LightFrameModule(NET, "ce", num_classes=3)), expected)
    loaded = LightFrameModule.load_from_checkpoint(exported).eval()
    assert same(torch.cat([loaded(batch[0]) for batch in inputs]).detach(), expected)
    assert loaded.net.first.weight is loaded.net.second.weight
    values = [
        make_trainer().validate(LightFrameModule(NET, "ce", num_classes=3), inputs, ckpt_path=path, verbose=False)
        for path in (checkpoint, exported)
    ]
    assert values[0] == values[1]


def test_training_cannot_go_on_from_it(exported: Path) -> None:
    with pytest.raises((KeyError, UsageError), match=r"only the model|weights only"):
        make_trainer(max_epochs=5).fit(
            LightFrameModule(NET, "ce", num_classes=3), loader(make_data()), ckpt_path=exported
        )


def test_the_default_name_is_the_checkpoints(checkpoint: Path) -> None:
    path = export_weights(str(checkpoint))
    assert path == checkpoint.with_suffix(".safetensors")
    path.unlink()


def test_what_cannot_be_exported(checkpoint: Path, tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "pytorch-lightning_version": "2.6.6"}, other := tmp_path / "other.ckpt")
    with pytest.raises(UsageError, match="no checkpoint of a LightFrameModule"):
        export_weights(other)
    with pytest.raises(DamagedCheckpointError, match="there is no file"):
        export_weights(tmp_path / "nowhere.ckpt")
    with pytest.raises(UsageError, match=r"output must be named \*\.safetensors"):
        export_weights(checkpoint, tmp_path / "net.pt")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot be written \("):
        export_weights(checkpoint, tmp_path / "file/net.safetensors")
    content = torch.load(checkpoint, weights_only=True)
    content["state_dict"]["net._extra_state"] = {"a": 1}
    torch.save(content, other)
    with pytest.raises(UsageError, match=r"more than tensors in its state_dict \(net\._extra_state\)"):
        export_weights(other)
    content["state_dict"].pop("net._extra_state")
    content["hyper_parameters"]["optimizer_args"] = {1: 2}
    torch.save(content, other)
    with pytest.raises(UsageError, match="keys that are no strings"):
        export_weights(other)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "other.ckpt"]


def test_a_failed_write_keeps_the_old_file(checkpoint: Path, exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = exported.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(UsageError, match="No space left"):
            export_weights(checkpoint, exported)
    assert exported.read_bytes() == before
    assert list(exported.parent.iterdir()) == [exported]


def test_a_net_that_was_given_as_an_object(tmp_path: Path) -> None:
    trainer = fit(LightFrameModule(make_net(), "ce"), epochs=1)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    path = export_weights(tmp_path / "a.ckpt")
    assert load_exported(path)["lightframe"]["objects"] == {"net": "torch.nn.modules.container.Sequential"}
    loaded = LightFrameModule.load_from_checkpoint(path, net=make_net(seed=3))
    assert_same_bits(dict(loaded.state_dict()), torch.load(tmp_path / "a.ckpt", weights_only=True)["state_dict"])


def test_tied_weights_survive(tmp_path: Path) -> None:
    trainer = fit(LightFrameModule(Net(), "ce"), epochs=1)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    saved = torch.load(tmp_path / "a.ckpt", weights_only=True)["state_dict"]
    assert saved["net.first.weight"].data_ptr() == saved["net.second.weight"].data_ptr()  # which safetensors refuses
    assert_same_bits(load_file(export_weights(tmp_path / "a.ckpt")), saved)


def test_what_another_program_wrote(tmp_path: Path) -> None:
    save_file({"a": torch.arange(3)}, path := tmp_path / "a.safetensors")
    assert same(load_exported(path), {"state_dict": {"a": torch.arange(3)}})
    save_file({}, path)
    assert load_exported(path) == {"state_dict": {}}


def test_a_later_version(exported: Path, tmp_path: Path) -> None:
    with safe_open(exported, framework="pt") as file:
        about = json.loads(file.metadata()["lightframe"])
    about["format_version"] += 1
    text = json.dumps(about)
    metadata = {"lightframe": text, "lightframe-crc32": str(zlib.crc32(text.encode()))}
    save_file(load_file(exported), path := tmp_path / "later.safetensors", metadata)
    with pytest.raises(UsageError, match="is newer than this one"):
        load_exported(path)


def test_damage_is_found(exported: Path, tmp_path: Path) -> None:
    """Each flipped bit is found, or loading gives the exact tensors and the same net."""
    content, whole, path = exported.read_bytes(), load_exported(exported), tmp_path / "damaged.safetensors"
    rng = random.Random(11)
    found = 0
    for place in [*range(16), *(rng.randrange(len(content)) for _ in range(400))]:
        damaged = bytearray(content)
        damaged[place] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        if check_checkpoint(path) is not None:
            found += 1
            with pytest.raises(DamagedCheckpointError, match=r"damaged\.safetensors"):
                load_plain(path)
        else:
            loaded = load_plain(path)
            assert_same_bits(loaded.pop("state_dict"), whole["state_dict"])
            assert loaded == {key: value for key, value in whole.items() if key != "state_dict"}, place
    assert found > 200


def test_a_file_that_is_cut_short(exported: Path, tmp_path: Path) -> None:
    content, path = exported.read_bytes(), tmp_path / "cut.safetensors"
    rng = random.Random(12)
    for length in [0, 1, 8, 9, 10, len(content) - 1, *(rng.randrange(len(content)) for _ in range(30))]:
        path.write_bytes(content[:length])
        reason = check_checkpoint(path)
        assert reason is not None, length
        if length > 8:
            assert reason.startswith("is cut short ("), (length, reason)
    path.write_bytes(content + b"more")
    assert check_checkpoint(path) is not None
