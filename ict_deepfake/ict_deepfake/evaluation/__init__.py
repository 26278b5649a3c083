"""How well a model tells swaps from genuine pictures, on parametric people and on test sets."""

from ict_deepfake.evaluation.looking import ClipSuspects, Look
from ict_deepfake.evaluation.people import PeopleSuspects
from ict_deepfake.evaluation.report import Options, check_complete, evaluate, shown

__all__ = ["ClipSuspects", "Look", "Options", "PeopleSuspects", "check_complete", "evaluate", "shown"]
