"""The control: a real/fake network on the same trunk, of equal size, trained on the same swaps."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ict_deepfake.models.transformer import TwoTokenTransformer


class BinaryNetwork(TwoTokenTransformer):
    """One logit a picture, positive = fake, read from both tokens.

    Args: those of ``TwoTokenTransformer``.
    """

    keeps_scale: ClassVar[bool] = True
    """With the published deviation, 1 to 3 % of a token's power would depend on the picture in a network of width 48,
    and this network would not learn; ICT learns better with it."""

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        self.head = nn.Linear(2 * self.config["embed_dim"], 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (n, 3, img_size, img_size), normalised as for ICT -> logits (n,)."""
        return self.head(torch.cat(self.tokens(pictures), 1)).squeeze(1)
