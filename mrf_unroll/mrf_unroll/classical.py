"""Classical reconstructions of the compressed time series x from h = A^H W y; matching to a dictionary follows them.

All take a batch, (B, s, H, W), with step sizes, momenta and stopping of their own for every item; x is real where h is.
``normal`` is x -> A^H W A x, as ``ToeplitzNormal`` or ``SubspaceOperator.normal``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from mrf_unroll.operators import Normal, least_squares_scale


@dataclass(frozen=True)
class Solved:
    """An iterative method's result x (B, s, H, W) and what it did.

    Args:
        history: (iterations + 1, B), the objective (LRTV), the residual |b - M x| / |b| (conjugate gradients) or |x -
            z| / |x| (ADMM) from the start on.
        iterations: (B,) how many each item used.
    """

    x: torch.Tensor
    history: torch.Tensor
    iterations: torch.Tensor


def zero_filled(h: torch.Tensor, normal: Normal) -> torch.Tensor:
    """a h with the a that brings a N h closest to h: the input of SVD-MRF (McGivney 2014)."""
    return h * _spread(least_squares_scale(h, normal))


@torch.no_grad()
def conjugate_gradient(
    normal: Normal,
    h: torch.Tensor,
    lam: float = 0.0,
    iterations: int = 20,
    tol: float = 0.0,
    start: torch.Tensor | None = None,
) -> Solved:
    """Solve (A^H W A + lam I) x = h: low-rank inversion. Stops an item at residual ``tol``, all at ``iterations``."""
    x = torch.zeros_like(h) if start is None else start.clone()
    residual = h - normal(x) - lam * x if start is not None else h.clone()
    direction, energy = residual.clone(), _inner(residual, residual)
    scale = _inner(h, h).clamp(min=torch.finfo(energy.dtype).tiny)
    history, used = [(energy / scale).sqrt()], torch.zeros(len(h), dtype=torch.int64, device=h.device)
    for _ in range(iterations):
        active = history[-1] > tol
        if not active.any():
            break
        image = normal(direction) + lam * direction
        curvature = _inner(direction, image)
        active &= curvature > 0
        step = torch.where(active, energy / curvature.clamp(min=1e-30), 0.0)
        x = x + _spread(step) * direction
        residual = residual - _spread(step) * image
        following = _inner(residual, residual)
        ratio = torch.where(active, following / energy.clamp(min=1e-30), 0.0)
        direction = torch.where(_spread(active), residual + _spread(ratio) * direction, direction)
        energy = torch.where(active, following, energy)
        used += active
        history.append((energy / scale).sqrt())
    return Solved(x, torch.stack(history), used)


# LRTV ---------------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def lrtv(
    h: torch.Tensor,
    normal: Normal,
    lam: float = 4e-5,
    step: float | torch.Tensor | None = None,
    iterations: int = 200,
    tol: float = 1e-4,
    prox_iterations: int = 10,
    data_energy: torch.Tensor | float = 0.0,
) -> Solved:
    """Low rank and total variation (Golbabaee 2021): min 0.5 |W^(1/2)(A x - y)|^2 + lam sum_k TV(x_k) by FISTA.

    TV is isotropic, in 2-D, of the real and of the imaginary part of every component.

    A step that would raise the objective restarts the momentum from the last iterate, so that the objective falls
    with every accepted step.

    Args:
        step: the first step size (B,); halved while the quadratic bound fails; the least-squares scale of h where
            None.
        tol: an item stops when its objective changes by less than this share.
        data_energy: (B,) |W^(1/2) y|^2, which is a constant of the objective.
    """
    step = least_squares_scale(h, normal) if step is None else torch.as_tensor(step, dtype=h.real.dtype).expand(len(h))
    step = step.clone().to(h.device)

    def smooth(image: torch.Tensor, point: torch.Tensor) -> torch.Tensor:
        """0.5 |W^(1/2)(A x - y)|^2 from N x and x."""
        return 0.5 * _inner(point, image) - _inner(point, h) + 0.5 * data_energy

    x = torch.zeros_like(h)
    image = torch.zeros_like(h)
    point, point_image = x, image
    momentum = torch.ones_like(step)
    history = [smooth(image, x) + lam * total_variation(x)]
    active = torch.ones_like(step, dtype=torch.bool)
    used = torch.zeros(len(h), dtype=torch.int64, device=h.device)
    for _ in range(iterations):
        gradient, at_point = point_image - h, smooth(point_image, point)
        for _ in range(40):
            moved = prox_tv(point - _spread(step) * gradient, lam * step, prox_iterations)
            moved_image = normal(moved)
            change = moved - point
            bound = at_point + _inner(gradient, change) + _inner(change, change) / (2 * step.clamp(min=1e-30))
            # Rounding of the objective itself is no reason to halve the step.
            failed = active & (smooth(moved_image, moved) > bound + 1e-6 * at_point.abs())
            if not failed.any():
                break
            step = torch.where(failed, step / 2, step)
        objective = smooth(moved_image, moved) + lam * total_variation(moved)
        falls = objective <= history[-1]
        accepted = active & falls
        following = (1 + (1 + 4 * momentum**2).sqrt()) / 2
        weight = _spread(torch.where(accepted, (momentum - 1) / following, 0.0))
        take = _spread(accepted)
        new_x, new_image = torch.where(take, moved, x), torch.where(take, moved_image, image)
        point = new_x + weight * (new_x - x)
        point_image = new_image + weight * (new_image - image)
        x, image = new_x, new_image
        # A step without momentum that still does not lower the objective has converged.
        stuck = active & ~falls & (momentum == 1)
        momentum = torch.where(accepted, following, torch.ones_like(momentum))
        used += accepted
        latest = torch.where(accepted, objective, history[-1])
        settled = accepted & ((latest - history[-1]).abs() < tol * latest.abs())
        history.append(latest)
        active = active & ~stuck & ~settled
        if not active.any():
            break
    return Solved(x, torch.stack(history), used)


def total_variation(x: torch.Tensor) -> torch.Tensor:
    """(B,) sum over components, real and imaginary parts, of the isotropic total variation."""
    planes = _planes(x)
    down, right = _differences(planes)
    return (down**2 + right**2).sqrt().flatten(1).sum(dim=1)


def prox_tv(x: torch.Tensor, weight: torch.Tensor, iterations: int = 10) -> torch.Tensor:
    """argmin_z 0.5 |z - x|^2 + weight TV(z), of every component by itself, by dual FGP (Beck and Teboulle 2009).

    The dual starts at 0.

    Args:
        weight: (B,).
    """
    planes = _planes(x)
    weight = weight.reshape(-1, 1, 1, 1).to(planes.dtype)
    down, right = torch.zeros_like(planes), torch.zeros_like(planes)
    last_down, last_right, momentum = down, right, 1.0
    for _ in range(iterations):
        along, across = _differences(planes - weight * _adjoint_differences(down, right))
        size = 1 / (8 * weight.clamp(min=1e-30))
        along, across = down + size * along, right + size * across
        length = (along**2 + across**2).sqrt().clamp(min=1)
        along, across = along / length, across / length
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ratio = (momentum - 1) / following
        down, right = along + ratio * (along - last_down), across + ratio * (across - last_right)
        last_down, last_right, momentum = along, across, following
    solved = planes - weight * _adjoint_differences(last_down, last_right)
    solved = torch.where(weight > 0, solved, planes)
    return torch.complex(*solved.chunk(2, dim=1)) if x.is_complex() else solved


def _planes(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([x.real, x.imag], dim=1) if x.is_complex() else x


def _differences(planes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Forward differences down and right, 0 across the border."""
    down, right = torch.zeros_like(planes), torch.zeros_like(planes)
    down[..., :-1, :] = planes[..., 1:, :] - planes[..., :-1, :]
    right[..., :-1] = planes[..., 1:] - planes[..., :-1]
    return down, right


def _adjoint_differences(down: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """The transpose of ``_differences``."""
    planes = torch.zeros_like(down)
    planes[..., :-1, :] -= down[..., :-1, :]
    planes[..., 1:, :] += down[..., :-1, :]
    planes[..., :-1] -= right[..., :-1]
    planes[..., 1:] += right[..., :-1]
    return planes


# Plug and play ------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def pnp_admm(
    h: torch.Tensor,
    normal: Normal,
    denoiser: Callable[[torch.Tensor], torch.Tensor],
    gamma: float = 0.05,
    iterations: int = 100,
    cg_iterations: int = 20,
    cg_tol: float = 1e-4,
) -> Solved:
    """Plug-and-play ADMM (Fatania 2022): x solves (N + gamma I) x = h + gamma (z - u); z = denoiser(x + u); u += x - z.

    Args:
        denoiser: (B, s, H, W) -> the same.
        gamma: relative to the operator's norm when that is 1.
    """
    x = zero_filled(h, normal)
    z, u = x, torch.zeros_like(x)
    history = [torch.zeros(len(h), device=h.device)]
    for _ in range(iterations):
        x = conjugate_gradient(normal, h + gamma * (z - u), gamma, cg_iterations, cg_tol, start=x).x
        z = denoiser(x + u)
        u = u + x - z
        gap = (_inner(x - z, x - z) / _inner(x, x).clamp(min=1e-30)).sqrt()
        history.append(gap)
    return Solved(x, torch.stack(history), torch.full((len(h),), iterations))


def tv_denoiser(weight: float, iterations: int = 20) -> Callable[[torch.Tensor], torch.Tensor]:
    """A denoiser without training for ``pnp_admm``: the proximal map of total variation with a weight relative to max |x|."""

    def denoise(x: torch.Tensor) -> torch.Tensor:
        return prox_tv(x, weight * x.abs().flatten(1).amax(dim=1), iterations)

    return denoise


def _inner(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(B,) Re <a, b>."""
    product = (a.conj() * b).real if a.is_complex() else a * b
    return product.flatten(1).sum(dim=1)


def _spread(scalar: torch.Tensor) -> torch.Tensor:
    return scalar.reshape(-1, 1, 1, 1)
