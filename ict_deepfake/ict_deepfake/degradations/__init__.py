"""Degradations: the test grid at five levels, the compression of videos, and the recipe of training."""

from ict_deepfake.degradations.grid import KINDS, degrade, picture_rng
from ict_deepfake.degradations.training import TrainingDegradation
from ict_deepfake.degradations.video import VIDEO_LEVELS, compress_video

__all__ = ["KINDS", "VIDEO_LEVELS", "TrainingDegradation", "compress_video", "degrade", "picture_rng"]
