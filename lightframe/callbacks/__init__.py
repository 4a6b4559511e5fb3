"""Callbacks for Lightning's Trainer."""

from lightframe.callbacks.eval_total import EvalTotal
from lightframe.callbacks.prediction_writer import PredictionWriter

__all__ = ["EvalTotal", "PredictionWriter"]
