import hashlib
import itertools
from contextlib import closing, contextmanager

import av
import numpy as np
import pytest
from known_videos import moving_frames, sequential, write_video

from lightframe.datamodules.decoding import FramesOutOfRangeError, VideoError, open_video, probe, read_frames
from lightframe.datamodules.decoding import frames as frames_module
from lightframe.datamodules.decoding.frames import wanted_frames

QUICK = [
    "clips/train/soccer_juggling/v_SoccerJuggling_g23_c01.avi",
    "clips/train/wave/RATRACE_wave_f_nm_np1_fr_goo_37.avi",
    "clips/train/wave/TrumanShow_wave_f_nm_np1_fr_med_26.avi",
    "clips/val/soccer_juggling/v_SoccerJuggling_g24_c01.avi",
    "clips/val/wave/SchoolRulesHowTheyHelpUs_wave_f_nm_np1_ba_med_0.avi",
    "odd/decord_corrupted.mp4",
    "odd/decord_video_90.mov",
    "odd/hmdb51_Turnk_r_Pippi_Michel_cartwheel_f_cm_np2_le_med_6.avi",
    "odd/tc_av1_video.mkv",
    "odd/tc_h264_10bits.mp4",
    "odd/tc_test_non_zero_start.mp4",
    "odd/tc_testsrc2_mpeg4.mp4",
    "odd/tc_testsrc2_odd_height_and_width_vp9.mp4",
]
LONG = [
    "clips/train/kinetics/R6llTwEh07w.mp4",
    "clips/train/kinetics/SOX5yA1l24A.mp4",
    "clips/val/kinetics/WUzgd7C1pWA.mp4",
    "odd/skv_bigbuckbunny.mp4",
]


def fingerprint(pixels):
    return hashlib.blake2b(np.ascontiguousarray(pixels).tobytes()).digest()


def check_random_access(path, requests=40):
    """Any choice of frames is what decoding all of them one after the other gives, pixel for pixel."""
    known = [fingerprint(frame) for frame in sequential(path)]
    info = probe(path)
    rng = np.random.default_rng(0)
    for _ in range(requests):
        indices = rng.integers(len(known), size=rng.integers(1, 9)).tolist()
        clip = read_frames(path, indices, info=info, decoder="pyav")
        got = [fingerprint(frame) for frame in clip.permute(0, 2, 3, 1).numpy()]
        wrong = [index for index, frame in zip(indices, got, strict=True) if frame != known[index]]
        assert not wrong, f"of {indices}"


# Random access


def test_random_access_is_sequential_decoding(zoo, each_kind):
    check_random_access(zoo(each_kind))


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in LONG)])
def test_random_access_to_real_files(shared_videos, name):
    check_random_access(shared_videos / name)


def test_no_real_file_is_left_out(shared_videos):
    files = {path.relative_to(shared_videos).as_posix() for path in shared_videos.rglob("*.*") if path.suffix != ".md"}
    assert files == {*QUICK, *LONG}


def test_every_single_frame_alone(zoo):
    """Frames next to key frames, the first and the last."""
    path = zoo("h264_open.ts")
    known = [fingerprint(frame) for frame in sequential(path)]
    info = probe(path)
    for index in range(info.frames):
        (frame,) = read_frames(path, [index], info=info).permute(0, 2, 3, 1).numpy()
        assert fingerprint(frame) == known[index], index


def test_frames_come_with_their_positions(zoo):
    path = zoo("h264.mp4")
    times = sorted(packet.pts for packet in packets(path))
    found = {position: frame.pts for position, frame in wanted_frames(path, [3, 20, 39], probe(path).timeline)}
    assert found == {3: times[3], 20: times[20], 39: times[39]}


# How much is decoded


def packets(path):
    with av.open(str(path)) as container:
        return [packet for packet in container.demux(video=0) if packet.size]


class Watched:
    """Passes everything on, and takes down the time stamps of packets that are decoded and of frames that come out."""

    def __init__(self, inner, sent, decoded):
        self.inner, self.sent, self.decoded = inner, sent, decoded

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def demux(self, stream):
        return (Watched(packet, self.sent, self.decoded) for packet in self.inner.demux(stream))

    def decode(self):
        frames = self.inner.decode()
        self.sent.append(self.inner.pts)
        self.decoded += [frame.pts for frame in frames]
        return frames


@pytest.fixture
def watched(monkeypatch):
    """Lists of the time stamps of packets that were decoded, and of frames that came out of them."""
    sent, decoded = [], []

    @contextmanager
    def watch(path):
        with open_video(path) as (container, stream):
            yield Watched(container, sent, decoded), stream

    monkeypatch.setattr(frames_module, "open_video", watch)
    return sent, decoded


def test_sparse_frames_cost_what_lies_between_them_and_their_key_frames(tmp_path, watched):
    path = write_video(tmp_path / "long.mp4", moving_frames(240), "mpeg4", key_every=12)
    sent, _ = watched
    timeline = probe(path).timeline
    assert len(timeline.keys) == 20
    positions = np.linspace(0, 239, 8).astype(int).tolist()
    frames = dict(wanted_frames(path, positions, timeline))
    assert list(frames) == positions
    assert [timeline.start + timeline.step * position for position in positions] == [f.pts for f in frames.values()]
    assert len(sent) == sum(position % 12 + 1 for position in positions)  # of 240


@pytest.mark.parametrize(
    ("kind", "positions"), [("mpeg4_b.mp4", [1, 6, 8]), ("mpeg2.ts", [2, 9, 11]), ("h264.mkv", [0, 9, 10])]
)
def test_nothing_behind_the_last_wanted_frame_is_decoded(zoo, watched, kind, positions):
    path = zoo(kind)
    sent, _ = watched
    timeline = probe(path).timeline
    found = dict(wanted_frames(path, positions, timeline))
    assert sorted(found) == positions
    stored = [packet.pts for packet in packets(path)]
    last = max(stored.index(time) for time in timeline.pts_at(positions).tolist())
    assert sent == stored[: last + 1]


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("b.mp4", "mpeg4", {"bf": "2"}),
        ("b.ts", "mpeg2video", {"bf": "2"}),
        ("b.mkv", "libx264", {"bf": "2", "x264-params": "b-pyramid=none"}),
    ],
)
def test_frames_on_which_no_other_depends_are_left_out(tmp_path, watched, name, codec, options):
    path = write_video(tmp_path / name, moving_frames(40), codec, options=options)
    with av.open(str(path)) as container:
        kinds = {frame.pts: frame.pict_type for frame in container.decode(video=0)}
    b_frames = {time for time, pict_type in kinds.items() if pict_type == av.video.frame.PictureType.B}
    assert len(b_frames) > len(kinds) / 4
    timeline = probe(path).timeline
    one = sorted(b_frames)[len(b_frames) // 2]
    position = timeline.pts.tolist().index(one)
    _, decoded = watched
    found = [number for number, _ in wanted_frames(path, [0, position, timeline.count - 1], timeline)]
    assert sorted(found) == [0, position, timeline.count - 1]
    assert set(decoded) & b_frames <= {one, int(timeline.pts[-1])}
    assert len(decoded) > 2


def test_a_frame_asked_for_once_is_given_once(zoo, each_kind):
    path = zoo(each_kind)
    info = probe(path)
    positions = list(range(0, len(list(sequential(path))), 7))
    found = [position for position, _ in wanted_frames(path, positions, info.timeline)]
    if info.timeline.seekable and "refresh" not in each_kind and "called" not in each_kind:
        assert sorted(found) == positions
    assert set(found) == set(positions)


# Files at fault


def test_frames_behind_the_last_one_are_not_looked_for(zoo, watched):
    path = zoo("h264.mp4")
    timeline = probe(path).timeline
    sent, _ = watched
    with pytest.raises(FramesOutOfRangeError, match=r"frame 40 .* has 40 frames"):
        list(wanted_frames(path, [0, 40], timeline))
    assert not sent


def test_beyond_the_end(numbered_video):
    with pytest.raises(FramesOutOfRangeError, match=r"numbered\.mkv: frame 20 .* has 20 frames") as caught:
        read_frames(numbered_video, [3, 20])
    assert caught.value.frames == 20


def test_a_file_with_fewer_frames_than_packets(shared_videos):
    """Packed B-frames leave a packet of nothing behind."""
    path = shared_videos / "clips/train/wave/RATRACE_wave_f_nm_np1_fr_goo_37.avi"
    count = len(list(sequential(path)))
    info = probe(path)
    assert info.frames == count + 1
    with pytest.raises(FramesOutOfRangeError, match=rf"frame {count} .* has {count} frames") as caught:
        read_frames(path, [0, count], info=info)
    assert caught.value.frames == count


def test_damage_in_the_middle_spares_what_stands_before_it(shared_videos):
    path = shared_videos / "odd" / "decord_corrupted.mp4"
    known = list(sequential(path))
    assert len(known) == 28
    assert probe(path).frames == 50
    clip = read_frames(path, [27, 0, 13])
    assert all(np.array_equal(frame, known[index]) for frame, index in zip(rgb(clip), [27, 0, 13], strict=True))
    with pytest.raises(VideoError, match=r"decord_corrupted\.mp4: frame 28 cannot be decoded: Invalid data") as caught:
        read_frames(path, [0, 40])
    assert not isinstance(caught.value, FramesOutOfRangeError)


def rgb(clip):
    return clip.permute(0, 2, 3, 1).numpy()


@pytest.fixture
def damaged_middle(tmp_path):
    """40 frames, key frames every 8; the one at 16 and what depends on it cannot be decoded."""
    path = write_video(tmp_path / "damaged.mkv", moving_frames(40), "ffv1", "bgr0", key_every=8)
    data = path.read_bytes()
    sixteenth = bytes(packets(path)[16])
    assert data.count(sixteenth) == 1
    path.write_bytes(data.replace(sixteenth, b"\xff" * len(sixteenth)))
    return path


def test_only_frames_that_touch_the_damage_fail(damaged_middle):
    frames = moving_frames(40)
    info = probe(damaged_middle)
    assert info.frames == 40
    assert len(list(sequential(damaged_middle))) == 16
    for indices in ([0, 15], [3, 12], [24, 30], [39], [0, 25]):
        clip = read_frames(damaged_middle, indices, info=info)
        assert all(np.array_equal(frame, frames[index]) for frame, index in zip(rgb(clip), indices, strict=True))
    for indices in ([16], [0, 20], [2, 23, 30]):
        with pytest.raises(VideoError, match=r"damaged\.mkv: frame 16 cannot be decoded: Invalid data"):
            read_frames(damaged_middle, indices, info=info)


def test_abandoned_in_the_middle(zoo):
    path = zoo("h264.mp4")
    frames = wanted_frames(path, list(range(40)), probe(path).timeline)
    with closing(frames):
        assert len(list(itertools.islice(frames, 3))) == 3
