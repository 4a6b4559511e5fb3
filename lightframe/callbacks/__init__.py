"""Callbacks for Lightning's Trainer."""

from lightframe.callbacks.prediction_writer import PredictionWriter

__all__ = ["PredictionWriter"]
