"""The unrolled proximal gradient descent: measurement-consistent steps between encoder and Bloch decoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from mrf_unroll.models.bloch import BlochDecoder
from mrf_unroll.models.consistency import (
    CONSISTENCIES,
    STEP_RULES,
    ConjugateGradients,
    Consistency,
    ConsistencyName,
    Normal,
    StepRule,
)
from mrf_unroll.models.dictionary_encoder import DictionaryEncoder
from shared_utils import UserError


class Iterates(NamedTuple):
    """Every iterate of the network, t = 0..T-1: ``inputs`` g_t, ``maps`` m_t (T1 [s], T2 [s], PD), ``tsmi`` x_t."""

    inputs: list[Tensor]
    maps: list[Tensor]
    tsmi: list[Tensor]


class UnrolledNetwork(nn.Module):
    """T times data consistency g, maps m = encoder(g), time series x: three parts that can be exchanged.

    As published (ProxNet / PGD-Net), with h = A^H W y:

        g_0 = step_0 h,    g_t = x_{t-1} - step_t (A^H W A x_{t-1} - h),    m_t = encoder(g_t),    x_t = decoder(m_t)

    An end-to-end network is the case of one iteration: encoder(step_0 h).

    Args:
        encoder: (B, c, H, W) real -> (B, 3, H, W), shared by the iterations; c = s for real time series, 2 s
            otherwise. The x_t of a ``DictionaryEncoder`` is its denoised series.
        decoder: frozen; its parameters take no gradient.
        step_rule: what the learnt alpha_t means: ``relu_plus_one``, a step relu(alpha_t) + 1 (published); ``softplus``, a
            step softplus(alpha_t) / L with L the norm of the normal operator, so that learnt steps carry over to
            another trajectory or number of samples; ``penalty``, softplus(alpha_t) L, of ``cg``.
        initial_alpha: one number, or one an iteration.
        complex_valued: the object has a phase. The encoder sees real and imaginary part of g, turned by the phase of
            its first component, and x_t takes the phase that fits g_t best: that of <decoder(m_t), g_t> in every
            voxel.
        positive: maps through softplus, so that they are never below zero; as published they are unconstrained.
        consistency: ``gradient`` (published), ``cg`` (conjugate gradients) or ``none`` after the first iteration (the
            ablation).
        cg_iterations: of conjugate gradients, in every iteration but the first.
        symmetric: the encoder has no up and no left: in training it sees every input in one of the eight orientations of
            a square, at random, and in evaluation its output is the mean over them.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: BlochDecoder,
        iterations: int = 2,
        step_rule: StepRule = "relu_plus_one",
        initial_alpha: float | Sequence[float] = 2.0,
        complex_valued: bool = False,
        positive: bool = False,
        consistency: ConsistencyName = "gradient",
        cg_iterations: int = 5,
        symmetric: bool = False,
    ) -> None:
        super().__init__()
        alpha = torch.as_tensor(initial_alpha, dtype=torch.float32)
        if iterations < 1 or (alpha.ndim and len(alpha) != iterations):
            raise UserError(f"{iterations} iterations need as many values of alpha (or one), got {alpha.numel()}")
        if decoder.complex_valued and not complex_valued:
            raise UserError("a complex basis needs complex_valued: true")
        for name, known in ((step_rule, STEP_RULES), (consistency, CONSISTENCIES)):
            if name not in known:
                raise UserError(f"no {name} here: known are {', '.join(known)}")
        if (consistency == "cg") != (step_rule == "penalty"):
            raise UserError("consistency: cg and step_rule: penalty belong together")
        if positive and isinstance(encoder, DictionaryEncoder):
            raise UserError("the maps of encoder dictionary are positive by themselves: leave positive out")
        self.encoder, self.decoder = encoder, decoder.requires_grad_(False)
        self.alpha = nn.Parameter(alpha.clone() if alpha.ndim else alpha.repeat(iterations))
        self.step_rule: StepRule = step_rule
        self.complex_valued, self.positive = complex_valued, positive
        if isinstance(encoder, DictionaryEncoder) and encoder.passes not in (1, len(self.alpha)):
            raise UserError(
                f"an encoder of {encoder.passes} passes is not for {len(self.alpha)} iterations: give 1, or as many"
            )
        self.symmetric = symmetric
        if cg_iterations < 1:
            raise UserError(f"cg_iterations must be at least 1, got {cg_iterations}")
        own = ConjugateGradients(cg_iterations) if consistency == "cg" else CONSISTENCIES[consistency]()
        self.consistency: Consistency = own

    @property
    def iterations(self) -> int:
        return len(self.alpha)

    def steps(self, lipschitz: float | Tensor = 1.0) -> Tensor:
        """The T step sizes (penalties) on an operator A^H W A of norm ``lipschitz``."""
        return STEP_RULES[self.step_rule](self.alpha, lipschitz)

    def features(self, g: Tensor) -> Tensor:
        """What the encoder is given of g (B, s, H, W): (B, c, H, W) real, in units of the decoder's atoms."""
        scaled = g / self.decoder.scale
        if not self.complex_valued:
            return scaled
        turned = scaled * _unit(scaled[:, :1]).conj()
        return torch.cat([turned.real, turned.imag], dim=1)

    def encode(self, g: Tensor, t: int = 0) -> tuple[Tensor, Tensor]:
        """g_t (B, s, H, W) -> maps (B, 3, H, W) and the time series (B, s, H, W): on the Bloch manifold, or denoised."""
        if isinstance(self.encoder, DictionaryEncoder):
            encoder = self.encoder
            series = self._oriented(lambda x: encoder.series(x, t), self.features(g))
            maps = encoder.head(series)
            if self.complex_valued:
                series = torch.complex(*series.float().chunk(2, dim=1)) * _unit(g[:, :1])
            return maps, self.decoder.scale * (series if series.is_complex() else series.float())
        maps = self._oriented(self.encoder, self.features(g))
        if self.positive:
            maps = functional.softplus(maps, beta=10.0)
        tsmi = self.decoder(maps)
        tsmi = tsmi if tsmi.is_complex() else tsmi.float()
        if self.complex_valued:
            tsmi = tsmi * _unit((g * tsmi.conj()).sum(dim=1, keepdim=True))
        return maps, tsmi

    def _oriented(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """function(x) of images (B, c, H, W), as ``symmetric`` says."""
        # Channels last: convolutions take a fifth less time on a CPU.
        x = x.contiguous(memory_format=torch.channels_last)
        if not self.symmetric:
            return function(x).contiguous()
        if self.training:
            return seen_as(int(torch.randint(ORIENTATIONS, ())), function, x).contiguous()
        views = [seen_as(orientation, function, x) for orientation in range(ORIENTATIONS)]
        return torch.stack(views).mean(dim=0).contiguous()

    def forward(
        self,
        adjoint: Tensor,
        normal: Normal,
        lipschitz: float | Tensor = 1.0,
        consistency: Consistency | None = None,
    ) -> Iterates:
        """Reconstruct.

        Args:
            adjoint: h = A^H W y, (B, s, H, W), real unless ``complex_valued``.
            normal: x -> A^H W A x of the same shapes.
            lipschitz: norm of ``normal`` (not used by ``relu_plus_one``).
            consistency: another than the network's own.
        """
        steps = self.steps(lipschitz)
        consistency = self.consistency if consistency is None else consistency
        iterates = Iterates([], [], [])
        tsmi = torch.zeros_like(adjoint)
        for t in range(self.iterations):
            # Fourier transforms stay in single precision under autocast.
            with torch.autocast(adjoint.device.type, enabled=False):
                if t == 0:
                    g = consistency.first(adjoint, normal, steps[0], lipschitz)
                else:
                    g = consistency(tsmi, adjoint, normal, steps[t])
            maps, tsmi = self.encode(g, t)
            for kept, value in zip(iterates, (g, maps, tsmi), strict=True):
                kept.append(value)
        return iterates


ORIENTATIONS = 8


def seen_as(orientation: int, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """function of x (B, c, H, W) in one of the eight orientations of a square, turned back."""
    flipped, turns = divmod(orientation, 4)
    view = function(torch.rot90(x.flip(-1) if flipped else x, turns, dims=(-2, -1)))
    back = torch.rot90(view, -turns, dims=(-2, -1))
    return back.flip(-1) if flipped else back


def _unit(value: Tensor) -> Tensor:
    """exp(i phase); 1 where there is nothing. Differentiable there too, as ``torch.sgn`` of zero is not wanted to be."""
    value = torch.complex(value, torch.zeros_like(value)) if not value.is_complex() else value
    return value / (value.real**2 + value.imag**2 + 1e-16).sqrt()
