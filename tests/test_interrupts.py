"""Ctrl-C ends a training with everything that it started, at whatever moment."""

import json
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Commands, Ended, all_end

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="no /proc here"),
]

# What the user has in the current folder: each sends the signal at its moment, as the terminal or `kill` would.
MINE = """
    import json, multiprocessing, os, signal
    from pathlib import Path
    from lightning.pytorch import Callback
    from lightframe import SyntheticVideoDataModule

    def interrupt(pid=None):
        children = [child.pid for child in multiprocessing.active_children()]
        Path(f"interrupted-{os.getpid()}").write_text(json.dumps([os.getpid(), *children]))
        if os.environ["TO"] == "group":
            os.killpg(os.getpgrp(), signal.SIGINT)
        else:
            os.kill(pid or os.getpid(), signal.SIGINT)

    class At(Callback):
        def __init__(self, hook: str, times: int = 3, again: str = "nowhere") -> None:
            self.times = times
            setattr(self, hook, self.meet)
            setattr(self, again, lambda *_: interrupt())

        def meet(self, trainer, *_, **__):
            self.times -= 1
            if self.times == 0 and trainer.global_rank == 0:
                interrupt()

    def in_the_first_clip(clip):
        # In a loader's process, while the training waits for it.
        if not list(Path().glob("interrupted-*")):
            interrupt(os.getppid())
        return clip[..., :16, :16]

    class WhileWriting(SyntheticVideoDataModule):
        def _write(self):
            for number, path in enumerate(super()._write()):
                if number == 3 and os.environ["TO"] != "nobody":
                    interrupt()
                yield path
"""

FIT = [
    "fit",
    *("--data.root=videos", "--data.frames=2", "--data.size=16", "--data.batch_size=2", "--data.num_workers=2"),
    *("--model.net=tiny3d", "--model.net.width=2", "--model.loss=ce", "--model.lr=0.001"),
    *("--trainer.max_epochs=1000", "--trainer.accelerator=cpu", "--trainer.log_every_n_steps=1"),
]


@pytest.fixture
def run(commands: Commands, tmp_path: Path, make_folders: Callable[..., Path]) -> Callable[..., Ended]:
    """Runs `lightframe` with these words to its end, which takes all its processes with it."""
    make_folders(train={"jump": 4, "wave": 4}, val={"jump": 2, "wave": 2})
    (tmp_path / "my_signals.py").write_text(textwrap.dedent(MINE))

    def run(*words: str, to: str = "nobody") -> Ended:
        ended = commands.run(tmp_path, *words, environment={"TO": to}, seconds=300)
        # Workers of a process that was killed see within five seconds that it is gone.
        assert all_end(ended.session, 30) == []
        pids = [str(pid) for file in tmp_path.glob("interrupted-*") for pid in json.loads(file.read_text())]
        shared = [file.name for file in Path("/dev/shm").iterdir()] if Path("/dev/shm").is_dir() else []
        assert [name for name in shared if set(name.split("_")) & set(pids)] == []
        return ended

    return run


def assert_interrupted(ended: Ended) -> None:
    assert ended.code == 130, ended.err  # 128 + SIGINT, as shells and schedulers count
    assert "Traceback" not in ended.err
    assert "Exception ignored" not in ended.err


def at(hook: str, times: int = 3, **more: str) -> list[str]:
    words = [f"--trainer.callbacks.{name}={value}" for name, value in {"hook": hook, "times": times, **more}.items()]
    return ["--trainer.callbacks+=my_signals.At", *words]


@pytest.mark.parametrize(
    ("hook", "to"),
    [
        ("setup", "process"),
        ("on_train_batch_end", "process"),
        ("on_train_batch_end", "group"),
        ("on_validation_batch_start", "group"),
    ],
)
def test_in_a_training(run: Callable[..., Ended], hook: str, to: str) -> None:
    assert_interrupted(run(*FIT, *at(hook, 1 if hook == "setup" else 3), to=to))


def test_while_the_first_batch_is_waited_for(run: Callable[..., Ended]) -> None:
    assert_interrupted(run(*FIT, "--data.train_transform=my_signals.in_the_first_clip", to="group"))


def test_a_second_time_during_the_shutdown(run: Callable[..., Ended]) -> None:
    assert_interrupted(run(*FIT, *at("on_train_batch_end", again="on_exception"), to="group"))


def test_while_videos_are_written(run: Callable[..., Ended], tmp_path: Path) -> None:
    """The next run writes them anew."""
    small = {"root": "made", "train_videos": 2, "eval_videos": 1, "video_frames": 4, "video_size": 32}
    data = ["--data=my_signals.WhileWriting", *(f"--data.{name}={value}" for name, value in small.items())]
    words = [word for word in FIT if word != "--data.root=videos"]
    assert_interrupted(run(*words, *data, to="group"))
    assert len(list((tmp_path / "made").rglob("*.mp4"))) == 4
    ended = run(*words, *data, "--trainer.max_epochs=1")
    assert ended.code == 0, ended.err
    assert len(list((tmp_path / "made").rglob("*.mp4"))) == 24


@pytest.mark.parametrize("to", ["process", "group"])
def test_with_two_devices(run: Callable[..., Ended], to: str) -> None:
    assert_interrupted(run(*FIT, *at("on_train_batch_end"), "--trainer.devices=2", to=to))
