"""How well a model tells forged from genuine videos: on procedural mouths and on labelled sets."""

from av_deepfake.evaluation.report import Options, check_complete, evaluate, shown
from av_deepfake.evaluation.suspects import DrawnSuspects, Protocol, Suspect, Suspects, VideoSuspects

__all__ = [
    "DrawnSuspects",
    "Options",
    "Protocol",
    "Suspect",
    "Suspects",
    "VideoSuspects",
    "check_complete",
    "evaluate",
    "shown",
]
