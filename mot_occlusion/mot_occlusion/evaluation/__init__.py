"""CLEAR, identity and HOTA metrics with the official preprocessing, equal to TrackEval's numbers.

from mot_occlusion.evaluation import combine, evaluate_sequence, scores
"""

from mot_occlusion.evaluation.measures import METRICS, combine, evaluate_sequence, measure, scores
from mot_occlusion.evaluation.preprocess import Preset, Sequence, prepare, preset_of

__all__ = ["METRICS", "Preset", "Sequence", "combine", "evaluate_sequence", "measure", "prepare", "preset_of", "scores"]
