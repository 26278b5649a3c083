"""A of a non-Cartesian scan, sample by sample: of the compressed time series, and of the whole one.

y[c, n, j] = (HW)^{-1/2} sum_r S_c(r) (sum_k V[n, k] x_k(r)) exp(-2 pi i k_{n,j} . r)
"""

from __future__ import annotations

import torch
from torch import nn

from mrf_unroll.nufft import Nufft
from mrf_unroll.operators.tensors import checked_maps, each_coil, exact, full_precision, with_other_maps


class SubspaceOperator(nn.Module):
    """A for a non-Cartesian, multi-coil scan of a compressed time series.

    Args:
        trajectory: (N, P, 2) (ky, kx) in cycles/pixel.
        basis: (N, s) V, real or complex.
        image_size: (H, W).
        coil_maps: (C, H, W), or (B, C, H, W) for maps of their own; None is one coil of sensitivity 1.
        dcf: (N, P) density weights W >= 0; None is no weighting.
        backend: of the transforms, see ``Nufft``.
    """

    trajectory: torch.Tensor
    basis: torch.Tensor
    coil_maps: torch.Tensor | None
    dcf: torch.Tensor | None

    def __init__(
        self,
        trajectory: torch.Tensor,
        basis: torch.Tensor,
        image_size: tuple[int, int],
        coil_maps: torch.Tensor | None = None,
        dcf: torch.Tensor | None = None,
        backend: str = "torch",
    ) -> None:
        super().__init__()
        if trajectory.ndim != 3 or trajectory.shape[2] != 2:
            raise ValueError(f"trajectory must be (N, P, 2), got {tuple(trajectory.shape)}")
        if basis.ndim != 2 or len(basis) != len(trajectory):
            raise ValueError(f"basis {tuple(basis.shape)} does not fit {len(trajectory)} frames: it must be (N, s)")
        if dcf is not None and dcf.shape != trajectory.shape[:2]:
            raise ValueError(f"dcf {tuple(dcf.shape)} does not fit the trajectory {tuple(trajectory.shape)}")
        self.image_size = (int(image_size[0]), int(image_size[1]))
        self.backend = backend
        self.register_buffer("trajectory", trajectory.detach().double(), persistent=False)
        self.register_buffer("basis", exact(basis.detach()), persistent=False)
        self.register_buffer("coil_maps", checked_maps(coil_maps, self.image_size), persistent=False)
        self.register_buffer("dcf", None if dcf is None else dcf.detach().double(), persistent=False)
        self._nufft: Nufft | None = None

    @property
    def rank(self) -> int:
        return self.basis.shape[1]

    @property
    def num_coils(self) -> int:
        return 1 if self.coil_maps is None else self.coil_maps.shape[-3]

    @property
    def nufft(self) -> Nufft:
        if self._nufft is None or self._device != self.trajectory.device:
            self._device = self.trajectory.device
            self._nufft = Nufft(self.trajectory.reshape(-1, 2), self.image_size, self._device, self.backend)
        return self._nufft

    def with_coil_maps(self, coil_maps: torch.Tensor | None) -> SubspaceOperator:
        """The same operator for other coil maps, sharing everything else."""
        return with_other_maps(self, coil_maps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A x, without weights: (B, s, H, W) -> (B, C, N, P) complex."""
        with torch.autocast(x.device.type, enabled=False):
            x = full_precision(x)
            frames, samples = self.trajectory.shape[:2]
            basis = self.basis.to(x.dtype)
            coils = []
            for maps in each_coil(self.coil_maps, x.dtype):
                values = self.nufft.forward(x if maps is None else x * maps)
                coils.append(torch.einsum("bknp,nk->bnp", values.unflatten(-1, (frames, samples)), basis))
            return torch.stack(coils, dim=1)

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        """A^H y: (B, C, N, P) -> (B, s, H, W) complex."""
        with torch.autocast(y.device.type, enabled=False):
            y = full_precision(y)
            basis = self.basis.to(y.dtype).conj()
            total = torch.zeros((), dtype=y.dtype, device=y.device)
            for coil, maps in enumerate(each_coil(self.coil_maps, y.dtype)):
                values = torch.einsum("bnp,nk->bknp", y[:, coil], basis).flatten(2)
                images = self.nufft.adjoint(values)
                images = images if maps is None else images * maps.conj()
                total = total + images
            return total

    def weighted(self, y: torch.Tensor) -> torch.Tensor:
        """W y."""
        return y if self.dcf is None else y * self.dcf.to(y.real.dtype)

    def weighted_adjoint(self, y: torch.Tensor) -> torch.Tensor:
        """A^H W y, the h of the iterative methods: (B, C, N, P) -> (B, s, H, W) complex."""
        return self.adjoint(self.weighted(y))

    def normal(self, x: torch.Tensor) -> torch.Tensor:
        """A^H W A x sample by sample, of the kind (real or complex) of x."""
        found = self.weighted_adjoint(self.forward(x))
        return found if x.is_complex() else found.real


class FrameOperator(nn.Module):
    """What a scanner samples of a whole time series X (B, N, H, W): frame n at its own samples alone, in every coil.

    The equation is that of A with V x in place of X.

    Args:
        trajectory, coil_maps: as in ``SubspaceOperator``.
    """

    trajectory: torch.Tensor
    coil_maps: torch.Tensor | None

    def __init__(
        self, trajectory: torch.Tensor, image_size: tuple[int, int], coil_maps: torch.Tensor | None = None
    ) -> None:
        super().__init__()
        self.image_size = (int(image_size[0]), int(image_size[1]))
        self.register_buffer("trajectory", trajectory.detach().double(), persistent=False)
        self.register_buffer("coil_maps", checked_maps(coil_maps, self.image_size), persistent=False)

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        """(B, N, H, W), real or complex -> (B, C, N, P) complex."""
        series = full_precision(series)
        maps = [1 if coil is None else coil[..., 0, :, :] for coil in each_coil(self.coil_maps, series.dtype)]
        frames = []
        for points, images in zip(self.trajectory, series.unbind(dim=1), strict=True):
            transform = Nufft(points, self.image_size, series.device)
            frames.append(transform.forward(torch.stack([images * coil for coil in maps], dim=1)))
        return torch.stack(frames, dim=2)
