"""The Bloch decoder: a network in the place of the Bloch equations, from tissue maps to the compressed time series."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class BlochDecoder(nn.Module):
    """PD times a two-layer network of (T1, T2), voxel by voxel (PGD-Net, section 2.2).

    ``scale``, kept in the state dict, is the mean norm of the atoms that the network was trained on: the network
    itself deals in atoms of about unit norm, whatever the sequence. The published decoder has scale 1.

    Args:
        rank: components s of the compressed time series.
        hidden: width of the hidden layer (published: 300).
        complex_valued: the basis is complex (sequences with arbitrary pulse phases), so the output is too.
    """

    scale: Tensor

    def __init__(self, rank: int = 10, hidden: int = 300, complex_valued: bool = False) -> None:
        super().__init__()
        self.rank, self.hidden, self.complex_valued = rank, hidden, complex_valued
        outputs = 2 * rank if complex_valued else rank
        self.Conv = nn.Sequential(nn.Conv2d(2, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, outputs, 1))
        self.register_buffer("scale", torch.ones(()))

    def atoms(self, relaxation: Tensor) -> Tensor:
        """(B, 2, H, W) T1 and T2 in s -> (B, s, H, W), the time series at PD = 1."""
        components = self.scale * self.Conv(relaxation)
        if self.complex_valued:
            components = torch.complex(components[:, : self.rank], components[:, self.rank :])
        return components

    def forward(self, maps: Tensor) -> Tensor:
        """(B, 3, H, W) T1 [s], T2 [s], PD -> (B, s, H, W)."""
        return maps[:, 2:3] * self.atoms(maps[:, :2])
