"""The forward models: compressed time series (TSMI) to k-space, and their normal operators.

    y[c, n, j] = (HW)^{-1/2} sum_r S_c(r) (sum_k V[n, k] x_k(r)) exp(-2 pi i k_{n,j} . r)

``SubspaceOperator`` computes A and A^H sample by sample; ``ToeplitzNormal`` computes A^H W A, which iterative methods
need, by FFTs alone: its cost does not depend on the number of frames or samples. ``CartesianMaskOperator`` is the
operator of the published PGD-Net.

A TSMI x is (B, s, H, W), real or complex. What a normal operator returns is of the kind of its argument: for a real x
it is Re(A^H W A x), the normal operator of A restricted to real images, which is self-adjoint again.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from mrf_unroll.nufft import Nufft

Normal = Callable[[torch.Tensor], torch.Tensor]
# Right-hand sides of one type-1 transform while kernels are built.
_TRANSFORMS = 11


class SubspaceOperator(nn.Module):
    """A for a non-Cartesian, multi-coil scan of a compressed time series.

    trajectory: (N, P, 2) (ky, kx) in cycles/pixel. basis: (N, s) V, real or complex. image_size: (H, W).
    coil_maps: (C, H, W), or (B, C, H, W) for maps of their own; None is one coil of sensitivity 1.
    dcf: (N, P) density weights W >= 0; None is no weighting. backend: of the transforms, see ``Nufft``.
    """

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
        self.register_buffer("basis", _exact(basis.detach()), persistent=False)
        self.register_buffer("coil_maps", _checked_maps(coil_maps, self.image_size), persistent=False)
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
        return _with_coil_maps(self, coil_maps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A x, without weights: (B, s, H, W) -> (B, C, N, P) complex."""
        with torch.autocast(x.device.type, enabled=False):
            x = _full_precision(x)
            frames, samples = self.trajectory.shape[:2]
            basis = self.basis.to(x.dtype)
            coils = []
            for maps in _coils(self.coil_maps, x.dtype):
                values = self.nufft.forward(x if maps is None else x * maps)
                coils.append(torch.einsum("bknp,nk->bnp", values.unflatten(-1, (frames, samples)), basis))
            return torch.stack(coils, dim=1)

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        """A^H y: (B, C, N, P) -> (B, s, H, W) complex."""
        with torch.autocast(y.device.type, enabled=False):
            y = _full_precision(y)
            basis = self.basis.to(y.dtype).conj()
            total = None
            for coil, maps in enumerate(_coils(self.coil_maps, y.dtype)):
                values = torch.einsum("bnp,nk->bknp", y[:, coil], basis).flatten(2)
                images = self.nufft.adjoint(values)
                images = images if maps is None else images * maps.conj()
                total = images if total is None else total + images
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

    trajectory: (N, P, 2); coil_maps as in ``SubspaceOperator``. The equation is that of A with V x in place of X.
    """

    def __init__(
        self, trajectory: torch.Tensor, image_size: tuple[int, int], coil_maps: torch.Tensor | None = None
    ) -> None:
        super().__init__()
        self.image_size = (int(image_size[0]), int(image_size[1]))
        self.register_buffer("trajectory", trajectory.detach().double(), persistent=False)
        self.register_buffer("coil_maps", _checked_maps(coil_maps, self.image_size), persistent=False)

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        """(B, N, H, W), real or complex -> (B, C, N, P) complex."""
        series = _full_precision(series)
        maps = [1 if coil is None else coil[..., 0, :, :] for coil in _coils(self.coil_maps, series.dtype)]
        frames = []
        for points, images in zip(self.trajectory, series.unbind(dim=1), strict=True):
            transform = Nufft(points, self.image_size, series.device)
            frames.append(transform.forward(torch.stack([images * coil for coil in maps], dim=1)))
        return torch.stack(frames, dim=2)


class ToeplitzNormal(nn.Module):
    """A^H W A of a ``SubspaceOperator`` by convolution with s x s kernels on a grid of twice the size.

        (A^H W A x)_k = sum_c conj(S_c) crop[ IFFT( sum_l K_kl FFT( pad(S_c x_l) ) ) ]

    kernels: (U, 2H, 2W) the spectra K_kl of the pairs k <= l, in the order of ``torch.triu_indices``; real for a real
    basis (K_lk = conj(K_kl)). coil_maps as in ``SubspaceOperator``. Make one with ``from_operator``.
    """

    def __init__(self, kernels: torch.Tensor, rank: int, coil_maps: torch.Tensor | None = None) -> None:
        super().__init__()
        if len(kernels) != rank * (rank + 1) // 2:
            raise ValueError(f"{len(kernels)} kernels do not fit rank {rank}: {rank * (rank + 1) // 2} are needed")
        self.rank = rank
        self.image_size = (kernels.shape[1] // 2, kernels.shape[2] // 2)
        self.register_buffer("kernels", kernels, persistent=False)
        self.register_buffer("coil_maps", _checked_maps(coil_maps, self.image_size), persistent=False)
        self._half: torch.Tensor | None = None

    @classmethod
    def from_operator(cls, operator: SubspaceOperator, cache: str | Path | None = None) -> ToeplitzNormal:
        """Build the kernels; ``cache`` is a folder where they are kept under the hash of what determines them."""
        basis, dcf = operator.basis, operator.dcf
        if cache is None:
            kernels = kernel_spectra(operator.trajectory, basis, operator.image_size, dcf, operator.backend)
        else:
            kernels = _cached_kernels(operator, Path(cache))
        return cls(kernels, operator.rank, operator.coil_maps).to(operator.trajectory.device)

    def with_coil_maps(self, coil_maps: torch.Tensor | None) -> ToeplitzNormal:
        """The same operator for other coil maps, sharing the kernels."""
        return _with_coil_maps(self, coil_maps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A^H W A x: (B, s, H, W) -> the same shape and kind (real or complex)."""
        with torch.autocast(x.device.type, enabled=False):
            return _SelfAdjoint.apply(_full_precision(x, keep_real=True), self)

    def _apply_normal(self, x: torch.Tensor) -> torch.Tensor:
        if not x.is_complex() and self.coil_maps is None and not self.kernels.is_complex():
            return self._apply_real(x)
        kind = x if x.is_complex() else x.to(torch.complex128 if x.dtype == torch.float64 else torch.complex64)
        kernels = self.kernels if x.real.dtype == torch.float32 else _exact(self.kernels)
        (height, width), total = self.image_size, None
        for maps in _coils(self.coil_maps, kind.dtype):
            images = kind if maps is None else kind * maps
            lines = torch.fft.fft(torch.fft.fft(images, n=2 * width), n=2 * height, dim=-2)
            lines = torch.fft.ifft(_mix(kernels, lines, self.rank), dim=-2)[..., :height, :]
            images = torch.fft.ifft(lines)[..., :width]
            images = images if maps is None else images * maps.conj()
            total = images if total is None else total + images
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
    basis = _exact(basis)
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


def _cached_kernels(operator: SubspaceOperator, folder: Path) -> torch.Tensor:
    from shared_utils import UserError
    from shared_utils.checkpoint import load_tensors, save

    digest = hashlib.sha256(repr(operator.image_size).encode())
    for tensor in (operator.trajectory, operator.basis, operator.dcf):
        digest.update(b"none" if tensor is None else torch.view_as_real(tensor + 0j).cpu().numpy().tobytes())
    path = folder / f"kernels_{digest.hexdigest()[:32]}.pt"
    if path.is_file():
        try:
            return load_tensors(path)["kernels"].to(operator.trajectory.device)
        except UserError:
            path.unlink()  # damaged: built anew
    kernels = kernel_spectra(operator.trajectory, operator.basis, operator.image_size, operator.dcf, operator.backend)
    save({"kernels": kernels.cpu()}, path)
    return kernels


class CartesianMaskOperator(nn.Module):
    """The operator of the published PGD-Net: y = rows(mask) of fft2(V x) / sqrt(HW), uncentred.

    mask: (M,) 0-based positions of the kept samples, counted over (frame, column, row) as the published files do, the
    row changing fastest. basis: (N, s), real or complex. image_size: (H, W), square (other images scramble k-space
    in the published code, so they are refused).
    """

    def __init__(self, mask: torch.Tensor, basis: torch.Tensor, image_size: tuple[int, int]) -> None:
        super().__init__()
        height, width = (int(size) for size in image_size)
        if height != width:
            raise ValueError(
                f"the published order of samples is defined for square images only, got {height} x {width}"
            )
        mask = mask.detach().long().reshape(-1)
        if len(mask) and (int(mask.min()) < 0 or int(mask.max()) >= len(basis) * height * width):
            raise ValueError(
                f"mask positions must lie in [0, {len(basis) * height * width}), got {int(mask.min())} to"
                f" {int(mask.max())}: published files count from 1, subtract 1"
            )
        self.image_size = (height, width)
        self.register_buffer("mask", mask, persistent=False)
        self.register_buffer("basis", _exact(basis.detach()), persistent=False)

    @property
    def rank(self) -> int:
        return self.basis.shape[1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, s, H, W) -> (B, M) complex."""
        with torch.autocast(x.device.type, enabled=False):
            x = _full_precision(x)
            spectrum = torch.fft.fft2(x, norm="ortho")
            frames = torch.einsum("bkhw,nk->bnwh", spectrum, self.basis.to(x.dtype))
            return frames.flatten(1)[:, self.mask]

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        """(B, M) -> (B, s, H, W) real: zero-filled, V^H, inverse FFT, real part."""
        with torch.autocast(y.device.type, enabled=False):
            y = _full_precision(y)
            height, width = self.image_size
            frames = y.new_zeros(len(y), len(self.basis) * height * width)
            frames = frames.index_copy(1, self.mask, y).unflatten(1, (len(self.basis), width, height))
            spectrum = torch.einsum("bnwh,nk->bkhw", frames, self.basis.to(y.dtype).conj())
            return torch.fft.ifft2(spectrum, norm="ortho").real

    weighted_adjoint = adjoint

    def normal(self, x: torch.Tensor) -> torch.Tensor:
        """Re(A^H A x) of a real x."""
        return self.adjoint(self.forward(x))


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


def _exact(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)


def _full_precision(x: torch.Tensor, keep_real: bool = False) -> torch.Tensor:
    """Half precision becomes single; real becomes complex unless it may stay."""
    if x.is_complex():
        return x.to(torch.complex64) if x.dtype == torch.complex32 else x
    x = x if x.dtype == torch.float64 else x.float()
    return x if keep_real else x.to(torch.complex128 if x.dtype == torch.float64 else torch.complex64)


def _checked_maps(coil_maps: torch.Tensor | None, image_size: tuple[int, int]) -> torch.Tensor | None:
    if coil_maps is None:
        return None
    if coil_maps.ndim not in (3, 4) or tuple(coil_maps.shape[-2:]) != image_size:
        raise ValueError(f"coil_maps {tuple(coil_maps.shape)} do not fit images of {image_size}: (C, H, W) is needed")
    # A map of ones changes nothing, and without it real images take half the work.
    uniform = coil_maps.shape[-3] == 1 and bool((coil_maps == 1).all())
    return None if uniform else coil_maps.detach()


def _coils(coil_maps: torch.Tensor | None, dtype: torch.dtype):
    """Per coil its map, (1, H, W) or (B, 1, H, W) to broadcast over the components; None for the uniform coil."""
    if coil_maps is None:
        return [None]
    maps = coil_maps.to(dtype)
    return [maps[..., coil : coil + 1, :, :] for coil in range(maps.shape[-3])]


def _with_coil_maps(module, coil_maps):
    other = copy.copy(module)
    other._buffers = dict(module._buffers)
    maps = _checked_maps(coil_maps, module.image_size)
    other._buffers["coil_maps"] = None if maps is None else maps.to(next(iter(module.buffers())).device)
    return other
