"""Small videos of every kind that makes random access hard."""

import functools
import re
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from known_videos import moving_frames, write_video

FRAMES = 40
MILLISECOND = Fraction(1, 1000)
UNEVEN = np.cumsum(np.random.default_rng(1).integers(20, 90, FRAMES)).tolist()
X265 = "log-level=none:open-gop=1:bframes=4"
ALTERNATE = {"auto-alt-ref": "1", "lag-in-frames": "16"}  # hidden frames

Make = Callable[[Path, Path], None]  # writes the file; other files are in the folder, and made by `made(folder, name)`


def encoded(codec: str, count: int = FRAMES, **settings: object) -> Make:
    return lambda path, folder: write_video(path, moving_frames(count), codec, **settings) and None


x264 = functools.partial(encoded, "libx264")


def edited(name: str, edit: Callable[[bytes], bytes]) -> Make:
    """From the bytes of another file of the zoo."""
    return lambda path, folder: path.write_bytes(edit(made(folder, name).read_bytes())) and None


def all_key_frames(data: bytes) -> bytes:
    """An index of .avi that calls all frames key frames."""
    begin = data.rindex(b"idx1")
    (size,) = struct.unpack_from("<I", data, begin + 4)
    index = bytearray(data[begin + 8 : begin + 8 + size])
    for entry in range(0, size, 16):
        struct.pack_into("<I", index, entry + 4, 0x10)
    return data[: begin + 8] + index + data[begin + 8 + size :]


def without_index(data: bytes) -> bytes:
    """An .avi that was never finished."""
    return data[: data.rindex(b"idx1")]


def remuxed(name: str, change: Callable[[list[av.Packet]], list[av.Packet]]) -> Make:
    """From the packets of another file of the zoo."""

    def make(path: Path, folder: Path) -> None:
        with av.open(str(made(folder, name))) as source, av.open(str(path), "w") as output:
            stream = output.add_stream_from_template(source.streams.video[0])
            for packet in change([packet for packet in source.demux(video=0) if packet.size]):
                packet.stream = stream
                output.mux(packet)

    return make


def later(packets: list[av.Packet], ticks: int) -> list[av.Packet]:
    for packet in packets:
        packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
    return packets


def stamped(pieces: list[tuple[bytes, bool]]) -> list[av.Packet]:
    """Packets of bytes, at every 1/25 s, and whether each is a key frame."""
    packets = [av.Packet(data) for data, _ in pieces]
    for number, (packet, (_, key)) in enumerate(zip(packets, pieces, strict=True)):
        packet.pts = packet.dts = number
        packet.time_base, packet.is_keyframe = Fraction(1, 25), key
    return packets


NOT_CODED = b"\0\0\1\xb6\x50\x5f"  # an MPEG-4 picture of nothing: the bit behind the markers says so


def packed(packets: list[av.Packet]) -> list[av.Packet]:
    """As DivX 5 stored B-frames in .avi: each in one packet with the frame before it, then a packet of nothing."""
    result: list[tuple[bytes, bool]] = []
    for number, packet in enumerate(packets):
        data = bytes(packet)
        kind = data[data.index(b"\0\0\1\xb6") + 4] >> 6
        if number == 0:
            data = re.sub(rb"(?=\x00\x00\x01\xb6)", b"\0\0\1\xb2DivX503b1393p", data, count=1)
        if kind == 2:
            result[-1] = (result[-1][0] + data, result[-1][1])
            data = NOT_CODED
        result.append((data, packet.is_keyframe))
    return stamped(result)


def followed(packets: list[av.Packet], more: Callable[[bytes], bytes]) -> list[av.Packet]:
    """After every fifth packet another one, which gives no frame."""
    pieces = []
    for number, packet in enumerate(packets):
        data = bytes(packet)
        pieces.append((data, packet.is_keyframe))
        if number % 5 == 4:
            pieces.append((more(data), False))
    return stamped(pieces)


def left_out(data: bytes) -> bytes:
    return NOT_CODED


def not_shown(data: bytes) -> bytes:
    """A VP8 frame that is decoded only, as alternate references are."""
    return bytes([data[0] & ~0x10]) + data[1:]


def with_sound(path: Path, folder: Path) -> None:
    with av.open(str(made(folder, "h264.mp4"))) as source, av.open(str(path), "w") as output:
        sound = output.add_stream("aac", rate=8000, layout="mono")
        stream = output.add_stream_from_template(source.streams.video[0])
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        silence.sample_rate, silence.pts = 8000, 0
        output.mux(sound.encode(silence))
        output.mux(sound.encode())
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                output.mux(packet)


ZOO: dict[str, Make] = {
    "h264.mp4": x264(options={"bf": "3", "x264-params": "b-pyramid=normal:open-gop=1"}),
    "h264.mkv": x264(options={"bf": "3", "x264-params": "open-gop=1"}),
    "h264.ts": x264(container="mpegts", options={"bf": "2"}),
    "h264_open.ts": x264(container="mpegts", options={"bf": "3", "x264-params": "open-gop=1"}),
    "h264.flv": x264(options={"bf": "2"}),
    "h264.h264": x264(options={"bf": "2"}),
    "h264.avi": x264(options={"bf": "0"}),
    "h264_b.avi": x264(options={"bf": "2"}),
    "h264_b.asf": x264(options={"bf": "2"}),
    "h264_b.mxf": x264(options={"bf": "2"}),
    "h264_uneven.mp4": x264(times=UNEVEN, unit=MILLISECOND, options={"bf": "2"}),
    "h264_uneven.mkv": x264(times=UNEVEN, unit=MILLISECOND, options={"bf": "2"}),
    "h264_intra_refresh.mp4": x264(options={"x264-params": "intra-refresh=1:bframes=0"}),
    "h264_intra_refresh.ts": x264(container="mpegts", options={"x264-params": "intra-refresh=1:bframes=0"}),
    "h264_all_keys.mp4": x264(key_every=1),
    "h264_two.mp4": x264(key_every=2, options={"bf": "1", "x264-params": "open-gop=1"}),
    "h264_444.mp4": x264(pixel_format="yuv444p"),
    "h264_10bit.mp4": x264(pixel_format="yuv422p10le"),
    "h264_gray.mp4": x264(pixel_format="gray"),
    "h264_one.mp4": x264(1),
    "h264_two_frames.mkv": x264(2),
    "hevc.mp4": encoded("libx265", options={"x265-params": X265}),
    "hevc.mkv": encoded("libx265", options={"x265-params": X265}),
    "hevc_10bit.mp4": encoded("libx265", pixel_format="yuv420p10le", options={"x265-params": X265}),
    "vp8.webm": encoded("libvpx", options=ALTERNATE),
    "vp9.webm": encoded("libvpx-vp9", options=ALTERNATE),
    "vp9.mp4": encoded("libvpx-vp9", options=ALTERNATE),
    "av1.mkv": encoded("libsvtav1", options={"preset": "12", "svtav1-params": "lp=1"}),
    "av1.mp4": encoded("libsvtav1", options={"preset": "12", "svtav1-params": "lp=1"}),
    "mpeg4.avi": encoded("mpeg4"),
    "mpeg4.mp4": encoded("mpeg4"),
    "mpeg4_b.avi": encoded("mpeg4", options={"bf": "2"}),
    "mpeg4_one_b.avi": encoded("mpeg4", options={"bf": "1"}),
    "mpeg4_b.mp4": encoded("mpeg4", options={"bf": "2"}),
    "mpeg2.mpg": encoded("mpeg2video", container="mpeg", options={"bf": "2"}),
    "mpeg2.ts": encoded("mpeg2video", container="mpegts", options={"bf": "2"}),
    "mpeg2_b.asf": encoded("mpeg2video", options={"bf": "2"}),
    "mpeg1.mpg": encoded("mpeg1video", container="mpeg", options={"bf": "2"}),
    "msmpeg4.avi": encoded("msmpeg4v2"),
    "wmv2.asf": encoded("wmv2"),
    "mjpeg.avi": encoded("mjpeg", pixel_format="yuvj420p"),
    "ffv1.mkv": encoded("ffv1", pixel_format="bgr0"),
    "gif.gif": encoded("gif", pixel_format="rgb8"),
    # Files that lie, and pieces of files.
    "mpeg4_dropped.avi": remuxed("mpeg4.avi", functools.partial(followed, more=left_out)),
    "mpeg4_dropped.mp4": remuxed("mpeg4.mp4", functools.partial(followed, more=left_out)),
    "vp8_hidden.webm": remuxed("vp8.webm", functools.partial(followed, more=not_shown)),
    "mpeg4_packed.avi": remuxed("mpeg4_one_b.avi", packed),
    "all_called_keys.avi": edited("msmpeg4.avi", all_key_frames),
    "all_called_keys.mp4": edited("mpeg4.mp4", lambda data: data.replace(b"stss", b"free")),
    "order_lost.mp4": edited("h264.mp4", lambda data: data.replace(b"ctts", b"free")),
    "never_finished.avi": edited("mpeg4.avi", without_index),
    "begins_in_the_middle.ts": edited("h264_open.ts", lambda data: data[len(data) // 188 // 3 * 188 :]),
    "ends_in_the_middle.mkv": edited("h264.mkv", lambda data: data[: len(data) // 2]),
    "twice.ts": edited("h264_open.ts", lambda data: data + data),
    "starts_later.mp4": remuxed("h264.mp4", functools.partial(later, ticks=40000)),
    "edit_list.mp4": remuxed("h264.mp4", functools.partial(later, ticks=-9000)),
    "edit_list_hevc.mp4": remuxed("hevc.mp4", functools.partial(later, ticks=-9000)),
    "with_sound.mp4": with_sound,
}


def made(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.exists():
        try:
            ZOO[name](path, folder)
        except av.codec.codec.UnknownCodecError as error:
            pytest.skip(f"this FFmpeg cannot encode {error}")
    return path


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The path of a file of the zoo, made when it is first asked for."""
    return functools.partial(made, tmp_path_factory.mktemp("zoo"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`each_kind` of file of the zoo, by name."""
    if "each_kind" in metafunc.fixturenames:
        metafunc.parametrize("each_kind", list(ZOO))
