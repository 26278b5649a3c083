"""What a training step minimises, and how its terms come in: margin and consistency are not there from the beginning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from ict_deepfake.losses import ict_loss
from ict_deepfake.margin import MarginHead, build_head
from ict_deepfake.models.binary import BinaryNetwork
from ict_deepfake.models.ict import ICT, Embeddings
from shared_utils import UserError, distributed


class PairBatch(NamedTuple):
    """n pairs of pictures.

    ba: (n, 3, s, s) uint8, the inner face of b in the outer face of a. ab: the other way round. a, b: (n,) identities.
    swapped: (n,) bool; a pair that is not is a genuine picture of a and one of b. ICT sees two of one person (a == b), the
    control the pictures that it sees swapped as well.
    """

    ba: Tensor
    ab: Tensor
    a: Tensor
    b: Tensor
    swapped: Tensor

    def pictures(self) -> Tensor:
        """All 2 n pictures as the network reads them, I_ba first."""
        return normalised(torch.cat([self.ba, self.ab]))


def normalised(pictures: Tensor) -> Tensor:
    """uint8 (n, 3, s, s) -> float32, (v / 255 - 0.5) / 0.5."""
    return pictures.float().div_(127.5).sub_(1.0)


def halves(embeddings: Embeddings) -> tuple[Embeddings, Embeddings]:
    """Embeddings of 2 n pictures as those of I_ba and of I_ab."""
    n = len(embeddings.inner) // 2
    inner, outer = embeddings
    return Embeddings(inner[:n], outer[:n]), Embeddings(inner[n:], outer[n:])


@dataclass(frozen=True)
class Objective:
    """Identity loss with a margin, and consistency across the pair.

    With all terms from the first step, all embeddings fall onto one point, which is consistent; so identities come first.

    Args:
        head: cosface or arcface.
        scale: of its cosines.
        margin: of the true class.
        sample: share of the classes that a step compares with (Partial FC).
        consistency: lambda, the weight of the consistency loss.
        hinge: weight of the term that pushes the two faces of a swapped picture apart.
        hinge_margin: squared distance that the hinge asks for.
        margin_ramp: share of the training over which the margin rises from 0.
        consistency_start: share of the training before which lambda is 0.
        consistency_full: share of the training from which lambda has its value; it rises linearly in between.
    """

    head: Literal["cosface", "arcface"] = "cosface"
    scale: float = 64.0
    margin: float = 0.35
    sample: float = 1.0
    consistency: float = 1.0
    hinge: float = 0.0
    hinge_margin: float = 1.0
    margin_ramp: float = 0.4
    consistency_start: float = 0.25
    consistency_full: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.consistency_start <= self.consistency_full <= 1:
            raise UserError(
                f"consistency_start {self.consistency_start} and consistency_full {self.consistency_full} are shares of the "
                "training, 0..1, the start first"
            )
        if self.consistency < 0 or self.hinge < 0:
            raise UserError("the weights consistency and hinge are 0 or more")

    def build_head(self, dim: int, classes: int) -> MarginHead:
        """The head of the identities."""
        return build_head(self.head, dim, classes, self.scale, self.margin, self.sample)

    def margin_at(self, share: float) -> float:
        """The margin when a share of the training is done."""
        return self.margin * (1.0 if self.margin_ramp <= 0 else min(1.0, share / self.margin_ramp))

    def consistency_at(self, share: float) -> float:
        """Lambda when a share of the training is done."""
        if share < self.consistency_start:
            return 0.0
        span = self.consistency_full - self.consistency_start
        return self.consistency * (1.0 if span <= 0 else min(1.0, (share - self.consistency_start) / span))

    def ict(self, model: ICT, head: nn.Module, batch: PairBatch, share: float) -> tuple[dict[str, Tensor], Embeddings]:
        """The terms of a step, ``loss`` among them, and the embeddings of all 2 n pictures, I_ba first."""
        assert isinstance(head, MarginHead)
        embeddings = model(batch.pictures())
        ba, ab = halves(embeddings)
        weight, margin = self.consistency_at(share), self.margin_at(share)
        terms = ict_loss(ba, ab, batch.a, batch.b, head, weight, self.hinge, margin, self.hinge_margin)
        return terms, embeddings


def binary_loss(model: BinaryNetwork, batch: PairBatch) -> dict[str, Tensor]:
    """The control: is a picture swapped? Cross entropy over all 2 n pictures, and the share that is right."""
    logits = model(batch.pictures())
    swapped = batch.swapped.float().repeat(2)
    right = ((logits > 0) == (swapped > 0.5)).float().mean()
    return {"loss": binary_cross_entropy_with_logits(logits, swapped), "accuracy": right}


@torch.no_grad()
def spread(embeddings: Embeddings, batch: PairBatch) -> Tensor:
    """Mean squared distance between the inner faces of different identities: near 0 when all have collapsed.

    Over the batches of all processes, so that they all come to the same number.
    """
    identity = distributed.gather(torch.cat([batch.b, batch.a]))
    inner = distributed.gather(embeddings.inner.float())
    squared = torch.cdist(inner, inner).square()
    other = identity[:, None] != identity
    return (squared * other).sum() / other.sum().clamp(min=1)


@torch.no_grad()
def identity_accuracy(head: MarginHead, embeddings: Embeddings, batch: PairBatch) -> tuple[Tensor, Tensor]:
    """Share of the inner and of the outer faces whose nearest class centre is their own, without a margin."""
    inner, outer = torch.cat([batch.b, batch.a]), torch.cat([batch.a, batch.b])
    return tuple(  # pyright: ignore[reportReturnType]
        (head.logits(rows.float(), labels, 0.0).argmax(1) == labels).float().mean()
        for rows, labels in ((embeddings.inner, inner), (embeddings.outer, outer))
    )
