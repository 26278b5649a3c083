"""The tracker as a library: arrays in, arrays out; NumPy and SciPy alone (and OpenCV for a moving camera).

from mot_occlusion.tracking import Tracker
"""

from mot_occlusion.tracking.camera import CameraMotion
from mot_occlusion.tracking.stages import Candidates, Stage
from mot_occlusion.tracking.tracker import LOST, PUBLISHED, TRACKED, LostTracks, Tracker, Tracks

__all__ = [
    "LOST",
    "PUBLISHED",
    "TRACKED",
    "CameraMotion",
    "Candidates",
    "LostTracks",
    "Stage",
    "Tracker",
    "Tracks",
]
