"""Pre-training and detection in memory, as ``train`` does them, without what surrounds them there."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from av_deepfake.data.augmentation import Augmentation
from av_deepfake.data.mouths import ArrayMouths
from av_deepfake.data.talking import TalkingBatches
from av_deepfake.losses import frame_infonce, symmetric_infonce
from av_deepfake.models.branches import AudioVisual, Detector, VideoBranch
from av_deepfake.models.transformer import Encoded
from av_deepfake.objective import Agreement, Frozen, Recipe, Unfreeze, detection_loss, normalised, parameter_groups
from av_deepfake.procedural import Fakes, Recordings

_CHUNK, _PIXELS = 64, (0.421, 0.165)
_ENCODER: dict[str, Any] = {"dim": 48, "depth": 2, "heads": 4, "mlp": 96, "dropout": 0.0}
_FRONT: dict[str, Any] = {"channels": 8, "widths": [8, 16, 32], "blocks": [1, 1, 1], "stem_pooling": False, "grid": 3}
VIDEO = {**_FRONT, **_ENCODER}
AUDIO = {"widths": [8, 16, 32], "blocks": [1, 1, 1], **_ENCODER}
"""The networks of the default recipe."""


@dataclass(frozen=True)
class Pretraining:
    """How the branches are pre-trained.

    Args:
        steps: of them.
        batch_size: clips of a step.
        shifted: windows of the same video's sound that are negatives.
        shift_min: seconds that they are away at least.
        recipe: optimiser and schedule.
        objective: the loss: clips against clips, and the frames of a clip against each other.
    """

    steps: int = 200
    batch_size: int = 48
    shifted: int = 1
    shift_min: float = 0.4
    recipe: Recipe = field(default_factory=lambda: Recipe(3e-3, 0.01, 0.2))
    objective: Agreement = field(default_factory=lambda: Agreement(frame_weight=1.0))


@dataclass(frozen=True)
class Tuning:
    """How a detector is trained.

    Args:
        steps: of them.
        rate: at its highest.
        batch_size: clips of a step, half of them genuine.
        unfreeze: what is trained besides the head.
    """

    steps: int = 100
    rate: float = 1e-3
    batch_size: int = 32
    unfreeze: Unfreeze = "encoder"

    @property
    def recipe(self) -> Recipe:
        """Optimiser and schedule."""
        return Recipe(self.rate, 0.01, decay="linear")


class _Batches(TalkingBatches):
    """Whole batches also under torchrun, where every process has a training of its own."""

    def own(self) -> slice:
        return slice(0, self.batch_size)


class Trained(NamedTuple):
    """A network in evaluation mode, CPU seconds of its training, and the mean loss of each twentieth of it."""

    model: Any
    seconds: float
    losses: np.ndarray


def networks(seed: int, video: dict[str, Any] | None = None, audio: dict[str, Any] | None = None) -> AudioVisual:
    """Both branches with random weights; a pair's score compares the rows of its frames."""
    torch.manual_seed(seed)
    return AudioVisual(video or VIDEO, audio or AUDIO, _ENCODER["dim"], compare="frames")


def pretrain(recordings: Recordings, settings: Pretraining, seed: int, shuffled: bool = False) -> Trained:
    """Bring pictures and their own sound together.

    Args:
        recordings: what is learnt from.
        settings: how.
        seed: of the weights and of the order of the clips.
        shuffled: the control: everybody has the sound of another.
    """
    model = networks(seed)
    batches = _Batches(
        ArrayMouths(recordings.pictures, recordings.sound),
        settings.batch_size,
        recordings.pictures.shape[2],
        shifted=settings.shifted,
        shift_min=settings.shift_min,
        shuffled=shuffled,
        seed=seed,
    )

    objective = settings.objective

    def loss(number: int) -> Tensor:
        batch = batches[number]
        video, audio, others = objective.embed(model, batch, *_PIXELS)
        more = others if others.shape[1] else None
        clips = symmetric_infonce(video.clip, audio.clip, objective.temperature, more, gather=False, ids=batch.video)
        return clips + objective.frame_weight * frame_infonce(video.frames, audio.frames, objective.temperature)

    groups = settings.recipe.groups(model.parameters())
    seconds, losses = _descend(model, groups, settings.recipe, settings.steps, loss)
    return Trained(model.eval(), seconds, losses)


def detector(branch: VideoBranch, seed: int) -> Detector:
    """A detector that begins with the weights of a branch, and with a new head."""
    torch.manual_seed(seed)
    made = Detector(**branch.config)
    made.load_state_dict(branch.state_dict(), strict=False)
    return made


def tune(start: Detector, clips: Fakes, settings: Tuning, seed: int, features: Tensor | None = None) -> Trained:
    """Train a detector on genuine and forged clips, as many of both in every batch.

    Args:
        start: the network; it is changed.
        clips: what it is trained on.
        settings: how; flips are the only augmentation, of all methods alike.
        seed: of the order of the clips.
        features: (2, n, t, c) of a frozen front-end, of the clips and of their mirror images; None: computed in each step.
    """
    frozen = Frozen(start, settings.unfreeze)
    draws = np.random.default_rng([seed, 7])
    classes = [np.flatnonzero(clips.label == label) for label in (0, 1)]
    augmentation, half = Augmentation(), settings.batch_size // 2

    def loss(number: int) -> Tensor:
        rows = np.concatenate([draws.choice(each, half, replace=len(each) < half) for each in classes])
        flips = draws.random(len(rows)) < augmentation.flip
        if features is not None:
            logits = start.classify(features[torch.from_numpy(flips.astype(np.int64)), torch.from_numpy(rows)])
        else:
            pictures = clips.pictures[rows]
            pictures[flips] = pictures[flips][..., ::-1]
            logits = start(normalised(torch.from_numpy(pictures)))
        return detection_loss(logits, torch.from_numpy(clips.label[rows]))

    groups = parameter_groups(start, settings.recipe)
    seconds, losses = _descend(start, groups, settings.recipe, settings.steps, loss, frozen)
    return Trained(start.eval(), seconds, losses)


def _descend(model, groups, recipe: Recipe, steps: int, loss, frozen: Frozen | None = None) -> tuple[float, np.ndarray]:
    optimizer = recipe.optimizer(groups)
    schedule = LambdaLR(optimizer, lambda step: recipe.factor(step / steps))
    model.train()
    if frozen is not None:
        frozen.keep()
    losses, start = [], time.process_time()
    for number in range(steps):
        value = loss(number)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()
        losses.append(float(value.detach()))
    seconds = time.process_time() - start
    return seconds, np.array([float(np.mean(part)) for part in np.array_split(losses, min(20, steps))])


@torch.no_grad()
def frame_features(branch: VideoBranch, pictures: np.ndarray) -> Tensor:
    """Of the front-end in evaluation mode: (n, t, s, s) uint8 -> (n, t, c)."""
    branch.frontend.eval()
    return torch.cat([branch.features(normalised(torch.from_numpy(part))) for part in _chunks(pictures)])


@torch.no_grad()
def both_ways(branch: VideoBranch, pictures: np.ndarray) -> Tensor:
    """Features of clips and of their mirror images, (2, n, t, c): what ``tune`` takes."""
    return torch.stack([frame_features(branch, each) for each in (pictures, pictures[..., ::-1].copy())])


@torch.no_grad()
def logits(model: Detector, pictures: np.ndarray) -> np.ndarray:
    """Of clips (n, t, s, s) uint8: (n,), larger means fake."""
    return torch.cat([model(normalised(torch.from_numpy(part))) for part in _chunks(pictures)]).numpy()


@torch.no_grad()
def embed(model: AudioVisual, pictures: np.ndarray, mel: np.ndarray) -> tuple[Encoded, Encoded]:
    """Rows of the pictures (n, t, s, s) and of the log-mel (n, 4 t, 80), frames and clips."""
    video = [model.embed_video(normalised(torch.from_numpy(part))) for part in _chunks(pictures)]
    audio = [model.embed_audio(torch.from_numpy(part).unsqueeze(1)) for part in _chunks(mel)]
    return _joined(video), _joined(audio)


def _joined(parts: list[Encoded]) -> Encoded:
    return Encoded(*(torch.cat(rows) for rows in zip(*parts, strict=True)))


def _chunks(rows: np.ndarray) -> list[np.ndarray]:
    return [np.ascontiguousarray(rows[start : start + _CHUNK]) for start in range(0, len(rows), _CHUNK)]
