"""A stand-in for what reads one video, that dies of some files. Workers import it by its name."""

import os
from pathlib import Path
from typing import Any

from lightframe.tools.transcode import Job, transcode_job
from lightframe.tools.video_record import VideoFile, video_record


def _die_of(path: Path) -> None:
    if path.stem.startswith("deadly"):
        os.abort()
    while path.stem.startswith("endless"):
        pass


def dying_record(file: VideoFile) -> dict[str, Any]:
    _die_of(file.path)
    return video_record(file)


def dying_job(job: Job) -> str | None:
    _die_of(job.source)
    return transcode_job(job)
