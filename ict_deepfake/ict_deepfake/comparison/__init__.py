"""ICT beside its control and its variants on parametric people, over seeds."""

from ict_deepfake.comparison.grid import Comparison
from ict_deepfake.comparison.plan import CHANGES, KINDS, ROWS, TRAININGS, Plan
from ict_deepfake.comparison.training import Settings

__all__ = ["CHANGES", "KINDS", "ROWS", "TRAININGS", "Comparison", "Plan", "Settings"]
