"""Defences: what is done to a cloud before the classifier sees it.

A defence is any callable from clouds (B, 3, N) to clouds (B, 3, M); those here are nn.Modules, differentiable in
their input, and treat every cloud on its own. ``Defended`` puts one in front of a victim, so that attacks run through it
(adaptive attacks), and ``ExpectationOverTransformation`` averages over the draws of a random one.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared_utils import UserError
from shared_utils.checkpoint import weights_digest
from si_adv.geometry import estimate_normals, gather, knn
from si_adv.published import import_published

_PUNET_WEIGHTS = (
    "the PU-Net weights, pu-in_1024-up_4.pth of github.com/Wuziyi616/IF-Defense (baselines/defense/DUP_Net), "
    "or weights that train_punet.py made"
)


def _check_clouds(clouds: Tensor) -> None:
    if clouds.dim() != 3 or clouds.shape[1] < 3:
        raise ValueError(f"clouds must have shape (B, 3, N), points last, got {tuple(clouds.shape)}")


def _take(clouds: Tensor, indices: Tensor) -> Tensor:
    """Points of every cloud by index: (B, C, N), (B, M) -> (B, C, M)."""
    return clouds.gather(2, indices[:, None].expand(-1, clouds.shape[1], -1))


class SRS(nn.Module):
    """Simple random sampling: drops ``num_drop`` random points of every cloud. (B, C, N) -> (B, C, N - num_drop).

    Every call draws anew, for every cloud on its own, from a generator that ``seed`` starts; the remaining points keep
    their order. The draw is apart from the gather, so the gradient flows to the points that were kept: an adaptive
    attack sees one draw a call, or several under ``ExpectationOverTransformation``.
    """

    def __init__(self, num_drop: int = 500, seed: int = 0) -> None:
        super().__init__()
        self.num_drop = num_drop
        self.generator = torch.Generator().manual_seed(seed)

    def draw(self, batch: int, num_points: int) -> Tensor:
        """Indices of the points to keep, ascending: (batch, num_points - num_drop)."""
        order = torch.rand(batch, num_points, generator=self.generator).argsort(1)
        return order[:, self.num_drop :].sort(1).values

    def forward(self, clouds: Tensor) -> Tensor:
        _check_clouds(clouds)
        batch, _, num_points = clouds.shape
        if not 0 <= self.num_drop < num_points:
            raise ValueError(f"SRS cannot drop {self.num_drop} points of clouds of {num_points}")
        return _take(clouds, self.draw(batch, num_points).to(clouds.device))


@torch.no_grad()
def outlier_statistics(points: Tensor, k: int = 2, alpha: float = 1.1) -> tuple[Tensor, Tensor]:
    """What statistical outlier removal decides by; float64, detached.

    Args:
        points: (B, N, 3).
        k: number of neighbours.
        alpha: standard deviations above the mean that are kept.

    Returns:
        Mean squared distances (B, N) to the k nearest others, and the threshold (B,) of every cloud: mean + alpha *
        standard deviation (unbiased) of those.
    """
    points = points.detach().double()
    squared, _ = knn(points, points, k + 1)
    values = squared[..., 1:].mean(-1)
    return values, values.mean(1) + alpha * values.std(1)


class SOR(nn.Module):
    """Statistical outlier removal (DUP-Net's denoiser): drops points that are far from their k nearest neighbours.

    Keeps the points with ``outlier_statistics`` within the threshold, in their order, and repeats them from the first
    until there are ``num_points`` (None: as many as came in). (B, C, N) -> (B, C, num_points). Which points are kept is
    decided without gradient; the gradient flows to those, and adds up over the repeats.
    """

    def __init__(self, k: int = 2, alpha: float = 1.1, num_points: int | None = None) -> None:
        super().__init__()
        self.k, self.alpha, self.num_points = k, alpha, num_points

    def forward(self, clouds: Tensor) -> Tensor:
        _check_clouds(clouds)
        values, threshold = outlier_statistics(clouds[:, :3].transpose(1, 2), self.k, self.alpha)
        # The slack is rounding: on a regular grid all values are equal, and equal to the threshold.
        keep = values <= threshold[:, None] * (1 + 1e-12)
        kept_first = (~keep).to(torch.uint8).argsort(dim=1, stable=True)
        position = torch.arange(self.num_points or clouds.shape[2], device=clouds.device)
        return _take(clouds, kept_first.gather(1, position % keep.sum(1, keepdim=True)))


class DUPNet(nn.Module):
    """DUP-Net (Zhou et al., ICCV 2019): outlier removal, then up-sampling. (B, C, N) -> (B, 3, up_ratio * N).

    ``from_weights`` builds the published pair.

    Args:
        sor: the denoiser.
        punet: the up-sampler, from points (B, N, 3) to (B, up_ratio * N, 3).
    """

    def __init__(self, sor: nn.Module, punet: nn.Module) -> None:
        super().__init__()
        self.sor, self.punet = sor, punet

    @classmethod
    def from_weights(cls, weights: str | Path | None = None, k: int = 2, alpha: float = 1.1) -> DUPNet:
        """The published settings, with the PU-Net of a weights file, frozen. Raises UserError where there is none."""
        if weights is None:
            raise UserError(f"the defence dupnet needs weights=PATH: {_PUNET_WEIGHTS}")
        if not Path(weights).is_file():
            raise UserError(f"{weights} not found: the defence dupnet needs {_PUNET_WEIGHTS}")
        punet, _ = import_published(weights, "pu_net")
        return cls(SOR(k, alpha), punet.requires_grad_(False))

    def forward(self, clouds: Tensor) -> Tensor:
        return self.punet(self.sor(clouds)[:, :3].transpose(1, 2)).transpose(1, 2)


class SurfaceOptimisation(nn.Module):
    """IF-Defense's optimisation (Wu et al., 2020) on the cloud's own surface: (B, C, N) -> (B, 3, N).

    As there: outlier removal, then 200 steps of Adam on the coordinates, on the distance from an implicit surface and the
    repulsion of five neighbours (radius 0.07, h 0.03). There the surface is that of an occupancy network, whose weights are
    not here; here it is the moving least squares surface of the points that were kept: the distance of x is the mean of
    |(x - p).m| over the nearest points p with their normals m (of ``k`` neighbours), weighted by distance. It knows no
    shapes, and cannot complete one.

    The optimisation has no gradient worth following: backward it counts as the identity (backward pass differentiable
    approximation, Athalye et al., ICML 2018), so that an adaptive attack moves the points that come through.

    Args:
        iterations: of Adam.
        learning_rate: of Adam.
        repulsion: weight of the repulsion.
        k: points that a normal is estimated from and a distance is taken over.
    """

    _RADIUS, _H, _REPELLED, _SEARCH_EVERY = 0.07, 0.03, 5, 10

    def __init__(self, iterations: int = 200, learning_rate: float = 1e-3, repulsion: float = 0.2, k: int = 20) -> None:
        super().__init__()
        self.iterations, self.learning_rate, self.repulsion, self.k = iterations, learning_rate, repulsion, k
        self.sor = SOR()

    def forward(self, clouds: Tensor) -> Tensor:
        kept = self.sor(clouds)[:, :3]
        moved = self._optimised(kept.detach().transpose(1, 2)).transpose(1, 2)
        return kept + (moved - kept).detach()

    @torch.enable_grad()
    def _optimised(self, points: Tensor) -> Tensor:
        """Points (B, N, 3) after the descent."""
        points = points.clone()
        normals = estimate_normals(points, self.k)
        # Points that outlier removal repeated lie on each other and would never part.
        start = points + 1e-4 * torch.sin(torch.arange(points[0].numel()).to(points)).view_as(points[0])
        moving = start.requires_grad_()
        optimiser = torch.optim.Adam([moving], lr=self.learning_rate)
        for iteration in range(self.iterations):
            if iteration % self._SEARCH_EVERY == 0:
                _, near = knn(moving.detach(), points, min(self.k, points.shape[1]))
                _, others = knn(moving.detach(), moving.detach(), min(self._REPELLED + 1, points.shape[1]))
                anchors, planes = gather(points, near), gather(normals, near)
            loss = self._off_surface(moving, anchors, planes) + self.repulsion * self._crowding(moving, others[..., 1:])
            optimiser.zero_grad()
            loss.sum().backward()
            optimiser.step()
        return moving.detach()

    def _off_surface(self, points: Tensor, anchors: Tensor, planes: Tensor) -> Tensor:
        """Sum over the points of their distances (B,) from the planes of the points around them."""
        offsets = points[:, :, None] - anchors
        squared = offsets.detach().square().sum(-1)
        weights = (-squared / squared.mean(2, keepdim=True).clamp_min(1e-12)).softmax(2)
        return (weights * (offsets * planes).sum(-1).abs()).sum((1, 2))

    def _crowding(self, points: Tensor, others: Tensor) -> Tensor:
        """Sum over the points (B,) of how much too near their neighbours are: (radius - d) exp(-d^2 / h^2)."""
        squared = (gather(points, others) - points[:, :, None]).square().sum(-1).clamp_min(1e-12)
        return ((self._RADIUS - squared.sqrt()) * (-squared / self._H**2).exp()).sum((1, 2))


class Defended(nn.Module):
    """A victim behind a defence: ``model(defence(clouds))``.

    Args:
        model: (B, 3, M) -> anything a victim returns.
        defence: any callable (B, 3, N) -> (B, 3, M).
    """

    def __init__(self, model: Callable[[Tensor], Any], defence: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.model, self.defence = model, defence

    def forward(self, clouds: Tensor) -> Any:
        return self.model(self.defence(clouds))


class ExpectationOverTransformation(nn.Module):
    """Expected log-probabilities of a random model over ``num_draws`` draws: (B, 3, N) -> (B, num_classes).

    Athalye et al., "Synthesizing Robust Adversarial Examples", ICML 2018. The mean is of the log-probabilities,
    E[log p], as there: its gradient is the mean of the draws' gradients, of logits and log-probabilities alike, where
    log E[p] would follow the few draws that are already fooled. The margin between two classes is the mean margin.
    All draws run in one batch: model must draw for every cloud on its own, as ``SRS`` does.
    """

    def __init__(self, model: Callable[[Tensor], Any], num_draws: int = 8) -> None:
        super().__init__()
        if num_draws < 1:
            raise UserError(f"num_draws must be at least 1, got {num_draws}")
        self.model, self.num_draws = model, num_draws

    def forward(self, clouds: Tensor) -> Tensor:
        output = self.model(clouds.repeat(self.num_draws, 1, 1))
        if isinstance(output, tuple):
            output = output[0]
        return F.log_softmax(output, -1).unflatten(0, (self.num_draws, -1)).mean(0)


DEFENCES: Mapping[str, Callable[..., nn.Module]] = {
    "srs": SRS,
    "sor": SOR,
    "dupnet": DUPNet.from_weights,
    "surface_opt": SurfaceOptimisation,
}


def build_defence(name: str, **options: Any) -> nn.Module:
    """A defence by its name in ``DEFENCES``; options are its constructor's. Raises UserError for unknown ones."""
    if name not in DEFENCES:
        closest = difflib.get_close_matches(str(name), DEFENCES, n=1, cutoff=0.0)[0]
        raise UserError(f"unknown defence {name!r}: did you mean {closest!r}? (known: {', '.join(DEFENCES)})")
    known = inspect.signature(DEFENCES[name]).parameters
    for option in options:
        if option not in known:
            closest = difflib.get_close_matches(option, known, n=1, cutoff=0.0)[0]
            raise UserError(
                f"defence {name!r} has no option {option!r}: did you mean {closest!r}? (known: {', '.join(known)})"
            )
    return DEFENCES[name](**options)


class InFront:
    """Puts a defence in front of a victim, for attacks that go through it: (victim, seed) -> defended victim.

    Args:
        name: of ``DEFENCES``.
        punet: weights of PU-Net, for dupnet.
        draws: of the defence, averaged in every forward pass (expectation over transformation).
        device: where the defence runs.
    """

    def __init__(self, name: str, punet: str | None = None, draws: int = 1, device: torch.device | str = "cpu") -> None:
        options = {"weights": punet} if punet and name == "dupnet" else {}
        self.name, self.draws, self.device = name, draws, device
        self.defence = build_defence(name, **options).to(device)

    def __call__(self, victim: nn.Module, seed: int) -> nn.Module:
        """The victim behind the defence; the seed decides what a random one draws."""
        defence = self.defence
        if isinstance(defence, SRS):
            defence = build_defence(self.name, seed=seed).to(self.device)
        model = Defended(victim, defence)
        return ExpectationOverTransformation(model, self.draws) if self.draws > 1 else model

    def description(self) -> dict[str, Any]:
        """What it is, in plain values."""
        return {"name": self.name, "draws": self.draws, "weights": weights_digest(self.defence)}
