"""Callbacks for Lightning's Trainer."""

from lightframe.callbacks.checkpointer import Checkpointer
from lightframe.callbacks.detection_writer import DetectionWriter
from lightframe.callbacks.ema import EMA
from lightframe.callbacks.environment_report import EnvironmentReport
from lightframe.callbacks.eval_total import EvalTotal
from lightframe.callbacks.gpu_speed_benchmark import GPUSpeedBenchmark
from lightframe.callbacks.last_checkpoint import LastCheckpoint
from lightframe.callbacks.loss_guard import LossGuard
from lightframe.callbacks.prediction_writer import PredictionWriter
from lightframe.callbacks.step_timer import StepTimer

__all__ = [
    "Checkpointer",
    "DetectionWriter",
    "EMA",
    "EnvironmentReport",
    "EvalTotal",
    "GPUSpeedBenchmark",
    "LastCheckpoint",
    "LossGuard",
    "PredictionWriter",
    "StepTimer",
]
