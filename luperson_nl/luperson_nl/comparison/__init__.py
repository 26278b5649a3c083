"""PNL and its baselines side by side on the procedural street, each tuned with the same number of tries."""

from luperson_nl.comparison.finetuning import Target
from luperson_nl.comparison.grid import Comparison
from luperson_nl.comparison.plan import ROWS, TRIES, Plan, Row, Try
from luperson_nl.comparison.training import Pretrained, Settings, pretrain

__all__ = [
    "ROWS",
    "TRIES",
    "Comparison",
    "Plan",
    "Pretrained",
    "Row",
    "Settings",
    "Target",
    "Try",
    "pretrain",
]
