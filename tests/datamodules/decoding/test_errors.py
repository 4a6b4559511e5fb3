import pickle

import av
import pytest

from lightframe.datamodules.decoding import FramesOutOfRangeError, VideoError
from lightframe.datamodules.decoding.errors import reason


@pytest.mark.parametrize("error", [VideoError("a.mp4: broken"), FramesOutOfRangeError("a.mp4: short", 7)])
def test_errors_reach_the_main_process(error):
    """Loader workers send them as pickles."""
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (av.error.InvalidDataError(1094995529, "Invalid data found", "avcodec_send_packet()"), "Invalid data found"),
        (FileNotFoundError(2, "No such file or directory", "a.mp4"), "No such file or directory"),
        (RuntimeError("first\n  second"), "first second"),
        (EOFError(), "EOFError"),
    ],
)
def test_reasons_are_one_line_without_numbers(error, text):
    assert reason(error) == text
