from fractions import Fraction

import numpy as np
import pytest

from lightframe.datamodules.decoding.packets import Packet, timeline_of

UNIT, RATE = Fraction(1, 1000), Fraction(25)
# Stored I P B B, shown I B B P.
REORDERED = [(0, -80, True), (120, -40, False), (40, 0, False), (80, 40, False), (160, 80, True), (200, 120, False)]


def packets(times=REORDERED, **changes):
    """Packets of (pts, dts, key); `changes` are attributes of one of them, by its number: `at_2={"pts": None}`."""
    made = [Packet(*time) for time in times]
    for place, change in changes.items():
        number = int(place.removeprefix("at_"))
        made[number] = made[number]._replace(**change)
    return made


def timeline(made, reordered=True, container="mov,mp4,m4a,3gp,3g2,mj2", rate=RATE, unit=UNIT):
    return timeline_of(made, unit, rate, reordered, container)


def test_frames_in_the_order_in_which_they_are_shown():
    known = timeline(packets())
    assert known.seekable
    assert known.pts.tolist() == [0, 40, 80, 120, 160, 200]
    assert known.keys.tolist() == [0, 160]
    assert known.unit == UNIT


def test_hidden_frames_are_not_counted_but_decoding_can_begin_with_them():
    known = timeline(packets(at_0={"hidden": True}, at_2={"hidden": True}))
    assert known.seekable
    assert known.pts.tolist() == [80, 120, 160, 200]
    assert known.keys.tolist() == [0, 160]


def test_time_stamps_that_several_frames_share_allow_no_jump():
    known = timeline(packets(at_3={"stamped": False}))
    assert known.seekable
    assert known.keys.tolist() == [0]


@pytest.mark.parametrize(
    ("made", "settings"),
    [
        (packets(at_3={"pts": None}), {}),
        (packets(at_3={"gives_frame": False}), {}),
        (packets(at_0={"key": False}), {}),
        (packets(at_3={"pts": 40}), {}),  # twice
        (packets(at_3={"pts": -40}), {}),  # before the first key frame
        (packets(at_4={"dts": 0}), {}),  # pieces put together
        (packets(), {"container": "avi"}),
        (packets([(number * 40, number * 40, number == 0) for number in range(6)]), {}),  # order lost
        (packets(at_5={"pts": 10**9}), {}),  # twelve days
    ],
    ids=["missing", "no frame", "no key", "twice", "leading", "pieces", "avi", "order lost", "damaged"],
)
def test_what_cannot_be_told_by_time_is_counted(made, settings):
    known = timeline(made, **settings)
    assert not known.seekable
    assert known.count == 6
    assert known.fps == pytest.approx(25)
    assert np.array_equal(known.seconds(range(6)), np.arange(6) / 25)


@pytest.mark.parametrize("count", [1, 2, 6])
def test_without_b_frames_the_order_is_that_of_time(count):
    made = packets([(number * 40, number * 40, number == 0) for number in range(count)])
    assert timeline(made, reordered=False, container="avi").seekable
    assert timeline(made, reordered=count < 3).seekable  # two frames cannot be out of order


@pytest.mark.parametrize("rate", [Fraction(0), Fraction(1, 2**31)])
def test_a_rate_that_is_none(rate):
    assert timeline(packets(at_3={"pts": None}), rate=rate).unit == Fraction(1, 25)
