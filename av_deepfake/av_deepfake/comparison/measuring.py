"""What a pair of branches knows: retrieval, offsets, and how well a straight line reads the articulation from it."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.linear_model import Ridge

from av_deepfake.comparison.training import embed, frame_features
from av_deepfake.data.mouths import ArrayMouths
from av_deepfake.losses import retrieval
from av_deepfake.models.branches import AudioVisual, VideoBranch
from av_deepfake.procedural import SPEAKERS, Mouths, Recordings

CLIP = 25
REACH = 10
"""Frames by which sound is looked for before and behind: 21 places."""


def agreement(model: AudioVisual, mouths: Mouths, galleries: tuple[int, int], timed: int) -> dict[str, float]:
    """Retrieval on the easy and the hard set, and offsets.

    Returns:
        ``easy_va``, ``easy_av``, ``hard_va``, ``hard_av``: top-1, picture to sound and sound to picture. ``easy_offset``,
        ``hard_offset``: share of the clips whose sound, moved by -5 to 5 frames, is found within one frame.
    """
    found: dict[str, float] = {}
    for kind, count in zip(("easy", "hard"), galleries, strict=True):
        clips = mouths.retrieval(kind, count)
        video, audio = embed(model, clips.pictures, _mel(clips))
        top = retrieval(video.clip, audio.clip)
        found |= {f"{kind}_va": top["top1_va"], f"{kind}_av": top["top1_av"]}
        # Other speakers than those of the retrieval sets.
        others = SPEAKERS["retrieval"][5000 : 5000 + timed]
        longer = mouths.recordings(others, 1, nuisance="clean" if kind == "easy" else "hard")
        found[f"{kind}_offset"] = float(np.mean(np.abs(offset_errors(model, longer)) <= 1))
    return found


def offset_errors(model: AudioVisual, recordings: Recordings) -> np.ndarray:
    """Frames by which the estimated offset is wrong, (n,): the sound is late by -5 to 5 frames."""
    source = ArrayMouths(recordings.pictures, recordings.sound)
    shifts = np.arange(len(recordings.pictures)) % 11 - 5
    errors = []
    for row, shift in enumerate(shifts):
        start = REACH - shift  # of the window of the picture; its sound lies at this place of 21
        picture = source.pictures(row, int(start), CLIP)[None]
        sounds = np.stack([source.mel(row, place, CLIP) for place in range(2 * REACH + 1)])
        video, audio = embed(model, picture, sounds)
        errors.append(int((audio.clip @ video.clip[0]).argmax()) - int(start))
    return np.array(errors)


def probes(branch: VideoBranch, mouths: Mouths, count: int) -> dict[str, float]:
    """R^2 of jaw and spread, read from the front-end's features of frames by ridge regression.

    Fitted to one half of the easy clips and measured on the other, whose speakers are others.
    """
    clips = mouths.retrieval("easy", count)
    features = frame_features(branch, clips.pictures).numpy()
    half = count // 8 * 4
    found = {}
    for name, truth in (("jaw", clips.jaw), ("spread", clips.spread)):
        model = Ridge(1.0).fit(features[:half].reshape(-1, features.shape[2]), truth[:half].ravel())
        found[name] = float(model.score(features[half:].reshape(-1, features.shape[2]), truth[half:].ravel()))
    return found


def _mel(clips: Recordings) -> np.ndarray:
    source = ArrayMouths(clips.pictures, clips.sound)
    return np.stack([source.mel(row, 0, CLIP) for row in range(len(clips.pictures))])


def shuffled_frames(pictures: np.ndarray, seed: int) -> np.ndarray:
    """Clips (n, t, s, s), the frames of each in a random order."""
    rng = np.random.default_rng([seed, 8])
    return np.stack([clip[rng.permutation(len(clip))] for clip in pictures])


def single_frames(pictures: np.ndarray) -> np.ndarray:
    """Clips in which every frame is the middle one."""
    return np.repeat(pictures[:, pictures.shape[1] // 2][:, None], pictures.shape[1], 1)


def similarities(model: AudioVisual, clips: Recordings) -> np.ndarray:
    """Cosines of pictures (rows) and sound (columns), (n, n)."""
    video, audio = embed(model, clips.pictures, _mel(clips))
    with torch.no_grad():
        return (video.clip @ audio.clip.T).numpy()
