"""Mixtures of Gaussians fitted to incomplete measurements, and the mean of an image given its measurement.

y = A_g x + noise with x from a mixture is a mixture of Gaussians again, so x can be integrated out: expectation
maximisation needs no complete signal. One component is the Gaussian model, and with the mean and the covariance of
complete signals it is the best linear estimator.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Mixture(NamedTuple):
    """weights (K,), means (K, n), covariances (K, n, n); the measurements' noise has the variance ``noise``."""

    weights: Tensor
    means: Tensor
    covariances: Tensor
    noise: float


class Seen(NamedTuple):
    """The measurements that came through one operator: matrix (m, n), values (N_g, m)."""

    matrix: Tensor
    values: Tensor


def fit_mean(data: Sequence[Seen]) -> Tensor:
    """The mean signal (n,): least squares of sum_g N_g ||mean y_g - A_g mean||^2; what no operator sees of it is zero."""
    normal = sum(len(part.values) * part.matrix.mT @ part.matrix for part in data)
    right = sum(part.matrix.mT @ part.values.sum(0) for part in data)
    return torch.linalg.pinv(normal, rtol=1e-6, hermitian=True) @ right


def complete_gaussian(signals: Tensor, noise: float) -> Mixture:
    """One component, from complete signals (N, n)."""
    mean = signals.mean(0)
    centred = signals - mean
    return Mixture(signals.new_ones(1), mean[None], (centred.mT @ centred / len(signals))[None], noise)


def fit_gaussian(data: Sequence[Seen], noise: float = 1e-3, iterations: int = 60) -> Mixture:
    """One component by EM, from the mean of the measurements and a tenth of the identity."""
    mean = fit_mean(data)
    start = 0.1 * torch.eye(len(mean), dtype=mean.dtype, device=mean.device)
    mixture = Mixture(mean.new_ones(1), mean[None], start[None], noise)
    for _ in range(iterations):
        mixture = maximise(mixture, data)
    return mixture


def fit_stationary(
    data: Sequence[Seen], image_shape: tuple[int, int, int], noise: float = 1e-3, iterations: int = 20
) -> Mixture:
    """One component by EM whose mean is one number a channel, and whose covariance is a function of how far apart two
    pixels are: a few thousand numbers for a whole image, which few and incomplete images do not overfit.

    Args:
        data: measurements by operator, of real images.
        image_shape: (C, H, W).
        noise: variance of what y has beside A x.
        iterations: of EM, each followed by the nearest stationary mean and covariance.
    """
    channels = image_shape[0]
    n = math.prod(image_shape)
    values = data[0].values
    place = _displacements(image_shape).to(values.device)
    pairs = torch.bincount(place.flatten())
    mean = fit_mean(data).reshape(channels, -1).mean(1, keepdim=True).expand(-1, n // channels)
    start = 0.1 * torch.eye(n, dtype=values.dtype, device=values.device)
    mixture = Mixture(values.new_ones(1), mean.reshape(1, n), start[None], noise)
    for _ in range(iterations):
        mixture = maximise(mixture, data)
        mean = mixture.means.reshape(channels, -1).mean(1, keepdim=True).expand(-1, n // channels)
        sums = torch.zeros(len(pairs), dtype=values.dtype, device=values.device)
        sums.index_add_(0, place.flatten(), mixture.covariances.flatten())
        # Averages over all pairs of pixels can have small negative eigenvalues.
        found, vectors = torch.linalg.eigh((sums / pairs.clamp_min(1))[place])
        covariance = (vectors * found.clamp_min(0)) @ vectors.mT
        mixture = mixture._replace(means=mean.reshape(1, n), covariances=covariance[None])
    return mixture


def _displacements(image_shape: tuple[int, int, int]) -> Tensor:
    """A number for how two pixels of an image lie to each other, (n, n): their channels, rows and columns apart."""
    C, H, W = image_shape
    channel, row, column = (axis.flatten() for axis in torch.meshgrid(*map(torch.arange, (C, H, W)), indexing="ij"))
    apart = (row[:, None] - row + H - 1) * (2 * W - 1) + column[:, None] - column + W - 1
    return (channel[:, None] * C + channel) * (2 * H - 1) * (2 * W - 1) + apart


def fit_mixture(
    data: Sequence[Seen],
    gaussian: Mixture,
    components: int = 20,
    strength: float = 30.0,
    iterations: int = 40,
    rank: int | None = None,
    seed: int = 0,
) -> Mixture:
    """Several components by EM, started by k-means on the posterior means of the Gaussian.

    Args:
        data: measurements by operator.
        gaussian: of ``fit_gaussian``.
        components: K; as many as there are measurements at most.
        strength: how many samples of the pooled covariance each component is given, so that one with few measurements
            keeps the shape of all.
        iterations: of EM.
        rank: covariances of so many directions and the same variance in all others; full ones where None.
        seed: of k-means.
    """
    from sklearn.cluster import KMeans

    means = torch.cat([posterior_mean(gaussian, part) for part in data])
    found = KMeans(min(components, len(means)), random_state=seed).fit(means.cpu().numpy())
    centres = torch.from_numpy(found.cluster_centers_).to(means)
    counts = torch.bincount(torch.from_numpy(found.labels_).long(), minlength=len(centres)).to(means)
    covariances = (gaussian.covariances / 2).expand(len(centres), -1, -1)
    mixture = Mixture(counts / counts.sum(), centres, covariances, gaussian.noise)
    for _ in range(iterations):
        mixture = maximise(mixture, data, strength, rank)
    return mixture


def pool(mixtures: Sequence[Mixture]) -> Mixture:
    """The mean of several fits' densities, a mixture again: what one start of k-means happens to find is averaged out."""
    return Mixture(
        torch.cat([one.weights for one in mixtures]) / len(mixtures),
        torch.cat([one.means for one in mixtures]),
        torch.cat([one.covariances for one in mixtures]),
        mixtures[0].noise,
    )


class Posterior(NamedTuple):
    """What the components make of an operator's measurements: component k has mean_k + gain[k] residual[k, i] for image i.

    shares (N, K): p(k | y); log_density (N,): log p(y); residual (K, N, m); gain (K, n, m).
    """

    shares: Tensor
    log_density: Tensor
    residual: Tensor
    gain: Tensor


def posterior(mixture: Mixture, part: Seen) -> Posterior:
    """The components' posteriors of an operator's measurements."""
    crossed = mixture.covariances @ part.matrix.mT
    inner = part.matrix @ crossed
    inner = inner + mixture.noise * torch.eye(inner.shape[1], dtype=inner.dtype, device=inner.device)
    factor = torch.linalg.cholesky(inner)
    residual = part.values - (mixture.means @ part.matrix.mT)[:, None]
    white = torch.linalg.solve_triangular(factor, residual.mT, upper=False)
    normaliser = factor.diagonal(dim1=1, dim2=2).log().sum(1) + factor.shape[1] / 2 * math.log(2 * math.pi)
    joint = mixture.weights.log() - white.square().sum(1).mT / 2 - normaliser
    total = joint.logsumexp(1)
    gain = torch.cholesky_solve(crossed.mT, factor).mT
    return Posterior((joint - total[:, None]).exp(), total, residual, gain)


def posterior_mean(mixture: Mixture, part: Seen) -> Tensor:
    """E[x | y], (N, n)."""
    found = posterior(mixture, part)
    weighted = found.shares.mT[:, :, None] * found.residual
    return found.shares @ mixture.means + (weighted @ found.gain.mT).sum(0)


def log_likelihood(mixture: Mixture, data: Sequence[Seen]) -> float:
    """The mean of log p(y | g): how settings are compared without a complete signal."""
    return float(torch.cat([posterior(mixture, part).log_density for part in data]).mean())


def maximise(mixture: Mixture, data: Sequence[Seen], strength: float = 0.0, rank: int | None = None) -> Mixture:
    """One iteration of EM."""
    counts = torch.zeros_like(mixture.weights)
    moved = torch.zeros_like(mixture.means)
    scatter = torch.zeros_like(mixture.covariances)
    for part in data:
        found = posterior(mixture, part)
        shares, number = found.shares.mT, found.shares.sum(0)
        counts += number
        moved += (found.gain @ (shares[:, None] @ found.residual).mT)[:, :, 0]
        kept = mixture.covariances - found.gain @ (part.matrix @ mixture.covariances)
        spread = (shares[:, :, None] * found.residual).mT @ found.residual
        scatter += number[:, None, None] * kept + found.gain @ spread @ found.gain.mT
    whole = counts.clamp_min(1e-9)[:, None, None]
    step = moved[:, :, None] / whole
    scatter = scatter - whole * step * step.mT
    covariances = (scatter + strength * scatter.sum(0) / counts.sum()) / (whole + strength)
    covariances = (covariances + covariances.mT) / 2
    if rank is not None and rank < covariances.shape[1]:
        covariances = torch.stack([_low_rank(covariance, rank) for covariance in covariances])
    return Mixture(counts / counts.sum(), mixture.means + step[:, :, 0], covariances, mixture.noise)


def _low_rank(covariance: Tensor, rank: int) -> Tensor:
    """The likeliest covariance of ``rank`` directions and one variance for all others (Tipping and Bishop 1999)."""
    values, vectors = torch.linalg.eigh(covariance)
    rest = values[:-rank].mean()
    leading = vectors[:, -rank:]
    identity = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    return leading * (values[-rank:] - rest) @ leading.mT + rest * identity
