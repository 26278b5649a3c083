"""What pre-training minimises: paired clips close, unpaired clips diverse. All in float32 or wider, on gathered batches."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from shared_utils import distributed


class Temperature(nn.Module):
    """A learned temperature tau = exp(-t), never below 0.01 (a scale of 100): below it half precision overflows.

    Args:
        initial: tau at the start.
    """

    def __init__(self, initial: float = 0.07) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(-math.log(initial)))

    def forward(self) -> Tensor:
        return (-self.log_scale.clamp(max=math.log(100.0))).exp()


class Queue(nn.Module):
    """Rows of earlier batches, as further negatives: what a momentum encoder made of them (MoCo).

    Args:
        size: rows that are kept; the oldest go first.
        dim: length of a row.
    """

    video: Tensor
    audio: Tensor
    ids: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("video", torch.zeros(0, dim))
        self.register_buffer("audio", torch.zeros(0, dim))
        self.register_buffer("ids", torch.zeros(0, dtype=torch.long))

    @torch.no_grad()
    def push(self, video: Tensor, audio: Tensor, ids: Tensor) -> None:
        """Add the rows of a batch, (n, d) each, and which videos (n,) they are of; all ranks' rows, on every rank."""
        for name, rows in (
            ("video", normalize(_wide(video), dim=1)),
            ("audio", normalize(_wide(audio), dim=1)),
            ("ids", ids),
        ):
            held = torch.cat([getattr(self, name), distributed.gather(rows.detach()).to(getattr(self, name))])
            setattr(self, name, held[-self.size :])

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *arguments: object) -> None:
        # How many rows there are depends on when the checkpoint was written.
        for name in ("video", "audio", "ids"):
            if (stored := state_dict.get(prefix + name)) is not None:
                setattr(self, name, stored.clone().to(getattr(self, name)))
        super()._load_from_state_dict(state_dict, prefix, *arguments)  # type: ignore[arg-type]


@torch.no_grad()
def follow(momentum: nn.Module, online: nn.Module, rate: float = 0.999) -> None:
    """Move a momentum encoder towards the one that is trained: p <- rate p + (1 - rate) p_online; buffers are copied."""
    for slow, fast in zip(momentum.parameters(), online.parameters(), strict=True):
        slow.lerp_(fast.detach().to(slow), 1 - rate)
    for slow, fast in zip(momentum.buffers(), online.buffers(), strict=True):
        slow.copy_(fast)


def symmetric_infonce(
    video: Tensor,
    audio: Tensor,
    temperature: float | Tensor,
    shifted: Tensor | None = None,
    gather: bool = True,
    ids: Tensor | None = None,
    queue: Queue | None = None,
) -> Tensor:
    """L = 1/2 [ CE(S, i) + CE(S^T, i) ], S = V A^T / temperature, rows of unit length.

    Args:
        video, audio: (n, d); row i of both is one clip. They are normalised here.
        temperature: tau.
        shifted: (n, k, d), the sound of the same videos at other times (0.4 s away or more): further audio columns, so
            that neither voice nor room is enough to find the right one.
        gather: negatives are the clips of all ranks, with gradients to the ranks that own them.
        ids: (n,) integers, which video a clip is of: two clips of one video are not each other's negatives. None: all
            clips are of different videos.
        queue: rows of earlier batches, as further columns on both sides.

    Returns:
        A scalar: float64 where the rows are, else float32, whatever autocast says.
    """
    with torch.autocast(video.device.type, enabled=False):
        video, audio = normalize(_wide(video), dim=1), normalize(_wide(audio), dim=1)
        shifted = None if shifted is None else normalize(_wide(shifted), dim=2)
        if gather:
            video, audio = distributed.gather(video), distributed.gather(audio)
            shifted = None if shifted is None else distributed.gather(shifted)
            ids = None if ids is None else distributed.gather(ids)
        target = torch.arange(len(video), device=video.device)
        # Without ids every clip has a number of its own, below zero: none of the queue's.
        videos: Tensor = target - len(target) if ids is None else ids
        own = (videos[:, None] == videos) & (target[:, None] != target)
        columns, rows, masked = [audio], [video], [own]
        if queue is not None and len(queue.ids):
            columns, rows = [*columns, queue.audio.to(audio)], [*rows, queue.video.to(video)]
            masked = [*masked, videos[:, None] == queue.ids]
        backward = (audio @ torch.cat(rows).T / temperature).masked_fill(torch.cat(masked, 1), -torch.inf)
        if shifted is not None:
            more: Tensor = shifted
            columns = [*columns, more.flatten(0, 1)]
            # A shifted window of another clip of the same video may lie on this very one: only those of the clip itself.
            masked = [*masked, own.repeat_interleave(more.shape[1], 1)]
        forward = (video @ torch.cat(columns).T / temperature).masked_fill(torch.cat(masked, 1), -torch.inf)
        return (cross_entropy(forward, target) + cross_entropy(backward, target)) / 2


def frame_infonce(video: Tensor, audio: Tensor, temperature: float | Tensor, valid: Tensor | None = None) -> Tensor:
    """The same loss between the frames of each clip: frame t of the picture belongs to frame t of the sound.

    Args:
        video, audio: (n, T, d); normalised here.
        temperature: tau.
        valid: (n, T) bool, the frames that count; None: all.

    Returns:
        A scalar, the mean over the valid frames; 0 where there is none.
    """
    with torch.autocast(video.device.type, enabled=False):
        video, audio = normalize(_wide(video), dim=2), normalize(_wide(audio), dim=2)
        scores = video @ audio.transpose(1, 2) / temperature
        target = torch.arange(scores.shape[1], device=scores.device).expand(scores.shape[:2])
        counted: Tensor = torch.ones_like(target, dtype=torch.bool) if valid is None else valid
        # Frames that do not count are no columns; their own rows are left out below.
        scores = scores.masked_fill(~(counted[:, :, None] & counted[:, None]), -1e4)
        both = [
            cross_entropy(side.flatten(0, 1), target.flatten(), reduction="none")
            for side in (scores, scores.transpose(1, 2))
        ]
        weight = counted.flatten().to(scores)
        return ((both[0] + both[1]) / 2 * weight).sum() / weight.sum().clamp(min=1)


@torch.no_grad()
def retrieval(video: Tensor, audio: Tensor) -> dict[str, float]:
    """How often the most similar sound is the right one, and the other way round.

    Args:
        video, audio: (n, d); row i of both is one clip.

    Returns:
        ``top1_va`` and ``top1_av``, shares of n.
    """
    scores = normalize(_wide(video), dim=1) @ normalize(_wide(audio), dim=1).T
    target = torch.arange(len(scores), device=scores.device)
    return {
        "top1_va": float((scores.argmax(1) == target).float().mean()),
        "top1_av": float((scores.argmax(0) == target).float().mean()),
    }


@torch.no_grad()
def collapse(rows: Tensor) -> dict[str, float]:
    """Numbers that show whether all clips are given the same few rows.

    Args:
        rows: (n, d).

    Returns:
        ``spread``: the mean standard deviation of a coordinate times sqrt(d): 1 for rows spread over the sphere, 0 for
        equal ones. ``rank``: exp of the entropy of the singular values' shares, the number of directions in use.
        ``similarity``: the mean cosine between different rows.
    """
    rows = normalize(_wide(rows), dim=1)
    count, dim = rows.shape
    values = torch.linalg.svdvals(rows - rows.mean(0))
    shares = values / values.sum().clamp(min=1e-12)
    cosine = (rows.sum(0).square().sum() - count) / max(count * (count - 1), 1)
    return {
        "spread": float(rows.std(0, correction=0).mean() * dim**0.5),
        "rank": float(torch.special.entr(shares).sum().exp()),
        "similarity": float(cosine),
    }


def _wide(rows: Tensor) -> Tensor:
    return rows if rows.dtype == torch.float64 else rows.float()
