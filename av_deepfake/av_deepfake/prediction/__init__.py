"""From videos to scores: clips of mouths through the network, the synchrony of the sound, and what limits an answer.

``request`` checks what is asked for and loads no torch; ``job.predict`` answers it; ``scoring.score_mouths`` is one video.
"""

from av_deepfake.prediction.appearance import appearance as appearance
from av_deepfake.prediction.genuine import Genuine as Genuine
from av_deepfake.prediction.outside import outside as outside
from av_deepfake.prediction.request import Request as Request
from av_deepfake.prediction.request import request as request
from av_deepfake.prediction.rows import Clip as Clip
from av_deepfake.prediction.rows import Row as Row
from av_deepfake.prediction.rows import write_rows as write_rows
