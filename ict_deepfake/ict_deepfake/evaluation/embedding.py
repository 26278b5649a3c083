"""A clip under every degradation, embedded: one part of the job of an evaluation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from ict_deepfake import degradations
from ict_deepfake.data.test_sets import Clip
from ict_deepfake.evaluation.looking import Look
from ict_deepfake.models.ict import Embeddings
from ict_deepfake.pretrained import Detector
from shared_utils import UserError

CLEAN, VIDEO = "clean", "video"
LEVELS = (1, 2, 3, 4, 5)
_BATCH = 64


class Suspects(Protocol):
    """What is evaluated: clips by the name of their part."""

    clips: dict[str, Clip]

    @property
    def name(self) -> str: ...

    def facts(self) -> dict[str, object]: ...

    def look(self, part: str) -> Look: ...


def changes(degrade: str | None) -> list[str]:
    """The degradations that are asked for, as "KIND/LEVEL", the clean set first.

    Args:
        degrade: None, "all", or kinds with commas between.

    Raises:
        UserError: a kind is not known.
    """
    if degrade is None:
        return [CLEAN]
    known = [*degradations.KINDS, VIDEO]
    kinds = known if degrade == "all" else [kind.strip() for kind in degrade.split(",")]
    for kind in kinds:
        if kind not in known:
            raise UserError(f"--degrade {kind!r} is not known: use all, or of {', '.join(known)}")
    return [CLEAN, *(f"{kind}/{level}" for kind in kinds for level in LEVELS)]


def embed(suspects: Suspects, part: str, detector: Detector, wanted: Sequence[str], seed: int) -> dict[str, Any]:
    """What is kept of a clip: numbers of its faces, and both embeddings of each under every change.

    Args:
        suspects: the set.
        part: name of the clip's part.
        detector: of the embeddings.
        wanted: of ``changes``.
        seed: of the degradations, besides the clip's name.
    """
    look = suspects.look(part)
    found: dict[str, Any] = {
        "frames": np.array(look.frames, np.int64),
        "tracks": np.array(look.tracks, np.int64),
        "digests": np.array([each.digest for each in look.hashes], str),
        "near": np.array([each.near for each in look.hashes], str),
        "no_face": look.no_face,
        "frames_seen": look.frames_seen,
        "unreadable": json.dumps(look.unreadable),
        "cues": json.dumps(look.cues),
    }
    for change in wanted:
        rows = detector.embed(_changed(look.crops, change, part, seed), _BATCH)
        found[f"inner.{change}"], found[f"outer.{change}"] = rows.inner.numpy(), rows.outer.numpy()
    return found


def _changed(crops: list[np.ndarray], change: str, part: str, seed: int) -> list[np.ndarray]:
    if change == CLEAN or not crops:
        return crops
    kind, level = change.split("/")
    if kind == VIDEO:
        return list(degradations.compress_video(crops, int(level)))
    return [
        degradations.degrade(crop, kind, int(level), degradations.picture_rng(seed, f"{part}/{change}/{number}"))
        for number, crop in enumerate(crops)
    ]


def embeddings_of(part: dict[str, np.ndarray], change: str) -> Embeddings:
    """Of a part that was kept."""
    import torch

    return Embeddings(torch.from_numpy(part[f"inner.{change}"]), torch.from_numpy(part[f"outer.{change}"]))
