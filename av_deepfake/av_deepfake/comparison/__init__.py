"""Pre-training beside training from scratch, its controls and simple statistics, on procedural mouths over seeds."""

from av_deepfake.comparison.grid import Comparison
from av_deepfake.comparison.plan import ROWS, Plan
from av_deepfake.comparison.training import Pretraining, Tuning

__all__ = ["ROWS", "Comparison", "Plan", "Pretraining", "Tuning"]
