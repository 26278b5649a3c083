"""The answers in words. Nothing is called a probability but what a calibration has made of a score."""

from __future__ import annotations

from ict_deepfake.metrics import Calibration
from ict_deepfake.prediction.claims import Claim
from ict_deepfake.prediction.rows import Face


def consistency(row: Face, calibration: Calibration | None) -> str:
    """Do the inner and the outer face belong to one person?"""
    name, score = ("ICT-Ref", row.reference) if row.reference is not None else ("ICT", row.consistency)
    if score is None:
        return row.note or row.status
    if row.probability is None or calibration is None:
        return f"{name} {score:.2f} (uncalibrated: larger is more suspicious, no probability)"
    return f"a swap with probability {row.probability:.0%} ({name} {score:.2f}, calibrated on {calibration.dataset})"


def who(row: Face) -> str:
    """Whose are the inner and the outer face? Empty without references."""
    if row.inner_name is None or row.outer_name is None:
        return ""
    inner = row.inner_name if row.inner_known is not False else None
    outer = row.outer_name if row.outer_known is not False else None
    if inner is None and outer is None:
        return "neither the inner nor the outer face looks like a person of the reference set"
    if inner == outer:
        return f"the inner and the outer face look like {inner}"
    if inner is None or outer is None:
        known, unknown = ("inner", "outer") if outer is None else ("outer", "inner")
        return f"the {known} face looks like {inner or outer}, the {unknown} face like nobody of the reference set"
    return f"a swap: the inner face looks like {inner}, the outer face like {outer}"


def claim(row: Face, asked: Claim | None) -> str:
    """Is it the claimed person? Empty where nobody is claimed."""
    if asked is None or row.claim is None:
        return ""
    other = row.claim_nearest if row.claim_nearest != asked.name else None
    if row.claim > asked.threshold:
        nearest = f"; the nearest person is {other}" if other else ""
        return f"this is not {asked.name} (distance {row.claim:.3f}, only {asked.threshold:.3f} is allowed{nearest})"
    if other:
        return f"this looks more like {other} than like {asked.name} (distance {row.claim:.3f}): do not trust the claim"
    return f"this may be {asked.name} (distance {row.claim:.3f}, {asked.threshold:.3f} is allowed)"


def answers(row: Face, calibration: Calibration | None, asked: Claim | None) -> list[str]:
    """Every answer of a row, the strongest question first."""
    if row.status != "ok":
        return [row.note or row.status]
    every = [claim(row, asked), who(row), consistency(row, calibration)]
    return [answer for answer in every if answer]
