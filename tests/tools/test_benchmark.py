"""`lightframe benchmark`, as a user types it and as a function."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import lightframe
from lightframe.cli import main
from lightframe.errors import UsageError
from lightframe.speed import Report, Row, Setting, Spread
from lightframe.tools import benchmark

QUICK = ["benchmark", "--device=cpu", "--nets=tiny3d", "--iterations=2"]


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> list[Setting]:
    """What would be measured; nothing is."""
    seen: list[Setting] = []

    def measure_standard(settings: list[Setting], *_: object) -> Iterator[Row]:
        seen.extend(settings)
        return (Row(setting, time=Spread(0.5, 0.5, 0.5, 2)) for setting in settings)

    monkeypatch.setattr(benchmark, "measure_standard", measure_standard)
    return seen


def test_a_first_look(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "speed.json"
    main([*QUICK, "--output", str(file)])
    said = capsys.readouterr().out
    assert "tiny3d 2x3x8x64x64" in said
    assert "A quick look, as on every CPU" in said
    read = Report.load(file)
    assert [(row.setting.mode, row.status, row.time.count) for row in read.rows] == [
        ("forward", "ok", 2),
        ("train", "ok", 2),
    ]
    main([*QUICK, "--modes=forward", "--compare", str(file)])
    said = capsys.readouterr().out
    assert f"{read.date}: {file}" in " ".join(said.split())
    assert "(here" in said
    assert "not set beside it" not in said
    main([*QUICK, "--batch_size=1", "--modes=forward", "--compare", str(file)])
    said = capsys.readouterr().out
    assert "(here" not in said
    assert "shape 2x3x8x64x64 instead of 1x3x8x64x64" in said


def test_every_combination(settings: list[Setting]) -> None:
    all_of = ["--precision=[fp32, bf16-mixed]", "--compile=[false, true]", "--memory_format=contiguous,channels_last"]
    main([*QUICK, "--nets=tiny3d,vgg16", *all_of, "--batch_size=3"])
    assert len(set(settings)) == len(settings) == 2 * 2 * 2 * 2 * 2
    assert {one.shape for one in settings} == {(3, 3, 8, 64, 64), (3, 3, 224, 224)}
    assert {(one.mode, one.optimizer) for one in settings} == {("forward", ""), ("train", "sgd")}


def test_defaults_on_a_cpu(settings: list[Setting]) -> None:
    main(["benchmark", "--device=cpu"])
    assert {one.net for one in settings} == {"mobilenet_v2", "resnet18", "resnet50", "r3d_18"}
    assert {one.precision for one in settings} == {"fp32"}
    assert {one.shape[0] for one in settings} <= {1, 2}


def test_a_net_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "speedy_net.py").write_text(
        "from torch import nn\n"
        "def net(num_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(12, num_classes))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    report = lightframe.gpu_cnn_speed("speedy_net.net", 2, shape=[3, 2, 2], device="cpu", iterations=2)
    assert [row.status for row in report.rows] == ["ok", "ok"]
    assert report.rows[0].setting.parameters == 13 * 400


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--nets=tiny4d"], "did you mean 'tiny3d'"),
        (["--nets="], "name at least one net"),
        (["--nets=s3d"], "give shape, such as [3, 16, 112, 112]"),
        (["--device=cuda:99"], "there is no device 'cuda:99' here"),
        (["--device=gpu"], "give auto, cpu, mps, cuda"),
        (["--device=meta"], "there is no device 'meta'"),
        (["--precision=16-mixed"], "16-mixed is for GPUs"),
        (["--precision=tf32"], "there is no TF32 on this device"),
        (["--precision=bf16"], "did you mean 'bf16-mixed'"),
        (["--modes=training"], "did you mean 'train'"),
        (["--memory_format=channels_first"], "did you mean 'channels_last'"),
        (["--iterations=0"], "must be positive"),
        (["--batch_size=-1"], "must be positive"),
        (["--shape=[3, 0, 8]"], "must be positive"),
        (["--compare=nowhere.json"], "'nowhere.json' cannot be read"),
        (["--compile=perhaps"], "compile: "),
        (["--net=tiny3d"], "did you mean 'nets'"),
    ],
)
def test_mistakes_are_answered_in_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], settings: list[Setting]
) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main([*QUICK, *words])
    assert exit_info.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not settings


def test_an_output_that_cannot_be_written_shows_at_once(tmp_path: Path, settings: list[Setting]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written"):
        lightframe.gpu_cnn_speed("tiny3d", device="cpu", output=tmp_path / "file" / "speed.json")
    assert not settings


def test_an_output_is_added_to(tmp_path: Path, settings: list[Setting]) -> None:
    file = tmp_path / "speed.json"
    for batch_size, precision in ((1, "fp32"), (2, "fp32"), (1, "fp32,bf16-mixed")):
        lightframe.gpu_cnn_speed("tiny3d", batch_size, modes="train", device="cpu", precision=precision, output=file)
    rows = Report.load(file).rows
    assert [(row.setting.shape[0], row.setting.precision) for row in rows] == [
        (2, "fp32"),
        (1, "fp32"),
        (1, "bf16-mixed"),
    ]
    file.write_text("{}")
    settings.clear()
    with pytest.raises(UsageError, match="was not written by lightframe benchmark"):
        lightframe.gpu_cnn_speed("tiny3d", device="cpu", output=file)
    assert not settings
    assert file.read_text() == "{}"


def test_nothing_that_works(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="not one of the 2 settings could be measured; failed: RuntimeError"):
        lightframe.gpu_cnn_speed("tiny3d", shape=[4, 8, 16, 16], device="cpu", iterations=1)
    assert "tiny3d/train/fp32: failed" in capsys.readouterr().out


def test_stopped_by_the_user(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """What was measured until then is shown and kept."""

    def stopping(settings: list[Setting], *_: object) -> Iterator[Row]:
        yield Row(settings[0], time=Spread(0.5, 0.5, 0.5, 2))
        raise KeyboardInterrupt

    monkeypatch.setattr(benchmark, "measure_standard", stopping)
    with pytest.raises(SystemExit) as exit_info:
        main([*QUICK, "--output", str(tmp_path / "speed.json")])
    assert exit_info.value.code == 130
    told = capsys.readouterr()
    assert "lightframe benchmark: stopped; 1 of 2 settings are measured" in told.err
    assert "forward fp32" in told.out
    assert len(Report.load(tmp_path / "speed.json").rows) == 1


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    state, precision = torch.get_rng_state(), torch.get_float32_matmul_precision()
    lightframe.gpu_cnn_speed("tiny3d", modes="train", device="cpu", iterations=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_float32_matmul_precision() == precision
    assert list(tmp_path.iterdir()) == []
