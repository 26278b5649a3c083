"""What a step of either training minimises, as functions of tensors: training loops of any kind use them."""

from av_deepfake.objective.detection import Frozen, MouthBatch, Unfreeze, detection_loss, parameter_groups
from av_deepfake.objective.pretraining import Agreement, TalkingBatch
from av_deepfake.objective.recipe import Recipe, normalised

__all__ = [
    "Agreement",
    "Frozen",
    "MouthBatch",
    "Recipe",
    "TalkingBatch",
    "Unfreeze",
    "detection_loss",
    "normalised",
    "parameter_groups",
]
