"""Videos that cannot be read, from the file to the end of the run."""

import csv
import logging
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from known_videos import moving_frames, numbered_frames, write_lossless, write_video
from recording import Recorder, quiet_trainer

from lightframe import LightFrameModule, VideoDataModule
from lightframe.callbacks import PredictionWriter
from lightframe.cli import main
from lightframe.datamodules import VideoError
from lightframe.datamodules.sampler import EpochSampler

pytestmark = pytest.mark.usefixtures("no_worker_is_left")

SMALL = {"frames": 2, "stride": 1, "size": 16, "batch_size": 2, "num_workers": 0}


# What is wrong with a file, and how it is said


def nothing(path: Path) -> None:
    path.touch()


def text(path: Path) -> None:
    path.write_text("no video")


def missing(path: Path) -> None:
    path.symlink_to("nowhere.mp4")


def forbidden(path: Path) -> None:
    write_lossless(path, numbered_frames(4))
    path.chmod(0)


def sound(path: Path) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def truncated(path: Path) -> None:
    """An .mp4 without its index, which stands at its end."""
    write_video(path, moving_frames(30))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damaged(path: Path) -> None:
    """The frames in the middle cannot be decoded; a clip from before or behind can."""
    write_video(path, moving_frames(30))
    content = bytearray(path.read_bytes())
    begin, end = content.index(b"mdat"), content.index(b"moov")
    third = (end - begin) // 3
    content[begin + third : end - third] = bytes(end - begin - 2 * third)
    path.write_bytes(content)


NEVER = {
    nothing: "Invalid data",
    text: "Invalid data",
    missing: "No such file",
    sound: "holds no video stream",
    truncated: "Invalid data",
    **({forbidden: "Permission denied"} if os.geteuid() else {}),  # root may read all
}
AT_TIMES = {damaged: "cannot be decoded"}


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Class folders `a` and `b` in each split, in turns: `make(train=[None, text, None])`; None is a good video."""
    good = write_lossless(tmp_path / "good.mkv", numbered_frames(20, 16, 16))

    def make(**splits: list[Callable[[Path], None] | None]) -> Path:
        for split, kinds in splits.items():
            for number, kind in enumerate(kinds):
                path = tmp_path / "videos" / split / "ab"[number % 2] / f"{number}.mp4"
                path.parent.mkdir(parents=True, exist_ok=True)
                if kind is None:
                    path.hardlink_to(good)
                else:
                    kind(path)
        return tmp_path / "videos"

    return make


def module() -> LightFrameModule:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return LightFrameModule({"name": "tiny3d", "width": 2}, "ce", lr=0.01, num_classes=2)


def kind_of(data: VideoDataModule, split: str, kinds: list[Any]) -> list[Any]:
    """What is wrong with each video, in the order of the data set."""
    return [kinds[int(Path(path).stem)] for path in data.dataset(split).paths]


# Training


@pytest.mark.parametrize("workers", [0, 2])
def test_training_goes_on_with_the_next_video(
    make: Callable[..., Path], tmp_path: Path, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    kinds = [*[None] * 9, *NEVER, *AT_TIMES, None]
    data = VideoDataModule(make(train=kinds), **{**SMALL, "num_workers": workers})
    net = Recorder()
    quiet_trainer(max_epochs=2, default_root_dir=tmp_path / "run").fit(net, data)
    wrong = kind_of(data, "train", kinds)
    for epoch in (0, 1):
        asked = [index for _, index in EpochSampler(wrong, epoch=epoch)]
        for index, got in zip(asked, net.order(epoch), strict=False):
            wanted = index
            while wrong[wanted] in NEVER or (wrong[wanted] in AT_TIMES and got != wanted):
                wanted = (wanted + 1) % len(wrong)
            assert got == wanted
    with (tmp_path / "run" / "skipped.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    paths = data.dataset("train").paths
    assert len({row["path"] for row in rows}) == len(rows)
    assert {row["path"] for row in rows} >= {path for path, kind in zip(paths, wrong, strict=True) if kind in NEVER}
    said = [record.getMessage() for record in caplog.records if record.name == "lightframe.datamodules.skipped"]
    assert len(said) == len(rows)
    for row, line in zip(rows, said, strict=True):
        kind = wrong[paths.index(row["path"])]
        assert row["split"] == "train"
        assert (NEVER | AT_TIMES)[kind] in row["reason"]
        assert line == f"train video left out: {row['path']}: {row['reason']}"


def test_they_are_counted(make: Callable[..., Path], tmp_path: Path) -> None:
    """Over all splits, and each once."""
    root = make(train=[None, text, None, None, nothing, None], val=[text, None], test=[None, text, sound, None])
    data = VideoDataModule(root, **SMALL)
    counts = []

    class Counting(LightFrameModule):
        def on_train_epoch_start(self) -> None:
            counts.append(self.trainer.callback_metrics.get("data/skipped"))

    net = Counting({"name": "tiny3d", "width": 2}, "ce", lr=0.01, num_classes=2)
    trainer = quiet_trainer(max_epochs=4, num_sanity_val_steps=1, default_root_dir=tmp_path / "run")
    trainer.fit(net, data)
    assert counts == [None, 3, 3, 3]
    assert trainer.callback_metrics["data/skipped"] == 3
    lines = (tmp_path / "run" / "skipped.csv").read_text().splitlines()
    assert sorted(line.split(",")[0] for line in lines) == ["split", "train", "train", "val"]
    trainer.test(net, data, verbose=False)
    assert trainer.callback_metrics["data/skipped"] == 5


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_errors": 2}, r"^3 of the 16 train videos cannot be read, more than max_errors=2 \(.*mp4: .*\): repair"),
        ({}, r"^11 of the 16 train videos cannot be read, more than max_errors=10"),
        ({"on_error": "raise"}, r"^[^\n]*\.mp4: Invalid data found[^\n]*$"),
    ],
)
def test_training_stops(make: Callable[..., Path], workers: int, settings: dict[str, Any], message: str) -> None:
    data = VideoDataModule(make(train=[None] * 4 + [text] * 12), **{**SMALL, "num_workers": workers}, **settings)
    trainer = quiet_trainer(max_epochs=2)
    with pytest.raises(VideoError, match=message):
        trainer.fit(module(), data)
    assert multiprocessing.active_children() == []  # though the trainer is still here


# Evaluation


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("views", [(1, 1), (3, 1)])
def test_in_evaluation_they_are_left_out(
    make: Callable[..., Path], tmp_path: Path, workers: int, views: tuple[int, int]
) -> None:
    """Also where a batch has no other."""
    kinds = [None, text, None, sound, nothing, truncated, None, damaged, missing, text]
    root = make(test=kinds)
    data = VideoDataModule(
        root, predict=root / "test", classes=["a", "b"], views=views, **{**SMALL, "num_workers": workers}
    )
    net = Recorder()
    quiet_trainer().test(net, data, verbose=False)
    quiet_trainer().predict(net, data, return_predictions=False)
    for split in ("test", "predict"):
        wrong = kind_of(data, split, kinds)
        indices = [index for batch in net.batches[split] if batch for index in batch.index.tolist()]
        assert indices == [index for index, kind in enumerate(wrong) if kind is None]  # the centre of it is damaged
        assert any(batch is None for batch in net.batches[split])
        assert len(data.dataset(split).skipped.reasons) == 7


def test_the_others_are_judged_as_without_them(make: Callable[..., Path], tmp_path: Path) -> None:
    """And each row of the predictions stands beside its own video."""
    root = make(test=[None, text, None, text, text, None, None, text, None])
    good = [path for path in sorted(root.rglob("*.mp4")) if path.stat().st_size > 100]
    for number, path in enumerate(good):
        path.unlink()
        write_lossless(path, moving_frames(4, seed=number))
    net = module()
    data = VideoDataModule(root, predict=root / "test", classes=["a", "b"], **SMALL)
    trainer = quiet_trainer(default_root_dir=tmp_path / "run", callbacks=[PredictionWriter(top=1)])
    (result,) = trainer.test(net, data, verbose=False)
    trainer.predict(net, data, return_predictions=False)
    with (tmp_path / "run" / "predictions.csv").open(newline="") as file:
        rows = list(csv.reader(file))

    expected, right = [], []
    for index, path in enumerate(data.dataset("predict").paths):
        if Path(path) not in good:
            continue
        sample = data.dataset("predict")[index]
        assert sample is not None
        with torch.no_grad():
            video = (sample.video[None].double() / 255 - 0.45) / 0.225
            score, best = net.eval()(video.float())[0].softmax(-1).max(-1)
        expected.append([path, "ab"[best], f"{score:.4f}"])
        right.append("ab"[best] == Path(path).parent.name)
    assert len({tuple(row[1:]) for row in expected}) > 1
    assert rows == [["path", "class_1", "score_1"], *expected]
    assert result["test/top1"] == pytest.approx(sum(right) / len(right))
    assert result["data/skipped"] == 4


@pytest.mark.parametrize("workers", [0, 1])
def test_evaluation_stops_if_asked_to(make: Callable[..., Path], workers: int) -> None:
    root = make(train=[None] * 2, val=[None, text, None], test=[None, text, None])
    data = VideoDataModule(root, predict=root / "test", on_error="raise", **{**SMALL, "num_workers": workers})
    trainer = quiet_trainer()
    # In the validation of a fit Lightning leaves the workers of the training to the garbage collector.
    for run in [trainer.validate, trainer.test, trainer.predict] + [trainer.fit] * (not workers):
        with pytest.raises(VideoError, match=r"^[^\n]*1\.mp4: Invalid data found[^\n]*$"):
            run(module(), datamodule=data)


# Nothing but bad ones


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("function", ["fit", "validate", "test", "predict"])
def test_not_one_can_be_read(make: Callable[..., Path], workers: int, function: str) -> None:
    root = make(train=[text] * 3, val=[text] * 3, test=[text] * 3)
    data = VideoDataModule(root, predict=root / "test", **{**SMALL, "num_workers": workers})
    split = {"fit": "train", "validate": "val"}.get(function, function)
    with pytest.raises(VideoError, match=rf"not one of the 3 {split} videos can be read; the first: .*\.mp4: Inv"):
        getattr(quiet_trainer(), function)(module(), datamodule=data)


# On the command line


@pytest.fixture
def refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., str]]:
    """Runs a command that must end with exit code 2 and one line of error, which it gives."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def refused(*words: str) -> str:
        with pytest.raises(SystemExit) as exit_info:
            main([*words, "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"])
        assert exit_info.value.code == 2
        lines = [line for line in capfd.readouterr().err.splitlines() if "error: " in line or "Traceback" in line]
        assert len(lines) == 1, lines
        return lines[0]

    yield refused
    os.environ.pop("LIGHTFRAME_RUN_FOLDER", None)


@pytest.mark.parametrize("workers", [0, 2])
def test_one_line_on_the_command_line(make: Callable[..., Path], refused: Callable[..., str], workers: int) -> None:
    make(train=[None, text, None, text], val=[None, None], test=[text, text])
    small = ["--data.frames=2", "--data.size=16", "--data.batch_size=2", f"--data.num_workers={workers}"]
    common = [*small, "--data.root=videos", "--model.net=tiny3d", "--model.loss=ce", "--model.num_classes=2"]
    said = refused("fit", *common, "--data.on_error=raise", "--trainer.max_epochs=1")
    assert said.endswith(
        ".mp4: Invalid data found when processing input: repair or remove it, or give on_error=skip to go on without it"
    )
    said = refused("fit", *common, "--data.max_errors=1", "--trainer.max_epochs=1")
    assert "2 of the 4 train videos cannot be read, more than max_errors=1" in said
    said = refused("predict", *common, "--data.predict=videos/test")
    assert "not one of the 2 predict videos can be read" in said


def test_what_is_left_out_is_in_the_run_folder(
    make: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    make(train=[None, text, None, None], val=[None, text])
    caplog.set_level(logging.WARNING)
    small = ["--data.frames=2", "--data.size=16", "--data.batch_size=2", "--data.num_workers=0"]
    quick = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.max_epochs=1"]
    main(["fit", *small, *quick, "--data.root=videos", "--model.net=tiny3d", "--model.loss=ce"])
    os.environ.pop("LIGHTFRAME_RUN_FOLDER", None)
    lines = (tmp_path / "runs" / "run_0" / "skipped.csv").read_text().splitlines()
    assert sorted(line.split(",")[0] for line in lines) == ["split", "train", "val"]
    metrics = (tmp_path / "runs" / "run_0" / "csv" / "metrics.csv").read_text().splitlines()
    assert "data/skipped" in metrics[0].split(",")
    assert any(row.split(",")[metrics[0].split(",").index("data/skipped")] == "2.0" for row in metrics[1:])
