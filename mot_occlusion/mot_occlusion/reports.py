"""What training leaves behind beside the checkpoint: curves, and what was gained over the untrained network."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def after_training(training: Any, folder: Path) -> None:
    pass
