"""Pre-training: paired picture and sound close, unpaired ones diverse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from av_deepfake.losses import Queue, Temperature, collapse, frame_infonce, retrieval, symmetric_infonce
from av_deepfake.models.branches import AudioVisual
from av_deepfake.models.transformer import Encoded
from av_deepfake.objective.recipe import normalised
from shared_utils import UserError


class TalkingBatch(NamedTuple):
    """n talking clips of n different videos.

    pictures: (n, t, s, s) uint8. sound: (n, 1 + k, 4 t, 80) log-mel, the clip's own first, then k windows of the same
    video at other times. video: (n,) int64, which videos they are.
    """

    pictures: Tensor
    sound: Tensor
    video: Tensor


@dataclass(frozen=True)
class Agreement:
    """The loss of a step. The paper states the idea only; all values are ours.

    Args:
        temperature: tau; where it is learned, its start.
        learned: tau is a parameter, never below 0.01.
        frame_weight: of the term that compares the frames of a clip.
        queue: rows of earlier batches that are negatives too, made by a momentum encoder; 0: none.
        momentum: of that encoder.
    """

    temperature: float = 0.07
    learned: bool = False
    frame_weight: float = 0.0
    queue: int = 0
    momentum: float = 0.99

    def __post_init__(self) -> None:
        if self.temperature < 0.01 or self.frame_weight < 0 or self.queue < 0 or not 0 <= self.momentum < 1:
            raise UserError(
                "model.objective: a temperature is 0.01 or more, frame_weight and queue 0 or more, a momentum in 0..1; got "
                f"{self.temperature}, {self.frame_weight}, {self.queue}, {self.momentum}"
            )

    def embed(
        self, model: AudioVisual, batch: TalkingBatch, mean: float, std: float
    ) -> tuple[Encoded, Encoded, Tensor]:
        """Rows of the pictures, of their own sound, and of the shifted sound (n, k, P)."""
        n, windows = batch.sound.shape[:2]
        video = model.embed_video(normalised(batch.pictures, mean, std))
        audio = model.embed_audio(batch.sound.flatten(0, 1).unsqueeze(1))
        frames, clips = audio.frames.unflatten(0, (n, windows)), audio.clip.unflatten(0, (n, windows))
        return video, Encoded(frames[:, 0], clips[:, 0]), clips[:, 1:]

    def terms(
        self,
        model: AudioVisual,
        batch: TalkingBatch,
        mean: float = 0.421,
        std: float = 0.165,
        temperature: Temperature | None = None,
        queue: Queue | None = None,
    ) -> dict[str, Tensor]:
        """The terms of a step, ``loss`` among them.

        Args:
            model: both branches.
            batch: of talking clips.
            mean, std: of the pictures.
            temperature: the learned one.
            queue: of earlier rows.
        """
        video, audio, shifted = self.embed(model, batch, mean, std)
        tau = self.temperature if temperature is None else temperature()
        more = shifted if shifted.shape[1] else None
        loss = symmetric_infonce(video.clip, audio.clip, tau, more, ids=batch.video, queue=queue)
        found = {"contrast": loss.detach()}
        if self.frame_weight:
            frames = frame_infonce(video.frames, audio.frames, tau)
            found["frames"] = frames.detach()
            loss = loss + self.frame_weight * frames
        numbers = {**retrieval(video.clip, audio.clip), "spread": collapse(video.clip)["spread"]}
        return {"loss": loss, **found, **{name: torch.tensor(value) for name, value in numbers.items()}}
