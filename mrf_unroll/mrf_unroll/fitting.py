"""Fit the networks that need no measurements: the Bloch decoder and MRF-ResNet to atoms, a denoiser to time series."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mrf_unroll.models import BlochDecoder, Denoiser, DictionaryEncoder, MRFResNet, UnrolledNetwork


def _minimise(parameters, loss: Callable[[], Tensor], steps: int, rate: float, weight_decay: float = 0.0) -> None:
    """Adam with a cosine learning rate from ``rate`` to zero."""
    optimizer = torch.optim.Adam(parameters, rate, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        schedule.step()


def fit_decoder(
    decoder: BlochDecoder,
    atoms: Tensor,
    relaxation: Tensor,
    steps: int = 1200,
    rate: float = 1e-2,
    batch_size: int = 500,
    seed: int = 0,
) -> float:
    """Train a decoder on atoms (K, s) of PD = 1 with relaxation (K, 2), T1 and T2 in s; it is frozen afterwards.

    MSE of un-normalised atoms in units of their mean norm, as published but for those units.

    Returns:
        |decoded - atoms| / |atoms| over all atoms.
    """
    device = next(decoder.parameters()).device
    atoms, relaxation = atoms.to(device), relaxation.to(device, torch.float32)
    decoder.scale.fill_(float(atoms.norm(dim=1).mean()))
    generator = torch.Generator().manual_seed(seed)
    decoder.requires_grad_(True)

    def error(rows: Tensor) -> Tensor:
        return (decoder.atoms(relaxation[rows][:, :, None, None])[..., 0, 0] - atoms[rows]) / decoder.scale

    def loss() -> Tensor:
        rows = torch.randint(len(atoms), (min(batch_size, len(atoms)),), generator=generator).to(device)
        return error(rows).abs().square().mean()

    with torch.enable_grad():
        _minimise(list(decoder.parameters()), loss, steps, rate, 1e-10)
    decoder.requires_grad_(False)
    with torch.no_grad():
        every = torch.arange(len(atoms), device=device)
        return float(error(every).norm() * decoder.scale / atoms.norm())


def fit_head(
    network: UnrolledNetwork,
    atoms: Tensor,
    relaxation: Tensor,
    steps: int = 3000,
    rate: float = 3e-3,
    noise: float = 0.05,
    batch_size: int = 500,
    seed: int = 0,
) -> float:
    """Train the head of a network's ``DictionaryEncoder`` on atoms (K, s) of PD = 1, to relaxation (K, 2), T1 and T2 in s.

    Args:
        noise: its l2 norm over that of the atom, at most; every sample draws a level up to it.

    Returns:
        Root mean square relative error of T1 and T2 of the atoms without noise.
    """
    encoder = network.encoder
    assert isinstance(encoder, DictionaryEncoder)
    head, device = encoder.head, network.alpha.device
    kind = torch.complex64 if network.complex_valued else torch.float32
    atoms, target = atoms.to(device, kind), relaxation.to(device, torch.float32).log()
    norms = atoms.abs().square().sum(dim=1, keepdim=True).sqrt()
    with torch.no_grad():
        head.fit_normalisation(network.features(atoms[:, :, None, None])[..., 0, 0])
    generator = torch.Generator().manual_seed(seed)

    def errors(rows: Tensor, level: Tensor) -> Tensor:
        """(rows, 3): of log T1, log T2 and log PD."""
        draws = torch.randn(len(rows), atoms.shape[1], dtype=kind, generator=generator).to(device)
        series = atoms[rows] + level * norms[rows] / atoms.shape[1] ** 0.5 * draws
        # One slice, voxels along the height: the floor of the norm is a slice's, so every PD is 1.
        logarithms, norm = head.logarithms(network.features(series.T[None, :, :, None]))
        density = (logarithms[:, 2:] + norm.log())[0, 0]
        return torch.cat([logarithms[0, :2, :, 0].T - target[rows], density], dim=1)

    def loss() -> Tensor:
        rows = torch.randint(len(atoms), (batch_size,), generator=generator)
        level = noise * torch.rand(batch_size, 1, generator=generator)
        return errors(rows.to(device), level.to(device)).square().mean()

    trained_later = next(head.parameters()).requires_grad
    head.requires_grad_(True)
    with torch.enable_grad():
        _minimise(list(head.parameters()), loss, steps, rate)
    head.requires_grad_(trained_later)
    with torch.no_grad():
        every = errors(torch.arange(len(atoms), device=device), torch.zeros(1, 1, device=device))
    return float(every[:, :2].square().mean().sqrt())


def fit_mrfresnet(
    network: MRFResNet,
    atoms: Tensor,
    relaxation: Tensor,
    noise: float,
    steps: int = 2000,
    rate: float = 1e-2,
    batch_size: int = 500,
    seed: int = 0,
) -> None:
    """Train MRF-ResNet on real atoms (K, s) with noise, to T1 and T2 in s (relaxation (K, 2)) and PD.

    The error of each map counts relative to its largest value, as published for T1 and T2.

    Args:
        noise: its l2 norm over that of the atom, at most; every sample draws a level up to it, and a PD.
    """
    generator = torch.Generator().manual_seed(seed)
    network.fit_normalisation(atoms)
    scale = torch.cat([relaxation.amax(dim=0), torch.ones(1)])
    norms = atoms.norm(dim=1, keepdim=True)

    def loss() -> Tensor:
        rows = torch.randint(len(atoms), (batch_size,), generator=generator)
        level = noise * torch.rand(batch_size, 1, generator=generator) / atoms.shape[1] ** 0.5
        density = 0.2 + torch.rand(batch_size, 1, generator=generator)
        draws = torch.randn(batch_size, atoms.shape[1], generator=generator)
        series = density * (atoms[rows] + level * norms[rows] * draws)
        truth = torch.cat([relaxation[rows], density], dim=1)
        # A batch of voxels is laid out as one slice, voxels along the height: the floor of the network's norm is a slice's.
        maps = network(series.T[None, :, :, None])[0, :, :, 0].T
        return ((maps - truth) / scale).square().mean()

    with torch.enable_grad():
        _minimise(list(network.parameters()), loss, steps, rate)
    network.eval()


def fit_denoiser(
    denoiser: Denoiser, series: Tensor, noise: float, steps: int = 600, batch_size: int = 8, seed: int = 0
) -> None:
    """Train a denoiser for plug-and-play reconstruction on clean time series (n, s, H, W), in units of about one.

    Args:
        noise: standard deviation of the white noise, at most; every image draws a level up to it.
    """
    generator = torch.Generator().manual_seed(seed)
    denoiser.train()

    def loss() -> Tensor:
        clean = series[torch.randint(len(series), (batch_size,), generator=generator)]
        deviation = noise * torch.rand(batch_size, 1, 1, 1, generator=generator)
        noisy = clean + deviation * torch.randn(clean.shape, generator=generator)
        return (denoiser(noisy) - clean).square().mean()

    with torch.enable_grad():
        _minimise(list(denoiser.parameters()), loss, steps, 2e-3)
    denoiser.eval()
