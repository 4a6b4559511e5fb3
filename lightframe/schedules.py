"""Learning-rate schedules in closed form, as functions of time alone.

Each gives what the learning rate is multiplied with at t, counted in steps or epochs from 0; `total` is the length of
the run.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence


def step(t: int, step_size: int, gamma: float = 0.1) -> float:
    """gamma ** (t // step_size)"""
    return gamma ** (t // step_size)


def multistep(t: int, milestones: Sequence[int], gamma: float = 0.1) -> float:
    """gamma ** (how many milestones are at or before t)"""
    return gamma ** bisect_right(milestones, t)


def exponential(t: int, gamma: float) -> float:
    """gamma ** t"""
    return gamma**t


def constant(t: int) -> float:
    """1"""
    return 1.0


def linear(t: int, total: int, end_factor: float = 0.0) -> float:
    """1 + (end_factor - 1) * t / total"""
    return 1.0 + (end_factor - 1.0) * min(t / total, 1.0)


def cosine(t: int, total: int, end_factor: float = 0.0) -> float:
    """end_factor + (1 - end_factor) * (1 + cos(pi * t / total)) / 2"""
    return end_factor + (1.0 - end_factor) * (1.0 + math.cos(math.pi * min(t / total, 1.0))) / 2.0


def cosine_with_restarts(t: int, total: int, cycles: int = 1) -> float:
    """(1 + cos(pi * (cycles * t / total mod 1))) / 2, and 0 from total on"""
    return (1.0 + math.cos(math.pi * (cycles * t % total / total))) / 2.0 if t < total else 0.0


def polynomial(t: int, total: int, power: float = 1.0, end_factor: float = 0.0) -> float:
    """end_factor + (1 - end_factor) * (1 - t / total) ** power"""
    return end_factor + (1.0 - end_factor) * (1.0 - min(t / total, 1.0)) ** power
