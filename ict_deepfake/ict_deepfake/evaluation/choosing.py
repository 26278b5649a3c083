"""What the evaluate command was asked to look at."""

from __future__ import annotations

from dataclasses import replace

from ict_deepfake import faces
from ict_deepfake.data.test_sets import TestSet, open_test_set
from ict_deepfake.data.test_sets.reading import Format
from ict_deepfake.evaluation.looking import ClipSuspects
from ict_deepfake.evaluation.people import PeopleSuspects
from ict_deepfake.pretrained import Detector
from ict_deepfake.procedural import Population
from shared_utils import UserError


def chosen(
    model: Detector,
    *,
    data: str | None,
    kind: Format | None,
    real: str | None,
    fake: str | None,
    split: str | None,
    compression: str,
    root_map: str | None,
    labels: str | None,
    masks: bool,
    finder: str,
    retinaface: str | None,
    landmarks: str | None,
    aligned: bool,
    min_size: int,
    device: str,
    frames: int,
    limit: int | None,
    seed: int,
) -> tuple[ClipSuspects | PeopleSuspects, list[str]]:
    """The suspects, and the files that are missing of the set; arguments as of the command.

    Raises:
        UserError: arguments that do not go together, or no such set.
    """
    if data is None and real is None and fake is None:
        if split not in (None, "validation", "test"):
            raise UserError(f"--split {split}: parametric people are validation or test")
        people = Population(seed, model.size)
        return PeopleSuspects(people, split or "test", model.alignment), []
    if aligned and landmarks is not None:
        raise UserError("--aligned pictures need no landmarks: leave one of the two out")
    meaning = _meanings(labels)
    roots = [] if root_map is None else root_map.split(",")
    found = open_test_set(
        data,
        kind,
        real=real,
        fake=fake,
        split=split or "test",
        compression=compression,
        root_map=roots,
        labels=meaning,
        masks=masks,
    )
    if masks and not any(clip.mask for clip in found.clips):
        raise UserError(f"--masks: {found.name} has none: leave it out, and all faces of a video are scored")
    if limit is not None:
        found = _limited(found, limit)
    if landmarks is not None:
        places = faces.landmark_file(landmarks)
    else:
        places = None if aligned else faces.detector(finder, min_size, retinaface, device)
    return ClipSuspects(found, places, model.alignment, frames), found.missing


def _meanings(labels: str | None) -> dict[str, int]:
    found = {}
    for each in labels.split(",") if labels else ():
        name, equals, value = each.partition("=")
        if not equals or value not in ("0", "1"):
            raise UserError(f"--labels {each!r}: give NAME=0 (real) or NAME=1 (fake)")
        found[name] = int(value)
    return found


def _limited(found: TestSet, limit: int) -> TestSet:
    kept, count = [], {}
    for clip in found.clips:
        count[clip.label] = count.get(clip.label, 0) + 1
        if count[clip.label] <= limit:
            kept.append(clip)
    return replace(found, clips=kept)
