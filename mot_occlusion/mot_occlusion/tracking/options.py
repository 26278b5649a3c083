"""Options of the tracker: the published ones, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from shared_utils import UserError

PUBLISHED: dict[str, Any] = {
    "fair_iou": False,
    "iou_threshold": 0.5,
    "first": "published",
    "low_threshold": None,
    "new_threshold": None,
    "measurement_noise": 1.0,
    "recovery_window": 1,
    "recovered_overlap": 1.0,
    "refine_lost_box": "none",
    "published_bounds": True,
    "published_aspect": True,
}
"""Options of ``Tracker`` that make it the published one in frame, id and state."""

_CHOICES = {"refine_lost_box": ("none", "output", "kalman", "centre"), "first": ("published", "fused")}
_SHARES = ("conf_threshold", "low_threshold", "new_threshold", "occlusion_threshold", "recovered_overlap")
_POSITIVE = ("recovery_window", "measurement_noise", "max_aspect")
_FROM_ZERO = ("reid_threshold", "iou_threshold", "track_buffer", "min_box_area")


def check(options: Mapping[str, Any]) -> None:
    """Raise UserError for options of ``Tracker`` that mean nothing, naming the option and its range."""
    size, rate = options["image_size"], options["frame_rate"]
    if len(size) != 2 or not (min(*size, rate) > 0 and np.isfinite([*size, rate]).all()):
        raise UserError(f"image size {' x '.join(map(str, size))} at {rate} frames per second: all must be positive")
    for name, allowed in _CHOICES.items():
        if options[name] not in allowed:
            raise UserError(f"{name} is one of {', '.join(allowed)}, got {options[name]}")
    for names, least, wanted in (
        (_SHARES, lambda value: 0 <= value <= 1, "between 0 and 1"),
        (_POSITIVE, lambda value: 0 < value < np.inf, "above 0"),
        (_FROM_ZERO, lambda value: 0 <= value < np.inf, "0 or more"),
    ):
        for name in names:
            value = options[name]
            if value is not None and not least(value):
                raise UserError(f"{name} is {wanted}, got {value:g}")
