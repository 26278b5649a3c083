"""Is a person found again after a gap: a crop of a track against all crops of its video some frames later."""

from __future__ import annotations

import numpy as np
import torch

from luperson_nl.retrieval.distances import Cosine, chunks
from luperson_nl.retrieval.features import Features
from luperson_nl.retrieval.ranks import ranks
from luperson_nl.retrieval.scores import Scores, Totals
from shared_utils import UserError

_NONE_DROPPED = np.array([], dtype=np.int64)


def reassociate(
    features: Features, gap: int = 30, chunk: int | None = None, device: str | torch.device = "cpu", max_rank: int = 50
) -> Scores:
    """Scores of every crop as a query; its gallery is all crops of the same video from ``gap`` frames later on.

    Args:
        features: with ``frame``; ``video`` where a camera has more than one. Crops with the id -1 are never queries.
        gap: frames.
        chunk: queries at a time.
        device: where products of features are computed.
        max_rank: length of the CMC.

    Raises:
        UserError: no numbers of frames are known, or nobody is seen again after the gap.
    """
    frame = check_frames(features)
    features = features.normalised()
    video = features.camera if features.video is None else features.video
    totals = Totals(len(features), "fastreid", max_rank)
    for number in np.unique(video):
        rows = np.flatnonzero(video == number)
        rows = rows[np.argsort(frame[rows], kind="stable")]
        _add_video(totals, features, rows, gap, chunk, device)
    scores = totals.scores()
    if not scores.valid:
        raise UserError(f"nobody is seen again {gap} frames or more after any picture: give a smaller --gap")
    return scores


def check_frames(features: Features) -> np.ndarray:
    """The frame of every picture.

    Raises:
        UserError: it is not known of each.
    """
    if features.frame is None or (features.frame < 0).any():
        raise UserError(
            "re-association needs the frame of every picture: names as 0002_c1s1_000451_03.jpg, a store of build_dataset, "
            "or an array 'frame' beside the features"
        )
    return features.frame


def _add_video(
    totals: Totals,
    features: Features,
    rows: np.ndarray,
    gap: int,
    chunk: int | None,
    device: str | torch.device,
) -> None:
    """Add the crops of one video, in the order of their frames."""
    assert features.frame is not None
    pid, frame = features.pid[rows], features.frame[rows]
    later = np.searchsorted(frame, frame + gap)
    by_person = np.argsort(pid, kind="stable")
    persons = pid[by_person]
    first, last = np.searchsorted(persons, pid), np.searchsorted(persons, pid, "right")
    array = features.array[rows]
    distances = Cosine(array, array, device)
    for part in chunks(len(rows), len(rows), chunk):
        for query, row in enumerate(distances.of(part), part.start):
            members = by_person[first[query] : last[query]]
            matches = members[members >= later[query]] - later[query]
            if len(matches) and pid[query] != -1:
                totals.add(int(rows[query]), ranks(row[later[query] :], matches, _NONE_DROPPED))
