"""How far the work on many files has come, and when it will be done."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


@contextmanager
def file_progress(description: str, files: int, size: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on the error stream, with the time that remains.

    It goes by bytes, which tell better than a number of files how much work is left.

    Args:
        description: what is done to the files.
        files: how many.
        size: of all of them, bytes.

    Yields:
        A function to call with the size of each file that is done.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[done]} of {task.fields[files]}"),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    # One file may take minutes: a speed from the last half minute alone would often be none.
    console = Console(stderr=True)
    with Progress(*columns, console=console, speed_estimate_period=3600, disable=not files) as progress:
        task = progress.add_task(description, total=max(size, 1), done=0, files=files)
        done = 0

        def advance(size: int) -> None:
            nonlocal done
            done += 1
            progress.update(task, advance=size, done=done)

        yield advance
