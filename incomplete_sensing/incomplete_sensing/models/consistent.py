"""Reconstructions with the operator inside: the mean of a mixture of Gaussians, and networks that start from it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from incomplete_sensing.matrix_table import apply_small
from incomplete_sensing.mixture import Mixture
from incomplete_sensing.models.autoencoder import MLP
from incomplete_sensing.models.operator_aware import OperatorAware
from incomplete_sensing.models.unet import UNet
from shared_utils import UserError

if TYPE_CHECKING:
    from incomplete_sensing.operators import OperatorFamily
    from incomplete_sensing.operators.observed_rows import ObservedRows


class _Gains(NamedTuple):
    """Of every operator and component: S_k A_g^T (G, K, n, r), A_g S_k A_g^T (G, K, r, r), A_g mean_k (G, K, r)."""

    crossed: Tensor
    inner: Tensor
    means: Tensor


class _Given(NamedTuple):
    """A batch as the components see it: y and which of its rows are given, (B, r); the inverse of every component's
    A S A^T + noise on the given rows of every pattern (P, K, r, r), its log determinant (P, K), and each sample's pattern."""

    values: Tensor
    kept: Tensor
    inverse: Tensor
    log_determinant: Tensor
    pattern: Tensor


class MixtureMean(OperatorAware):
    """E[x | y] under a mixture of Gaussians and noise on y, exact for every operator and every part of its rows.

    One component is the Gaussian model's, or the best linear, estimator. Made for small images: a component has a
    covariance of n x n.

    Args:
        dim_input: n.
        components: K.
        noise: variance of what y has beside A x.
    """

    weights: Tensor
    means: Tensor
    covariances: Tensor
    largest = 4096

    def __init__(self, dim_input: int = 64, components: int = 1, noise: float = 1e-3) -> None:
        super().__init__()
        if dim_input > self.largest:
            raise UserError(f"covariances of {dim_input} pixels are too large (at most {self.largest}): take unrolled")
        if components < 1 or noise <= 0:
            raise UserError(f"components and noise must be positive, got {components} and {noise:g}")
        self.components, self.noise = components, noise
        self.register_buffer("weights", torch.full((components,), 1 / components))
        self.register_buffer("means", torch.zeros(components, dim_input))
        self.register_buffer("covariances", torch.eye(dim_input).repeat(components, 1, 1))
        self._kept: tuple[ObservedRows, _Gains] | None = None

    @torch.no_grad()
    def start_from(self, mixture: Mixture) -> None:
        """Take over a fitted mixture; components that it lacks have weight zero."""
        count = len(mixture.weights)
        self.weights.zero_()[:count] = mixture.weights
        self.means[:count] = mixture.means.to(self.means)
        self.covariances[:count] = mixture.covariances.to(self.covariances)
        self._kept = None

    def _model(self) -> tuple[Tensor, Tensor]:
        """(means, covariances)."""
        return self.means, self.covariances

    def _gains(self, rows: ObservedRows) -> _Gains:
        if self._kept is None or self._kept[0] is not rows:
            with torch.inference_mode(False), torch.no_grad():
                self._kept = (rows, self._new_gains(rows.matrices))
        return self._kept[1]

    def _new_gains(self, matrices: Tensor) -> _Gains:
        means, covariances = self._model()
        crossed = covariances @ matrices[:, None].mT
        return _Gains(crossed, matrices[:, None] @ crossed, (matrices @ means.mT).mT)

    def _given(
        self, measurements: Tensor, rows: ObservedRows, gains: _Gains, g: Tensor, given: Tensor | None
    ) -> _Given:
        values = rows.take(measurements, g)
        if given is None:
            present, pattern = g.unique(return_inverse=True)
            kept = rows.observed[present]
        else:
            shares = rows.take(given.expand_as(measurements), g)
            patterns, pattern = torch.cat([g[:, None].to(shares), shares], 1).unique(dim=0, return_inverse=True)
            present, kept = patterns[:, 0].long(), patterns[:, 1:]
        square = gains.inner[present] * (kept[:, None, :, None] * kept[:, None, None, :])
        factor = torch.linalg.cholesky(square + torch.diag_embed(1 - kept + self.noise)[:, None])
        determinant = 2 * factor.diagonal(dim1=2, dim2=3).log().sum(2)
        return _Given(values, kept[pattern], torch.cholesky_inverse(factor), determinant, pattern)

    def _explained(self, batch: _Given, gains: _Gains, g: Tensor) -> tuple[Tensor, Tensor]:
        """(log p(k, y) without its constant, (B, K); M_k^-1 (y - A mean_k), (B, K, r))."""
        residual = batch.kept[:, None] * (batch.values[:, None] - gains.means[g])
        solved = self._by_component(batch.inverse, residual, batch.pattern)
        fit = (residual * solved).sum(2) + batch.log_determinant[batch.pattern]
        return self.weights.log() - fit / 2, solved

    def _mean(self, gains: _Gains, g: Tensor, shares: Tensor, solved: Tensor) -> Tensor:
        moved = self._by_component(gains.crossed, shares[:, :, None] * solved, g).sum(1)
        return shares @ self._model()[0] + moved

    def _by_component(self, table: Tensor, values: Tensor, index: Tensor) -> Tensor:
        """table[index[b], k] @ values[b, k]: (B, K, p)."""
        K = self.components
        flat = (index[:, None] * K + torch.arange(K, device=index.device)).flatten()
        return apply_small(table.flatten(0, 1), values.flatten(0, 1), flat).reshape(len(index), K, -1)

    def forward(
        self, measurements: Tensor, operators: OperatorFamily, g: int | Tensor, given: Tensor | None = None
    ) -> Tensor:
        """(B, *measurement_shape) -> (B, C, H, W)."""
        g = g if isinstance(g, Tensor) else torch.full((len(measurements),), g, device=measurements.device)
        rows = operators.observed_rows
        gains = self._gains(rows)
        batch = self._given(measurements, rows, gains, g, given)
        joint, solved = self._explained(batch, gains, g)
        shares = joint.softmax(1)
        signals = self._mean(gains, g, shares, solved)
        return self._refined(signals, rows, batch, gains, g, shares).reshape(-1, *operators.image_shape)

    def log_density(self, measurements: Tensor, operators: OperatorFamily, g: Tensor) -> Tensor:
        """log p(y | g), (B,)."""
        rows = operators.observed_rows
        gains = self._gains(rows)
        batch = self._given(measurements, rows, gains, g, None)
        constant = batch.kept.sum(1) / 2 * math.log(2 * math.pi)
        return self._explained(batch, gains, g)[0].logsumexp(1) - constant

    def _refined(
        self, signals: Tensor, rows: ObservedRows, batch: _Given, gains: _Gains, g: Tensor, shares: Tensor
    ) -> Tensor:
        return signals

    def _apply(self, function: Any, recurse: bool = True) -> MixtureMean:
        self._kept = None
        return super()._apply(function, recurse)

    def _load_from_state_dict(self, *arguments: Any, **options: Any) -> None:
        super()._load_from_state_dict(*arguments, **options)
        self._kept = None


class ConsistentNetwork(MixtureMean):
    """z = E[x | y], then in every step z <- P(z + h_t(z)): hard consistency with the rows given, in a metric S.

    P(z) = z + S A^T (A S A^T + noise)^-1 (y - A z), S the covariance of the component that is likeliest for y. The last
    layer of every h_t is zero at the start, so training starts from the mixture's reconstruction.

    Args:
        dim_input: n.
        in_channels: of the images.
        components: of the mixture; 1 is the Gaussian.
        noise: see ``MixtureMean``.
        steps: T.
        learned: mean and metric S = L L^T + noise I are learned too, L from 0.3 I; else the fitted ones stay.
        hidden: widths of h_t, a fully connected network.
        dropout: of it.
        channels: h_t is a U-Net with so many base channels instead; 0 for none.
        levels: of that U-Net.
        image_size: (H, W).
    """

    def __init__(
        self,
        dim_input: int = 64,
        in_channels: int = 1,
        components: int = 1,
        noise: float = 1e-3,
        steps: int = 3,
        learned: bool = False,
        hidden: tuple[int, ...] = (256, 256),
        dropout: float = 0.1,
        channels: int = 0,
        levels: int = 3,
        image_size: tuple[int, int] = (8, 8),
    ) -> None:
        super().__init__(dim_input, components, noise)
        if learned and components > 1:
            raise UserError("a learned metric has one component; several are fitted (learned: false)")
        self.learned, self.image_shape = learned, (in_channels, *image_size)
        if learned:
            self.mean = nn.Parameter(torch.zeros(1, dim_input))
            self.factor = nn.Parameter(0.3 * torch.eye(dim_input)[None])
        self.networks = nn.ModuleList(
            UNet(in_channels, in_channels, False, "none", True, channels, levels, "instance")
            if channels
            else MLP(dim_input, hidden, False, dropout)
            for _ in range(steps)
        )
        for network in self.networks:
            last = [layer for layer in network.modules() if isinstance(layer, (nn.Linear, nn.Conv2d))][-1]
            assert last.bias is not None, "both kinds have one"
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    @torch.no_grad()
    def start_from(self, mixture: Mixture) -> None:
        super().start_from(mixture)
        if self.learned:
            self.mean.copy_(mixture.means[:1])

    def _model(self) -> tuple[Tensor, Tensor]:
        if not self.learned:
            return super()._model()
        identity = torch.eye(self.factor.shape[1], device=self.factor.device)
        return self.mean, self.factor @ self.factor.mT + self.noise * identity

    def _gains(self, rows: ObservedRows) -> _Gains:
        return self._new_gains(rows.matrices) if self.learned else super()._gains(rows)

    def _refined(
        self, signals: Tensor, rows: ObservedRows, batch: _Given, gains: _Gains, g: Tensor, shares: Tensor
    ) -> Tensor:
        likeliest, K = shares.argmax(1), self.components
        inverse, crossed = batch.inverse.flatten(0, 1), gains.crossed.flatten(0, 1)
        for network in self.networks:
            signals = signals + network(signals.reshape(-1, *self.image_shape)).flatten(1)
            residual = batch.kept * (batch.values - rows.apply(signals, g))
            solved = apply_small(inverse, residual, batch.pattern * K + likeliest)
            signals = signals + apply_small(crossed, solved, g * K + likeliest)
        return signals
