import gc
import os
import struct
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from known_videos import moving_frames, sequential, write_video

from lightframe.datamodules.decoding import VideoError, open_video, probe, read_frames
from lightframe.datamodules.decoding.container import packets_of
from lightframe.datamodules.decoding.frames import wanted_frames


def sound(path, codec):
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=8000, layout="mono")
        samples = np.zeros((1, 8000))
        kind, values = (
            ("fltp", np.float32) if codec == "aac" else ("s16p" if codec == "libmp3lame" else "s16", np.int16)
        )
        frame = av.AudioFrame.from_ndarray(samples.astype(values), format=kind, layout="mono")
        frame.sample_rate, frame.pts = 8000, 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def jpeg():
    context = av.CodecContext.create("mjpeg", "w")
    context.width, context.height, context.pix_fmt, context.time_base = 64, 48, "yuvj420p", Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(moving_frames(1)[0], format="rgb24").reformat(format="yuvj420p")
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])


def with_cover(path):
    """Music in .mp3 with a picture in its ID3 tag."""
    text = b"\0image/jpeg\0\x03\0" + jpeg()
    picture = b"APIC" + struct.pack(">IH", len(text), 0) + text
    size = bytes((len(picture) >> shift) & 0x7F for shift in (21, 14, 7, 0))
    path.write_bytes(b"ID3\x03\0\0" + size + picture + sound(path, "libmp3lame").read_bytes())


def cut(path, share):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def of_codec(path, name):
    write_video(path, moving_frames(3), "mpeg4")
    path.write_bytes(path.read_bytes().replace(b"FMP4", name))


def of_size(path, width, height):
    """A header that asks for pictures of any size."""
    write_video(path, moving_frames(3), "huffyuv", "yuv422p")
    data = bytearray(path.read_bytes())
    struct.pack_into("<ii", data, data.index(b"strf") + 12, width, height)
    path.write_bytes(data)


BAD = {
    "empty.mp4": (Path.touch, "Invalid data found when processing input"),
    "text.mp4": (lambda path: path.write_text("no video\n" * 100), "Invalid data found when processing input"),
    "session.mp4": (
        # A description of a stream on the network, which must not be waited for.
        lambda path: path.write_text("v=0\r\nc=IN IP4 127.0.0.1\r\nm=video 9 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"),
        "Invalid data found when processing input",
    ),
    "missing.mp4": (lambda path: None, "No such file or directory"),
    "folder.mp4": (Path.mkdir, "not a file"),
    "pipe.mp4": (lambda path: os.mkfifo(path), "not a file"),
    "sound.wav": (lambda path: sound(path, "pcm_s16le"), "holds no video stream"),
    "sound.mkv": (lambda path: sound(path, "aac"), "holds no video stream"),
    "cover.mp3": (with_cover, "holds no video stream"),
    "header.mkv": (
        lambda path: (write_video(path, moving_frames(3)), cut(path, 0.1)),
        "Invalid data|Input/output error",
    ),
    "header.avi": (lambda path: (write_video(path, moving_frames(3)), cut(path, 0.01)), "Invalid data found"),
    "no_index.mp4": (lambda path: (write_video(path, moving_frames(3)), cut(path, 0.5)), "Invalid data found"),
    "unknown.avi": (lambda path: of_codec(path, b"wxyz"), "FFmpeg has no decoder for its video stream"),
    "wide.avi": (lambda path: of_size(path, 12000, 8000), "its header speaks of 12000 x 8000 pixels"),
    "endless.avi": (lambda path: of_size(path, 2**30, 2**30), "Invalid"),
}


@pytest.fixture(params=BAD)
def bad(request, tmp_path):
    make, text = BAD[request.param]
    if request.param == "pipe.mp4" and not hasattr(os, "mkfifo"):
        pytest.skip("no pipes here")
    path = tmp_path / request.param
    make(path)
    return path, text


@pytest.mark.parametrize("read", [probe, lambda path: read_frames(path, [0])], ids=["probe", "read_frames"])
def test_what_is_no_video_is_named_with_a_reason(bad, read):
    path, text = bad
    with pytest.raises(VideoError, match=text) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert not any(mark in message for mark in ("\n", "Errno", "1094995529", "Traceback"))
    assert len(message) < len(str(path)) + 80


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="this user may read everything")
@pytest.mark.parametrize("forbidden", ["file", "folder"])
def test_no_permission(numbered_video, tmp_path, forbidden):
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "secret.mkv"
    path.write_bytes(numbered_video.read_bytes())
    closed = path if forbidden == "file" else folder
    closed.chmod(0)
    try:
        with pytest.raises(VideoError, match=r"secret\.mkv: Permission denied"):
            probe(path)
    finally:
        closed.chmod(0o700)


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv", "ts"])
def test_truncated_files_keep_what_they_have(tmp_path, suffix):
    """Each either says that it is none, or gives the frames that are left."""
    path = write_video(tmp_path / f"whole.{suffix}", moving_frames(40), container="mpegts" if suffix == "ts" else None)
    whole = list(sequential(path))
    counts = []
    for share in (0.3, 0.6, 0.9):
        part = tmp_path / f"part.{suffix}"
        part.write_bytes(path.read_bytes())
        cut(part, share)
        try:
            info = probe(part)
        except VideoError:
            continue
        left = len(list(sequential(part)))
        assert 0 < left <= info.frames < 40
        sound_ones = [0, max(left - 2, 0)]  # the last one may be cut in the middle
        clip = read_frames(part, sound_ones, info=info).permute(0, 2, 3, 1).numpy()
        assert all(np.array_equal(frame, whole[number]) for frame, number in zip(clip, sound_ones, strict=True))
        counts.append(info.frames)
    assert counts == sorted(counts)
    assert len(counts) >= (0 if suffix == "mp4" else 2)  # an .mp4 has its index at the end


def test_metadata_that_is_no_text(tmp_path):
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as output:
        output.metadata["title"] = "plain"
        stream = output.add_stream("mjpeg", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuvj420p"
        for frame in moving_frames(2):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="yuvj420p")))
        output.mux(stream.encode())
    data = path.read_bytes()
    assert data.count(b"plain") == 1
    path.write_bytes(data.replace(b"plain", b"\xd3\xff\xfe\xe9\xf1"))
    assert probe(path).frames == 2


def test_a_name_that_is_no_text(numbered_video, tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.mkv")
    try:
        path.write_bytes(numbered_video.read_bytes())
    except OSError:
        pytest.skip("this file system knows text only")
    assert probe(path).frames == 20


def test_one_thread_decodes(numbered_video):
    with open_video(numbered_video) as (_, stream):
        assert stream.codec_context.thread_count == 1


def test_failures_inside_the_block_name_the_file(numbered_video):
    with (
        pytest.raises(VideoError, match=r"numbered\.mkv: No space left on device"),
        open_video(numbered_video),
    ):
        raise OSError(28, "No space left on device")


def test_streams_that_appear_in_mid_file():
    """PyAV then stumbles when it has given all packets."""

    class Container:
        def demux(self, stream):
            yield from "abc"
            [][1]

    assert list(packets_of(Container(), None)) == ["a", "b", "c"]


# Nothing is left open


def open_files_and_threads():
    gc.collect()
    return [len(list(Path("/proc/self", kind).iterdir())) for kind in ("fd", "task")]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no list of open files here")
def test_nothing_is_left_open(zoo, tmp_path):
    sound_only, broken = sound(tmp_path / "sound.wav", "pcm_s16le"), tmp_path / "broken.mp4"
    broken.write_text("no video\n" * 100)
    good = [zoo("h264.mp4"), zoo("h264_open.ts"), zoo("mpeg4_packed.avi"), zoo("all_called_keys.mp4")]

    def read_all():
        for path in good:
            info = probe(path)
            read_frames(path, [1, 30], (4, 4, 40, 40), 24, info=info)
            with pytest.raises(VideoError):
                read_frames(path, [info.frames + 5], info=info)
            with closing(wanted_frames(path, [0, 3, 9], info.timeline)) as frames:
                next(frames)  # and no further
            wanted_frames(path, [0, 3, 9], info.timeline)  # not begun
        for path in (sound_only, broken, tmp_path / "missing.mp4"):
            with pytest.raises(VideoError):
                probe(path)

    read_all()  # libraries start what they keep
    before = open_files_and_threads()
    for _ in range(50):
        read_all()
    assert open_files_and_threads() == before
