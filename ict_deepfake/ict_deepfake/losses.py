"""What ICT is trained with: the identity of both faces of both swaps, and the consistency of a person across the pair."""

from __future__ import annotations

import torch
from torch import Tensor

from ict_deepfake.margin import MarginHead
from ict_deepfake.models.ict import Embeddings
from ict_deepfake.scores import consistency


def consistency_loss(ba: Embeddings, ab: Embeddings) -> Tensor:
    """mean( ||f_a^in - f_a^out||^2 + ||f_b^in - f_b^out||^2 ), where the two faces of a person come from two pictures.

    Args:
        ba: of I_ba, with b's inner face in a's outer face.
        ab: of I_ab, the other way round.
    """
    return (consistency(ab.inner, ba.outer) + consistency(ba.inner, ab.outer)).mean()


def hinge_loss(ba: Embeddings, ab: Embeddings, swapped: Tensor, margin: float = 1.0) -> Tensor:
    """max(0, margin - ||f^in - f^out||^2) of each swapped picture: its two faces are to be at least that far apart.

    Args:
        ba, ab: as in ``consistency_loss``.
        swapped: (n,) truth values; pairs of one person count as 0.
        margin: a squared distance.
    """
    close = (margin - consistency(ba.inner, ba.outer)).clamp(min=0) + (margin - consistency(ab.inner, ab.outer)).clamp(
        min=0
    )
    return 0.5 * (close * swapped).mean()


def ict_loss(
    ba: Embeddings,
    ab: Embeddings,
    a: Tensor,
    b: Tensor,
    head: MarginHead,
    consistency_weight: float,
    hinge_weight: float = 0.0,
    margin: float | None = None,
    hinge_margin: float = 1.0,
) -> dict[str, Tensor]:
    """L = L_id + consistency_weight L_con + hinge_weight L_hinge, of n pairs.

    A pair of two genuine pictures of one person has a == b: all four labels and both consistency terms then hold as
    they stand, and the hinge leaves it out.

    Args:
        ba: embeddings of I_ba (inner face of b, outer face of a), n rows each.
        ab: embeddings of I_ab (inner face of a, outer face of b).
        a, b: (n,) identities, columns of the head.
        head: the margin softmax that all four embeddings share.
        consistency_weight: lambda.
        hinge_weight: of the optional term that pushes the two faces of a swapped picture apart.
        margin: of the head, where another one than its own is wanted (warm-up).
        hinge_margin: squared distance that the hinge asks for.

    Returns:
        ``identity``, ``consistency``, ``hinge`` (where it has a weight) and ``loss``, scalars.
    """
    embeddings = torch.cat([ba.inner, ba.outer, ab.inner, ab.outer])
    identity = head(embeddings, torch.cat([b, a, a, b]), margin).mean()
    terms = {"identity": identity, "consistency": consistency_loss(ba, ab)}
    loss = identity + consistency_weight * terms["consistency"]
    if hinge_weight:
        terms["hinge"] = hinge_loss(ba, ab, a != b, hinge_margin)
        loss = loss + hinge_weight * terms["hinge"]
    return {**terms, "loss": loss}
