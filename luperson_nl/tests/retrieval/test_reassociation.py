"""Finding a person again after a gap."""

import numpy as np
import pytest

from luperson_nl import retrieval
from luperson_nl.retrieval import Features
from shared_utils import UserError


def walk(seed=0, count=60):
    draw = np.random.default_rng(seed)
    numbers = {"pid": draw.integers(-1, 6, count), "camera": np.zeros(count, int)}
    numbers |= {"frame": draw.integers(0, 200, count), "video": draw.integers(0, 2, count)}
    return Features(draw.standard_normal((count, 5)).astype(np.float32), **numbers)


def test_the_gallery_is_what_the_video_shows_after_the_gap():
    crops = walk()
    unit = crops.normalised().array
    ap, first = [], []
    for q in range(60):
        later = np.flatnonzero((crops.video == crops.video[q]) & (crops.frame >= crops.frame[q] + 50))
        same = crops.pid[later] == crops.pid[q]
        if crops.pid[q] == -1 or not same.any():
            continue
        rank = np.flatnonzero(same[np.argsort(-unit[later] @ unit[q], kind="stable")]) + 1
        ap.append((np.arange(1, len(rank) + 1) / rank).mean())
        first.append(rank[0] == 1)
    scores = retrieval.reassociate(crops, gap=50, chunk=7)
    assert scores.valid == len(ap) and scores.mAP == pytest.approx(np.mean(ap))
    assert scores.cmc[0] == pytest.approx(np.mean(first))


def test_a_gap_that_nobody_returns_from_and_pictures_without_frames_are_errors():
    crops = walk()
    with pytest.raises(UserError, match=r"nobody is seen again 500 frames or more .* smaller --gap"):
        retrieval.reassociate(crops, gap=500)
    with pytest.raises(UserError, match="needs the frame of every picture"):
        retrieval.reassociate(Features(crops.array, crops.pid, crops.camera))
