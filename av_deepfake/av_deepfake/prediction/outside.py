"""In what a video differs from what the model was trained on: there its score means less."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MEASURED = {
    "fps": ("frame rate", "frames per second", "motion was resampled from it"),
    "crop_scale": ("enlargement of the face", "times", "the mouth has fewer or more pixels"),
    "bits_per_pixel": ("bit rate", "bits a pixel", "compression changes fine motion"),
    "brightness": ("brightness of the mouth", "grey levels", ""),
    "contrast": ("contrast of the mouth", "grey levels", ""),
    "sharpness": ("sharpness of the mouth", "(edges over contrast)", "blur and noise look like other motion"),
    "movement": (
        "movement of the mouth",
        "grey levels a frame",
        "above: noise or jitter; below: a mouth that hardly moves",
    ),
}
"""What is compared: the key, its name, its unit, and why it matters."""


def outside(
    facts: Mapping[str, Any], training: Mapping[str, Any], preprocessing: Mapping[str, Any], margin: float = 0.1
) -> list[str]:
    """What lies outside, a sentence each; empty where nothing does.

    Args:
        facts: of the video: what preprocessing measured, and ``appearance`` of its clips.
        training: of the model: ``detection`` and ``pretraining``, each with ``set`` and ``ranges`` of the same numbers.
        preprocessing: of the model: ``landmarks`` and ``variant`` of the crops that it was trained on, ``drawn`` where
            they are of no camera.
        margin: share of a range by which a value may lie outside of it.
    """
    stage = training.get("detection") or training.get("pretraining") or {}
    measured = {**facts, **facts.get("appearance", {})}
    found = []
    drawn = preprocessing.get("variant") == "drawn"
    if drawn:
        found.append(
            f"real videos as such: the model has seen {stage.get('set', 'drawn mouths')} only, and on real ones its score "
            "orders videos at best"
        )
    for name, (what, unit, why) in _MEASURED.items():
        span, value = stage.get("ranges", {}).get(name), measured.get(name)
        if span is None or value is None:
            continue
        low, high = span
        room = margin * max(high - low, abs(high))
        if not low - room <= value <= high + room:
            found.append(f"{what}: {value:.3g} {unit}, in training {low:.3g} to {high:.3g}" + (why and f" ({why})"))
    if drawn:
        return found
    ours, theirs = str(facts.get("landmarks") or ""), str(preprocessing.get("landmarks") or "")
    if ours and theirs and "aligned" not in (ours, theirs) and points_of(ours) != points_of(theirs):
        fix = "--detector dlib or mesh" if points_of(theirs) == 68 else "--detector mtcnn"
        found.append(
            f"landmarks: crops by {points_of(theirs)} points in training, by {points_of(ours)} here; a mouth sinks in the "
            f"crop as it opens with 68 points only: use {fix}"
        )
    ours, theirs = facts.get("variant"), preprocessing.get("variant")
    if ours and theirs and ours != theirs:
        found.append(f"crop: {theirs} in training, {ours} here: use --variant {theirs}")
    return found


def points_of(source: str) -> int:
    """By how many points a crop was cut, from the name of their source; a mesh is read as 68."""
    return 68 if source.endswith(("68", "468")) else 5
