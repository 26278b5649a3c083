from .calibration import Calibration as Calibration
from .data.layouts import open_set as open_set
from .degradations import degrade as degrade
from .losses import symmetric_infonce as symmetric_infonce
from .mel import log_mel as log_mel
from .models.branches import AudioBranch as AudioBranch
from .models.branches import AudioVisual as AudioVisual
from .models.branches import Detector as Detector
from .models.branches import VideoBranch as VideoBranch
from .models.mstcn import MouthTCN as MouthTCN
from .prediction.scoring import score_mouths as score_mouths
from .preprocessing import Mouths as Mouths
from .preprocessing import Settings as Settings
from .preprocessing import read_video as read_video
from .pretrained import MouthModel as MouthModel
from .pretrained import load as load
from .published import import_published as import_published
from .synchrony import Synchrony as Synchrony

__version__: str
