"""The scales of a normal operator A^H W A: its norm, and the step that fits the data best."""

from __future__ import annotations

from collections.abc import Callable

import torch

Normal = Callable[[torch.Tensor], torch.Tensor]


@torch.no_grad()
def operator_norm(
    normal: Normal, shape: tuple[int, int, int], iterations: int = 20, dtype: torch.dtype = torch.float32, seed: int = 0
) -> float:
    """||A^H W A|| by power iterations from a seeded start; shape: (s, H, W). The scale by which A is normalised."""
    generator = torch.Generator().manual_seed(seed)
    device = next((buffer.device for buffer in getattr(normal, "buffers", tuple)()), torch.device("cpu"))
    x = torch.randn(1, *shape, generator=generator, dtype=dtype).to(device)
    norm = 0.0
    for _ in range(iterations):
        x = normal(x / torch.linalg.vector_norm(x))
        norm = float(torch.linalg.vector_norm(x))
        if norm == 0:
            return 0.0
    return norm


def least_squares_scale(h: torch.Tensor, normal: Normal) -> torch.Tensor:
    """(B,) argmin_a |a N h - h|, N = A^H W A: <h, N h> / |N h|^2; 0 where h is 0."""
    image = normal(h)
    top = (h.conj() * image).real.flatten(1).sum(dim=1)
    bottom = (image.conj() * image).real.flatten(1).sum(dim=1)
    return torch.where(bottom > 0, top / bottom.clamp(min=torch.finfo(bottom.dtype).tiny), torch.zeros_like(top))
