"""Margin softmax: the classifier of identities that inner and outer embeddings share (ArcFace, CosFace, Partial FC)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from shared_utils import UserError, distributed

Kind = Literal["cosface", "arcface"]
# The gradient of sqrt(1 - cos^2) is infinite at an angle of zero.
_SMALLEST_SQUARED_SINE = 1e-12


class MarginHead(nn.Module):
    """Scaled cosines to class centres, with the true class made harder by a margin; in float32.

    ``cosface``: cos(theta) - m. ``arcface``: cos(theta + m) up to theta = pi - m, cos(theta) - m sin(m) beyond.

    Args:
        kind: which of the two.
        dim: length of the embeddings.
        classes: number of identities.
        scale: s, of all cosines.
        margin: m; a call may give another one.
        sample: share of the classes that a training step compares with (Partial FC): those of the batch, and others drawn
            anew each step, the same ones in every process.

    Attributes:
        kernel: (dim, classes), a centre each column; its length does not matter.
    """

    steps: Tensor

    def __init__(
        self, kind: Kind, dim: int, classes: int, scale: float = 64.0, margin: float = 0.35, sample: float = 1.0
    ) -> None:
        super().__init__()
        if kind not in ("cosface", "arcface"):
            raise UserError(f"a margin of kind {kind!r} is not known: use cosface or arcface")
        if classes < 1 or not 0 < sample <= 1:
            raise UserError(f"a head of {classes} classes, of which a share of {sample} is compared, cannot be built")
        self.kind, self.scale, self.margin, self.sample = kind, scale, margin, sample
        self.kernel = nn.Parameter(normalize(torch.randn(dim, classes), dim=0))
        if sample < 1:
            # The draw of a step depends on its number alone, so that it resumes and is the same everywhere.
            self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    @property
    def classes(self) -> int:
        return self.kernel.shape[1]

    def logits(
        self, embeddings: Tensor, labels: Tensor, margin: float | None = None, kernel: Tensor | None = None
    ) -> Tensor:
        """Scaled cosines with the margin taken off the true class.

        Args:
            embeddings: (n, dim) unit rows.
            labels: (n,) columns of the kernel.
            margin: instead of the head's own.
            kernel: (dim, c) instead of all classes.

        Returns:
            (n, c) float32.
        """
        margin = self.margin if margin is None else margin
        centres = normalize((self.kernel if kernel is None else kernel).float(), dim=0)
        cosines = (embeddings.float() @ centres).clamp(-1, 1)
        true = cosines.gather(1, labels[:, None])
        if self.kind == "cosface":
            harder = true - margin
        else:
            sines = (1 - true.square()).clamp(min=_SMALLEST_SQUARED_SINE).sqrt()
            harder = true * math.cos(margin) - sines * math.sin(margin)
            harder = torch.where(true > math.cos(math.pi - margin), harder, true - margin * math.sin(margin))
        return self.scale * cosines.scatter(1, labels[:, None], harder)

    def forward(self, embeddings: Tensor, labels: Tensor, margin: float | None = None) -> Tensor:
        """The cross entropy of each row.

        Args:
            embeddings: (n, dim) unit rows.
            labels: (n,) identities in 0..classes-1.
            margin: instead of the head's own, as while it is warmed up.

        Returns:
            (n,) float32.
        """
        if not self.training or self.sample == 1:
            return cross_entropy(self.logits(embeddings, labels, margin), labels, reduction="none")
        chosen = self._draw(labels)
        columns = torch.searchsorted(chosen, labels)
        logits = self.logits(embeddings, columns, margin, self.kernel[:, chosen])
        return cross_entropy(logits, columns, reduction="none")

    def _draw(self, labels: Tensor) -> Tensor:
        """The classes of this step, ascending: those of every process's batch, and as many others as there is room for."""
        present = distributed.gather(labels).unique()
        generator = torch.Generator().manual_seed(int(self.steps))
        self.steps += 1
        others = torch.randperm(self.classes, generator=generator).to(labels.device)
        others = others[~torch.isin(others, present)]
        room = max(round(self.sample * self.classes) - len(present), 0)
        return torch.cat([present, others[:room]]).sort().values


def build_head(
    kind: Kind, dim: int, classes: int, scale: float = 64.0, margin: float = 0.35, sample: float = 1.0
) -> MarginHead:
    """A ``MarginHead``; s = 64, m = 0.35 suit large sets of identities, s = 16, m = 0.2 small ones."""
    return MarginHead(kind, dim, classes, scale, margin, sample)
