from .adapters import from_supervision as from_supervision
from .adapters import from_ultralytics as from_ultralytics
from .adapters import to_supervision as to_supervision
from .adapters import to_ultralytics as to_ultralytics
from .detections import Detections as Detections
from .detector import Detector as Detector
from .pretrained import load as load
from .tracking import LOST as LOST
from .tracking import PUBLISHED as PUBLISHED
from .tracking import TRACKED as TRACKED
from .tracking import CameraMotion as CameraMotion
from .tracking import LostTracks as LostTracks
from .tracking import Stage as Stage
from .tracking import Tracker as Tracker
from .tracking import Tracks as Tracks

__version__: str
