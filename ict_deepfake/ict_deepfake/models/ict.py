"""The Identity Consistency Transformer: whose inner face and whose outer face a picture shows (section 3.1 of the paper)."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.functional import batch_norm, normalize

from ict_deepfake.models.transformer import TwoTokenTransformer
from shared_utils import distributed


class Embeddings(NamedTuple):
    """Unit rows (n, dim) of the inner and of the outer faces of n pictures."""

    inner: Tensor
    outer: Tensor


class SharedBatchNorm(nn.BatchNorm1d):
    """Batch norm over the rows of all processes, in float32; what one process would compute of all rows."""

    def forward(self, input: Tensor) -> Tensor:
        rows = input.float()
        if not self.training or distributed.world_size() == 1:
            return super().forward(rows)
        counts = distributed.gather_objects(rows.shape[0])
        start = sum(counts[: distributed.rank()])
        assert self.num_batches_tracked is not None and self.momentum is not None
        self.num_batches_tracked.add_(1)
        everyone = batch_norm(
            distributed.gather(rows),
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            True,
            self.momentum,
            self.eps,
        )
        return everyone[start : start + rows.shape[0]]


class ICT(TwoTokenTransformer):
    """Embeddings of the inner and of the outer face, normalised by one batch norm that both share.

    Args: those of ``TwoTokenTransformer``; the defaults are the published network.
    """

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        self.bn = SharedBatchNorm(self.config["embed_dim"])

    def embed_tokens(self, inner: Tensor, outer: Tensor) -> Embeddings:
        """The second half of ``forward``: tokens (n, dim) -> unit rows.

        In training the batch norm sees the inner tokens first, then the outer ones, as two batches.
        """
        return Embeddings(normalize(self.bn(inner)), normalize(self.bn(outer)))

    def forward(self, pictures: Tensor) -> Embeddings:
        """Pictures (n, 3, img_size, img_size), RGB, (v / 255 - 0.5) / 0.5 -> unit rows of inner and outer faces."""
        return self.embed_tokens(*self.tokens(pictures))
