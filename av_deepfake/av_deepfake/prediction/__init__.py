"""From videos to scores: clips of mouths through the network, the synchrony of the sound, and what limits an answer."""

from av_deepfake.prediction.appearance import appearance
from av_deepfake.prediction.genuine import Genuine
from av_deepfake.prediction.job import Request, Results, begin, overview, predict, request
from av_deepfake.prediction.outside import outside
from av_deepfake.prediction.rows import Clip, Row, write_rows
from av_deepfake.prediction.scoring import Seen, score_mouths

__all__ = [
    "Clip",
    "Genuine",
    "Request",
    "Results",
    "Row",
    "Seen",
    "appearance",
    "begin",
    "outside",
    "overview",
    "predict",
    "request",
    "score_mouths",
    "write_rows",
]
