from .detections import Detections as Detections
from .detector import Detector as Detector
from .pretrained import load as load
from .tracking import LOST as LOST
from .tracking import PUBLISHED as PUBLISHED
from .tracking import TRACKED as TRACKED
from .tracking import Tracker as Tracker
from .tracking import Tracks as Tracks

__version__: str
