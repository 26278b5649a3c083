"""A^H W A by FFTs alone: its cost does not depend on the number of frames or samples."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import nn

from mrf_unroll.arrays import load_arrays, require, write_arrays
from mrf_unroll.nufft import Nufft
from mrf_unroll.operators.subspace import SubspaceOperator
from mrf_unroll.operators.tensors import checked_maps, each_coil, exact, full_precision, with_other_maps

# Right-hand sides of one type-1 transform while kernels are built.
_TRANSFORMS = 11


class ToeplitzNormal(nn.Module):
    """A^H W A of a ``SubspaceOperator`` by convolution with s x s kernels on a grid of twice the size.

        (A^H W A x)_k = sum_c conj(S_c) crop[ IFFT( sum_l K_kl FFT( pad(S_c x_l) ) ) ]

    Make one with ``from_operator``.

    Args:
        kernels: (U, 2H, 2W) the spectra K_kl of the pairs k <= l, in the order of ``torch.triu_indices``; real for a
            real basis (K_lk = conj(K_kl)).
        rank: s.
        coil_maps: as in ``SubspaceOperator``.
    """

    kernels: torch.Tensor
    coil_maps: torch.Tensor | None

    def __init__(self, kernels: torch.Tensor, rank: int, coil_maps: torch.Tensor | None = None) -> None:
        super().__init__()
        if len(kernels) != rank * (rank + 1) // 2:
            raise ValueError(f"{len(kernels)} kernels do not fit rank {rank}: {rank * (rank + 1) // 2} are needed")
        self.rank = rank
        self.image_size = (kernels.shape[1] // 2, kernels.shape[2] // 2)
        self.register_buffer("kernels", kernels, persistent=False)
        self.register_buffer("coil_maps", checked_maps(coil_maps, self.image_size), persistent=False)
        self._half: torch.Tensor | None = None

    @classmethod
    def from_operator(cls, operator: SubspaceOperator, cache: KernelCache | None = None) -> ToeplitzNormal:
        """The normal operator of ``operator``; its kernels are those of the ``cache`` where it has been given them."""
        kernels = kernels_of(operator) if cache is None else cache.kernels_of(operator)
        return cls(kernels, operator.rank, operator.coil_maps).to(operator.trajectory.device)

    def with_coil_maps(self, coil_maps: torch.Tensor | None) -> ToeplitzNormal:
        """The same operator for other coil maps, sharing the kernels."""
        return with_other_maps(self, coil_maps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A^H W A x: (B, s, H, W) -> the same shape and kind (real or complex)."""
        with torch.autocast(x.device.type, enabled=False):
            return _SelfAdjoint.apply(full_precision(x, keep_real=True), self)

    def _apply_normal(self, x: torch.Tensor) -> torch.Tensor:
        if not x.is_complex() and self.coil_maps is None and not self.kernels.is_complex():
            return self._apply_real(x)
        kind = x if x.is_complex() else x.to(torch.complex128 if x.dtype == torch.float64 else torch.complex64)
        kernels = self.kernels if x.real.dtype == torch.float32 else exact(self.kernels)
        (height, width), total = self.image_size, torch.zeros((), dtype=kind.dtype, device=x.device)
        for maps in each_coil(self.coil_maps, kind.dtype):
            images = kind if maps is None else kind * maps
            lines = torch.fft.fft(torch.fft.fft(images, n=2 * width), n=2 * height, dim=-2)
            lines = torch.fft.ifft(_mix(kernels, lines, self.rank), dim=-2)[..., :height, :]
            images = torch.fft.ifft(lines)[..., :width]
            images = images if maps is None else images * maps.conj()
            total = total + images
        return total if x.is_complex() else total.real

    def _apply_real(self, x: torch.Tensor) -> torch.Tensor:
        """One coil, real images: the real part of the kernels does, and half of each spectrum."""
        if self._half is None or self._half.device != self.kernels.device:
            mirrored = torch.roll(self.kernels.flip((-2, -1)), (1, 1), (-2, -1))
            self._half = ((self.kernels + mirrored) / 2)[..., : self.image_size[1] + 1].contiguous()
        (height, width) = self.image_size
        kernels = self._half if x.dtype == torch.float32 else self._half.double()
        lines = torch.fft.fft(torch.fft.rfft(x, n=2 * width), n=2 * height, dim=-2)
        lines = torch.fft.ifft(_mix(kernels, lines, self.rank), dim=-2)[..., :height, :]
        return torch.fft.irfft(lines, n=2 * width)[..., :width]

    def offset_kernels(self) -> torch.Tensor:
        """(s, s, 2H, 2W) complex: T_kl(d) at offsets d from -H, -W; offset 0 at index (H, W)."""
        first, second = torch.triu_indices(self.rank, self.rank)
        spatial = torch.fft.fftshift(torch.fft.ifft2(self.kernels), dim=(-2, -1))
        both = spatial.new_zeros(self.rank, self.rank, *spatial.shape[1:])
        both[first, second] = spatial
        # T_lk(d) = conj(T_kl(-d)), which is what the conjugate spectrum gives.
        both[second, first] = torch.fft.fftshift(torch.fft.ifft2(self.kernels.conj()), dim=(-2, -1))
        return both


class _SelfAdjoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, operator):
        ctx.operator = operator
        return operator._apply_normal(x)

    @staticmethod
    def backward(ctx, gradient):
        return _SelfAdjoint.apply(gradient, ctx.operator), None


def _mix(kernels: torch.Tensor, spectra: torch.Tensor, rank: int) -> torch.Tensor:
    """sum_l K_kl X_l at every frequency, over the unique kernels."""
    mixed = torch.zeros_like(spectra)
    for kernel, (k, m) in zip(kernels, torch.triu_indices(rank, rank).T.tolist(), strict=True):
        mixed[:, k].addcmul_(kernel, spectra[:, m])
        if k != m:
            mixed[:, m].addcmul_(kernel.conj(), spectra[:, k])
    return mixed


def kernel_spectra(
    trajectory: torch.Tensor,
    basis: torch.Tensor,
    image_size: tuple[int, int],
    dcf: torch.Tensor | None = None,
    backend: str = "torch",
) -> torch.Tensor:
    """K_kl, k <= l: (U, 2H, 2W), float32 for a real basis, else complex64; computed in double precision.

    T_kl(d) = (HW)^{-1} sum_{n,j} w_{n,j} conj(V[n,k]) V[n,l] exp(+2 pi i k_{n,j} . d) by type-1 transforms of all
    samples; offsets -H and -W, which no pair of pixels has, are set to 0 so that T stays Hermitian.
    """
    height, width = image_size
    frames, samples = trajectory.shape[:2]
    rank = basis.shape[1]
    basis = exact(basis)
    transform = Nufft(trajectory.reshape(-1, 2), (2 * height, 2 * width), trajectory.device, backend)
    weight = trajectory.new_ones(frames, samples).double() if dcf is None else dcf.double()
    pairs = torch.triu_indices(rank, rank).T
    spectra = []
    with torch.no_grad():
        for part in pairs.split(_TRANSFORMS):
            values = (basis[:, part[:, 0]].conj() * basis[:, part[:, 1]]).T[:, :, None] * weight
            # The transform's own scale is that of a (2H, 2W) image.
            kernel = transform.adjoint(values.flatten(1)) / (transform.scale * height * width)
            kernel[:, 0] = 0
            kernel[:, :, 0] = 0
            spectrum = torch.fft.fft2(torch.fft.ifftshift(kernel, dim=(-2, -1)))
            spectra.append(spectrum.to(torch.complex64) if basis.is_complex() else spectrum.real.float())
    return torch.cat(spectra)


def kernels_of(operator: SubspaceOperator) -> torch.Tensor:
    """``kernel_spectra`` of an operator."""
    return kernel_spectra(operator.trajectory, operator.basis, operator.image_size, operator.dcf, operator.backend)


class KernelCache:
    """The kernels of the latest acquisition, for scans that share trajectory, basis, weights and image size.

    Building them is the longest step of a large reconstruction; coil maps have no part in them. One set is kept.

    Args:
        folder: where kernels are kept as files too, for later commands; their names are digests of the acquisition.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self._folder = None if folder is None else Path(folder)
        self._key: str | None = None
        self._kernels = torch.empty(0)

    def kernels_of(self, operator: SubspaceOperator) -> torch.Tensor:
        """The kernels of ``operator``, built where the last ones, and those in the folder, were of other acquisitions."""
        digest = hashlib.sha256(repr((operator.image_size, operator.backend)).encode())
        for tensor in (operator.trajectory, operator.basis, operator.dcf):
            digest.update(b"none" if tensor is None else torch.view_as_real(tensor + 0j).cpu().numpy().tobytes())
        key = digest.hexdigest()
        if key != self._key:
            self._kernels, self._key = self._stored(key, operator), key
        return self._kernels

    def _stored(self, key: str, operator: SubspaceOperator) -> torch.Tensor:
        if self._folder is None:
            return kernels_of(operator)
        path = self._folder / f"{key}.npz"
        if path.is_file():
            content = load_arrays(path)
            require(content, path, "kernels", fix="remove the file, so that it is made anew")
            return torch.from_numpy(content["kernels"])
        kernels = kernels_of(operator)
        write_arrays(path, {"kernels": kernels.cpu().numpy()})
        return kernels
