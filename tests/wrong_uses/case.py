"""One wrong use, and what the user must be told."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# A whole and quick training, to be made wrong by the words behind it.
FIT = (
    *("fit", "--data.root=videos", "--data.frames=2", "--data.size=16", "--data.batch_size=2", "--data.num_workers=0"),
    *("--model.net=tiny3d", "--model.net.width=2", "--model.loss=ce", "--model.lr=0.01"),
    *("--trainer.max_epochs=1", "--trainer.accelerator=cpu", "--trainer.enable_model_summary=false"),
)


@dataclass(frozen=True)
class Case:
    """A wrong use: of the command line where it has `words`, of Python where it has `run`.

    It is tried in a new current folder, which holds `videos/` with train/, val/ and test/, in each the classes jump and
    wave: four videos of each to train (0.mkv to 3.mkv), two of each in val and test, 20 frames of 24 x 32 pixels.

    Args:
        name: of the test.
        words: the command line behind `lightframe`; often `[*FIT, "--what.is=wrong"]`. It must end with exit code 2 and
            one line of error.
        run: what must raise a UsageError (or VideoError).
        says: regular expressions, each of which must be found in that line: the cause, and the way out.
        setup: prepares files before that, in the folder that it is given, which is the current one too.
        shows: for an error in the user's own code: the message that must not be caught, but end the program with the
            user's own traceback (`words`, and `says` stays empty).
        seconds: of this process's time that it may take.
    """

    name: str
    words: Sequence[str] = ()
    run: Callable[[], Any] | None = None
    says: Sequence[str] = ()
    setup: Callable[[Path], Any] | None = None
    shows: str | None = None
    seconds: float = 10.0

    def __post_init__(self) -> None:
        if bool(self.words) == (self.run is not None):
            raise TypeError(f"case '{self.name}': give either words or run")
        if bool(self.says) == (self.shows is not None):
            raise TypeError(f"case '{self.name}': give either says or shows")


def write(name: str, text: str) -> Callable[[Path], Any]:
    """A `setup` that writes a text file, and its folder: `write("my_nets.py", "...")`."""

    def setup(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    return setup
