"""The two branches, the pair that pre-training brings together, and the detector that fine-tuning makes of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn.functional import normalize

from av_deepfake.models.audio import MelEncoder, WaveformEncoder
from av_deepfake.models.frontend import VideoFrontend
from av_deepfake.models.residual import Activation
from av_deepfake.models.transformer import Encoded, Pooling, Positions, TemporalEncoder

Compare = Literal["clip", "frames"]


class VideoBranch(nn.Module):
    """Mouth pictures -> features of the frames and of the clip.

    Args:
        channels, widths, blocks, activation, stem_pooling, grid: of the front-end (``VideoFrontend``).
        dim, depth, heads, mlp, dropout, positions, pooling, frames: of the encoder (``TemporalEncoder``).
    """

    def __init__(
        self,
        channels: int = 64,
        widths: Sequence[int] = (64, 128, 256, 512),
        blocks: Sequence[int] = (2, 2, 2, 2),
        dim: int = 512,
        depth: int = 6,
        heads: int = 8,
        mlp: int = 2048,
        dropout: float = 0.1,
        positions: Positions | None = "learned",
        pooling: Pooling = "mean",
        frames: int = 25,
        activation: Activation = "prelu",
        stem_pooling: bool = True,
        grid: int = 1,
    ) -> None:
        super().__init__()
        #: The arguments, as plain values: what a checkpoint stores.
        self.config: dict[str, Any] = {
            **{"channels": channels, "widths": list(widths), "blocks": list(blocks)},
            **{"dim": dim, "depth": depth, "heads": heads, "mlp": mlp, "dropout": dropout},
            **{"positions": positions, "pooling": pooling, "frames": frames, "activation": activation},
            **{"stem_pooling": stem_pooling, "grid": grid},
        }
        self.frontend = VideoFrontend(channels, widths, blocks, activation, stem_pooling, grid)
        self.encoder = TemporalEncoder(self.frontend.width, dim, depth, heads, mlp, dropout, positions, pooling, frames)

    def features(self, pictures: Tensor) -> Tensor:
        """Front-end alone: (B, 1, T, H, W) -> (B, T, C); what may be cached where it is frozen."""
        return self.frontend(pictures)

    def encode(self, features: Tensor, valid: Tensor | None = None) -> Encoded:
        """Encoder alone: (B, T, C) and the valid frames (B, T) -> frames (B, T, dim), clip (B, dim)."""
        return self.encoder(features, valid)

    def forward(self, pictures: Tensor, valid: Tensor | None = None) -> Encoded:
        """Encode clips.

        Args:
            pictures: (B, 1, T, H, W), normalised grey.
            valid: (B, T) bool; None: all frames.
        """
        return self.encode(self.features(pictures), valid)


class AudioBranch(nn.Module):
    """The sound of a clip -> features of its frames and of the clip; only pre-training and synchrony need it.

    Args:
        kind: ``mel`` (log-mel bands) or ``waveform`` (samples); the paper's is not known.
        widths, blocks: of the front-end.
        dim, depth, heads, mlp, dropout, positions, pooling, frames: of the encoder.
    """

    def __init__(
        self,
        kind: Literal["mel", "waveform"] = "mel",
        widths: Sequence[int] = (64, 128, 256, 512),
        blocks: Sequence[int] = (2, 2, 2, 2),
        dim: int = 512,
        depth: int = 6,
        heads: int = 8,
        mlp: int = 2048,
        dropout: float = 0.1,
        positions: Positions | None = "learned",
        pooling: Pooling = "mean",
        frames: int = 25,
    ) -> None:
        super().__init__()
        if kind not in ("mel", "waveform"):
            raise ValueError(f"audio kind {kind!r}: mel or waveform")
        #: The arguments, as plain values: what a checkpoint stores.
        self.config: dict[str, Any] = {
            **{"kind": kind, "widths": list(widths), "blocks": list(blocks)},
            **{"dim": dim, "depth": depth, "heads": heads, "mlp": mlp, "dropout": dropout},
            **{"positions": positions, "pooling": pooling, "frames": frames},
        }
        self.frontend = (MelEncoder if kind == "mel" else WaveformEncoder)(widths, blocks)
        self.encoder = TemporalEncoder(self.frontend.width, dim, depth, heads, mlp, dropout, positions, pooling, frames)

    def features(self, sound: Tensor) -> Tensor:
        """Front-end alone: (B, 1, 4T, 80) or (B, 1, 640 T) -> (B, T, widths[-1])."""
        return self.frontend(sound)

    def encode(self, features: Tensor, valid: Tensor | None = None) -> Encoded:
        """Encoder alone: (B, T, widths[-1]) and the valid frames (B, T) -> frames (B, T, dim), clip (B, dim)."""
        return self.encoder(features, valid)

    def forward(self, sound: Tensor, valid: Tensor | None = None) -> Encoded:
        """Encode the sound of clips.

        Args:
            sound: (B, 1, 4T, 80) log-mel bands, or (B, 1, 640 T) samples.
            valid: (B, T) bool, in video frames; None: all.
        """
        return self.encode(self.features(sound), valid)


class AudioVisual(nn.Module):
    """Both branches with their projections: rows of unit length that agree where picture and sound belong together.

    Args:
        video: arguments of ``VideoBranch``.
        audio: arguments of ``AudioBranch``.
        projection: length of the rows.
        compare: what a clip's row is: ``clip``, the projection of its pooled feature; ``frames``, the projections of its
            frames side by side, so that the score of a pair is the mean over the frames of their similarities. That is
            learnt in a tenth of the steps.
    """

    def __init__(
        self, video: Mapping[str, Any], audio: Mapping[str, Any], projection: int = 256, compare: Compare = "clip"
    ) -> None:
        super().__init__()
        if compare not in ("clip", "frames"):
            raise ValueError(f"compare {compare!r}: clip or frames")
        self.compare: Compare = compare
        self.video = VideoBranch(**video)
        self.audio = AudioBranch(**audio)
        self.video_projection = nn.Linear(self.video.config["dim"], projection)
        self.audio_projection = nn.Linear(self.audio.config["dim"], projection)

    def embed_video(self, pictures: Tensor, valid: Tensor | None = None) -> Encoded:
        """Unit rows of the frames, (B, T, P), and of the clip (see ``compare``), from one pass over pictures (B, 1, T, H, W)."""
        return self._rows(self.video, self.video_projection, pictures, valid)

    def embed_audio(self, sound: Tensor, valid: Tensor | None = None) -> Encoded:
        """Unit rows of the frames, (B, T, P), and of the clip (see ``compare``), from one pass over the sound."""
        return self._rows(self.audio, self.audio_projection, sound, valid)

    def forward(self, pictures: Tensor, sound: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Rows of the clips, video and audio: (B, P) each, (B, T P) where frames are compared."""
        return self.embed_video(pictures, valid).clip, self.embed_audio(sound, valid).clip

    def frames(self, pictures: Tensor, sound: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Rows of the frames, video and audio: (B, T, P) each."""
        return self.embed_video(pictures, valid).frames, self.embed_audio(sound, valid).frames

    def clip_rows(self, encoded: Encoded, projection: nn.Module, valid: Tensor | None = None) -> Tensor:
        """The unit rows that are compared, of what an encoder makes of clips."""
        if self.compare == "clip":
            return normalize(projection(encoded.clip), dim=-1)
        rows = normalize(projection(encoded.frames), dim=-1)
        if valid is not None:
            rows = rows * valid[:, :, None].to(rows)
        return normalize(rows.flatten(1), dim=-1)

    def _rows(
        self, branch: VideoBranch | AudioBranch, projection: nn.Module, x: Tensor, valid: Tensor | None
    ) -> Encoded:
        features = branch.features(x)
        clip = self.clip_rows(branch.encode(features, valid), projection, valid)
        # Frames leave before positions and layers: behind them, equal places alone would pair picture and sound.
        frames = branch.encoder.norm(branch.encoder.project(features))
        return Encoded(normalize(projection(frames), dim=-1), clip)


class Detector(VideoBranch):
    """A video branch with a linear head: one logit a clip, positive where it is forged. Arguments: ``VideoBranch``."""

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        self.head = nn.Linear(self.config["dim"], 1)

    def classify(self, features: Tensor, valid: Tensor | None = None) -> Tensor:
        """Encoder and head: features of the front-end (B, T, C) -> logits (B,)."""
        return self.head(self.encode(features, valid).clip).squeeze(1)

    def forward(self, pictures: Tensor, valid: Tensor | None = None) -> Tensor:  # pyright: ignore
        """(B, 1, T, H, W) normalised grey, and the valid frames (B, T) -> logits (B,), positive: fake."""
        return self.classify(self.features(pictures), valid)
