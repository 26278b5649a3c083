"""Every reconstruction under one interface, so that they can stand in one table.

A method takes h = A^H W y (B, s, H, W), the normal operator x -> A^H W A x and its norm L, and returns maps (B, 3, H, W),
T1 [s], T2 [s], PD, with the time series x (B, s, H, W) that they come from or lead to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mrf_unroll import classical
from mrf_unroll.dictionary import Dictionary
from mrf_unroll.locally_low_rank import locally_low_rank
from mrf_unroll.metrics import map_errors
from mrf_unroll.models import Denoiser, MRFResNet
from mrf_unroll.operators import least_squares_scale
from mrf_unroll.reconstructor import Reconstructor, physical
from shared_utils import UserError

Normal = Callable[[Tensor], Tensor]


class Result(NamedTuple):
    """maps (B, 3, H, W), T1 [s], T2 [s], PD >= 0; tsmi (B, s, H, W)."""

    maps: Tensor
    tsmi: Tensor


def match_maps(dictionary: Dictionary, tsmi: Tensor, refine: bool = False) -> Tensor:
    """Dictionary matching of (B, s, H, W): maps (B, 3, H, W), T1 and T2 in s, the magnitude of PD; see ``match``."""
    found = dictionary.match(tsmi, refine)
    maps = (found.t1_ms / 1000, found.t2_ms / 1000, found.pd.abs())
    return torch.stack([torch.as_tensor(one).to(torch.float32) for one in maps], dim=1)


# Fields are told apart to this; the flip angles of a group are wrong by half of it at most.
_B1_STEP = 0.02


def match_with_b1(dictionary: Dictionary, tsmi: Tensor, b1: Tensor, refine: bool = False) -> Tensor:
    """``match_maps`` with every voxel's own relative transmit field b1 (H, W), in groups of 0.02.

    The basis of ``dictionary`` must hold the signals of these fields (``Dictionary.build``).
    """
    groups = (b1 / _B1_STEP).round().long()
    maps = torch.zeros(len(tsmi), 3, *tsmi.shape[2:])
    for group in groups.unique().tolist():
        inside = groups == group
        own = dictionary.at_b1(group * _B1_STEP)
        # The voxels of a group as one column.
        maps[:, :, inside] = match_maps(own, tsmi[:, :, inside][..., None], refine)[..., 0]
    return maps


# What each classical method can be tuned in. lam is in units of L, and of the data but for low_rank.
GRIDS: dict[str, dict[str, Sequence[Any]]] = {
    "svd_mrf": {},
    "low_rank": {"lam": (0.0, 1e-3, 3e-3, 1e-2, 3e-2), "iterations": (10, 20, 40, 80)},
    "llr": {"lam": (0.003, 0.01, 0.03, 0.1), "iterations": (100,)},
    "lrtv": {"lam": (1e-3, 2e-3, 4e-3, 8e-3), "iterations": (200,)},
    "pnp_admm": {"gamma": (0.003, 0.01, 0.03, 0.1), "iterations": (20,)},
    "mrfresnet": {},
}
TITLES = {
    "svd_mrf": "zero-filled + DM",
    "low_rank": "low-rank CG + DM",
    "llr": "locally low rank + DM",
    "lrtv": "LRTV + DM",
    "pnp_admm": "PnP-ADMM + DM",
    "mrfresnet": "low-rank CG + MRF-ResNet",
    "unet": "U-Net, end to end",
    "no_data_consistency": "unrolled without data consistency",
    "unrolled": "unrolled",
}
# refine: matching ends with a step off the dictionary's grid.
DEFAULTS: dict[str, dict[str, Any]] = {
    "svd_mrf": {"refine": False},
    "low_rank": {"lam": 3e-3, "iterations": 20, "refine": False},
    "llr": {"lam": 0.01, "iterations": 100, "block": 6, "refine": False},
    "lrtv": {"lam": 3e-3, "iterations": 200, "refine": False},
    "pnp_admm": {"gamma": 0.1, "iterations": 20, "refine": False},
    "mrfresnet": {"lam": 3e-3, "iterations": 20},
}


@dataclass
class Classical:
    """A classical reconstruction of the time series, then dictionary matching (or MRF-ResNet).

    Args:
        name: ``svd_mrf``, ``low_rank``, ``llr``, ``lrtv``, ``pnp_admm`` or ``mrfresnet``.
        options: as in ``DEFAULTS``.
        network: the denoiser of ``pnp_admm``, the voxelwise network of ``mrfresnet``.
        b1: (H, W) relative transmit field, for matching.
    """

    name: str
    dictionary: Dictionary
    options: dict[str, Any] = field(default_factory=dict)
    network: Denoiser | MRFResNet | None = None
    b1: Tensor | None = None

    def __post_init__(self) -> None:
        self.check_options(self.name, self.options)

    @staticmethod
    def check_options(name: str, options: Iterable[str]) -> None:
        """Raise UserError for a method that is not known, and for options that it does not take."""
        if name not in DEFAULTS:
            raise UserError(f"no method {name}: known are {', '.join(DEFAULTS)}")
        if unknown := set(options) - set(DEFAULTS[name]):
            raise UserError(f"{name} takes {', '.join(DEFAULTS[name])}, not {', '.join(sorted(unknown))}")

    @torch.no_grad()
    def __call__(self, adjoint: Tensor, normal: Normal, lipschitz: float) -> Result:
        tsmi = self.series(adjoint, normal, lipschitz)
        if self.name == "mrfresnet":
            assert self.network is not None
            series = tsmi
            if tsmi.is_complex():
                series = (tsmi * torch.exp(-1j * tsmi[:, :1].angle())).real
            return Result(physical(self.network(series)), tsmi)
        refine = self.options.get("refine", False)
        if self.b1 is not None:
            return Result(match_with_b1(self.dictionary, tsmi, self.b1, refine), tsmi)
        return Result(match_maps(self.dictionary, tsmi, refine), tsmi)

    def series(self, adjoint: Tensor, normal: Normal, lipschitz: float) -> Tensor:
        """The time series (B, s, H, W)."""
        options = {**DEFAULTS[self.name], **self.options}
        if self.name == "svd_mrf":
            return classical.zero_filled(adjoint, normal)
        if self.name in ("low_rank", "mrfresnet"):
            return classical.conjugate_gradient(normal, adjoint, options["lam"] * lipschitz, options["iterations"]).x
        # Beyond the quadratic, lam and the denoiser depend on the scale of x, which they are given as about one.
        scale = self.scale(adjoint, normal)
        if self.name == "llr":
            lam, iterations, block = options["lam"] * lipschitz, options["iterations"], options["block"]
            found = locally_low_rank(adjoint / scale, normal, lipschitz, lam, iterations, block)
        elif self.name == "lrtv":
            found = classical.lrtv(
                adjoint / scale, normal, options["lam"] * lipschitz, iterations=options["iterations"]
            )
        else:
            found = classical.pnp_admm(
                adjoint / scale, normal, self._denoise, options["gamma"] * lipschitz, options["iterations"]
            )
        return scale * found.x

    @torch.no_grad()
    def _denoise(self, x: Tensor) -> Tensor:
        assert self.network is not None
        return torch.complex(self.network(x.real), self.network(x.imag)) if x.is_complex() else self.network(x)

    @staticmethod
    def scale(adjoint: Tensor, normal: Normal) -> Tensor:
        """(B, 1, 1, 1): the root mean square over voxels of the scaled zero-filled time series' norm."""
        zero_filled = least_squares_scale(adjoint, normal).reshape(-1, 1, 1, 1) * adjoint
        return zero_filled.abs().square().sum(dim=1, keepdim=True).mean(dim=(2, 3), keepdim=True).sqrt()


@dataclass
class Learnt:
    """A trained network of any kind. gain, trained_trajectory: see ``Reconstructor.reconstruct``."""

    name: str
    reconstructor: Reconstructor
    gain: float | None = 1.0
    trained_trajectory: bool = True

    def __call__(self, adjoint: Tensor, normal: Normal, lipschitz: float) -> Result:
        return Result(*self.reconstructor.reconstruct(adjoint, normal, lipschitz, self.gain, self.trained_trajectory))


class Trial(NamedTuple):
    """One setting of a method and its mean NRMSE of T1 and T2 on the slices that it was tried on."""

    options: dict[str, Any]
    error: float


def tune(
    method: Classical, maps: Tensor, mask: Tensor, adjoint: Tensor, normal: Normal, lipschitz: float
) -> list[Trial]:
    """Try a method's grid on training slices; the best setting is assigned to it. Trials, the best first.

    Args:
        maps, mask: the truth of the slices.
        adjoint: their h.
    """
    grid = GRIDS[method.name]
    trials = []
    for values in product(*grid.values()):
        method.options = dict(zip(grid, values, strict=True))
        errors = map_errors(method(adjoint, normal, lipschitz).maps, maps, mask)
        trials.append(Trial(method.options, (errors["T1_NRMSE"] + errors["T2_NRMSE"]) / 2))
    trials.sort(key=lambda trial: trial.error)
    method.options = trials[0].options
    return trials
