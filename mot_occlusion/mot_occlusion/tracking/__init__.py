"""The tracker as a library: arrays in, arrays out; NumPy and SciPy alone.

from mot_occlusion.tracking import Tracker
"""

from mot_occlusion.tracking.tracker import LOST, PUBLISHED, TRACKED, Tracker, Tracks

__all__ = ["LOST", "PUBLISHED", "TRACKED", "Tracker", "Tracks"]
