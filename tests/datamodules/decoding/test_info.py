import av
import pytest
from known_videos import moving_frames, sequential, turned, write_video

from lightframe.datamodules.decoding import Timeline, VideoError, probe

# Files of which some frames cannot be told by their time stamps, for the reasons in `packets.py`.
COUNTED = {
    "h264.h264", "h264_b.avi", "h264_b.asf", "h264_b.mxf", "mpeg4_b.avi", "mpeg4_one_b.avi", "mpeg4_packed.avi",
    "mpeg4_dropped.avi", "mpeg4_dropped.mp4", "mpeg2_b.asf", "order_lost.mp4", "begins_in_the_middle.ts", "twice.ts",
}  # fmt: skip
SHARED_TIMES = {"mpeg1.mpg", "mpeg2.mpg"}
# So many packets give no frame: those before the first key frame, and what the encoder left out.
MORE_PACKETS = {"begins_in_the_middle.ts": 1, "mpeg4_dropped.avi": 7, "mpeg4_dropped.mp4": 7}


def packets(path):
    with av.open(str(path)) as container:
        return [packet for packet in container.demux(video=0) if packet.size]


def test_probe(make_video):
    info = probe(make_video("a.mkv", 13, height=18, width=26))
    assert info[:4] == (13, 25.0, 18, 26)
    assert info.codec == "ffv1"
    assert isinstance(info.timeline, Timeline)
    assert info.timeline.count == 13


def test_frames_and_times_of_each_kind(zoo, each_kind):
    """The frames that a sequential decode gives, at their time stamps."""
    path = zoo(each_kind)
    info = probe(path)
    frames = list(sequential(path))
    assert info.frames == info.timeline.count
    assert info.frames - len(frames) == MORE_PACKETS.get(each_kind, 0)
    assert (info.height, info.width) == frames[0].shape[:2]
    assert info.timeline.seekable == (each_kind not in COUNTED)
    if not info.timeline.seekable:
        return
    stored = packets(path)
    with av.open(str(path)) as container:
        shown = sorted(frame.pts for frame in container.decode(video=0))
    keys = sorted(packet.pts for packet in stored if packet.is_keyframe)
    assert info.timeline.pts.tolist() == shown
    assert info.timeline.keys.tolist() == (keys[:1] if each_kind in SHARED_TIMES else keys)
    assert info.timeline.unit == stored[0].time_base
    if len(shown) > 1:
        assert info.fps == pytest.approx((len(shown) - 1) / float((shown[-1] - shown[0]) * stored[0].time_base))


@pytest.mark.parametrize(
    ("kind", "codec"),
    [("h264.mp4", "h264"), ("hevc.mkv", "hevc"), ("vp9.webm", "vp9"), ("av1.mp4", "av1"), ("mpeg4.avi", "mpeg4")],
)
def test_the_codec_is_named_and_not_its_decoder(zoo, kind, codec):
    assert probe(zoo(kind)).codec == codec


def test_a_video_of_one_frame(zoo):
    info = probe(zoo("h264_one.mp4"))
    assert info[:4] == (1, 25.0, 48, 64)
    assert info.timeline.resample(30).tolist() == [0]


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_height_and_width_are_those_of_the_upright_frame(zoo, tmp_path, degrees):
    info = probe(turned(zoo("h264.mp4"), tmp_path / "turned.mp4", degrees))
    assert (info.height, info.width) == ((48, 64) if degrees % 180 == 0 else (64, 48))


def test_a_real_rotated_file(shared_videos):
    """A phone that was held upright."""
    info = probe(shared_videos / "odd" / "decord_video_90.mov")
    assert (info.height, info.width) == (568, 320)


@pytest.mark.parametrize(
    ("name", "frames", "packets_more"),
    [
        ("odd/tc_test_non_zero_start.mp4", 12, 0),
        ("odd/tc_av1_video.mkv", 125, 0),  # its header says 0
        ("odd/tc_testsrc2_mpeg4.mp4", 1, 0),
        ("odd/decord_corrupted.mp4", 28, 22),  # the rest cannot be decoded
        ("clips/train/wave/TrumanShow_wave_f_nm_np1_fr_med_26.avi", 48, 1),
    ],
)
def test_real_frame_counts(shared_videos, name, frames, packets_more):
    assert probe(shared_videos / name).frames == frames + packets_more


def test_a_header_count_is_not_believed(tmp_path):
    """Half of an .avi whose header speaks of all frames."""
    path = write_video(tmp_path / "a.avi", moving_frames(40), "mjpeg", "yuvj420p")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 40
    info = probe(path)
    assert 10 < info.frames < 30
    assert info.frames - len(list(sequential(path))) in (0, 1)  # the last one may be cut


def test_a_first_frame_that_cannot_be_decoded(tmp_path):
    path = write_video(tmp_path / "a.mkv", moving_frames(3), "ffv1", "bgr0")
    first = bytes(packets(path)[0])
    path.write_bytes(path.read_bytes().replace(first, b"\xff" * len(first)))
    with pytest.raises(VideoError, match=r"a\.mkv: Invalid data found"):
        probe(path)
