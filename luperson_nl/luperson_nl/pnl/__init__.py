"""Pre-training on noisy labels, step by step as in the paper, and its baselines."""

from luperson_nl.pnl.encoder import Encoder
from luperson_nl.pnl.model import METHODS, PNL, SPLIT
from luperson_nl.pnl.objective import StepResult
from luperson_nl.pnl.prototypes import Prototypes, momentum_update
from luperson_nl.pnl.queue import Queue
from luperson_nl.pnl.sharding import Shard
from luperson_nl.pnl.stages import Stage, Stages, stage_at

__all__ = [
    "METHODS",
    "PNL",
    "SPLIT",
    "Encoder",
    "Prototypes",
    "Queue",
    "Shard",
    "Stage",
    "Stages",
    "StepResult",
    "momentum_update",
    "stage_at",
]
