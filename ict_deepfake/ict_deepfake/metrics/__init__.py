"""How well scores tell fake from real; numpy arrays, label 1 = fake, larger scores mean fake."""

from ict_deepfake.metrics.calibration import Calibration, calibrate
from ict_deepfake.metrics.curves import Roc, auc, average_precision, check_classes, eer, roc, tpr_at_fpr
from ict_deepfake.metrics.protocol import PublishedCurve, published_curve
from ict_deepfake.metrics.videos import Interval, Videos, bootstrap, by_video

__all__ = [
    "Calibration",
    "Interval",
    "PublishedCurve",
    "Roc",
    "Videos",
    "auc",
    "average_precision",
    "bootstrap",
    "by_video",
    "calibrate",
    "check_classes",
    "eer",
    "published_curve",
    "roc",
    "tpr_at_fpr",
]
