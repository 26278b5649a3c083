"""``Reconstructor``: a network with what it is valid for: subspace, schedule and units. What checkpoints hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mrf_unroll.classical import zero_filled
from mrf_unroll.models import BlochDecoder, Iterates, UnrolledNetwork, build_encoder
from mrf_unroll.models.consistency import ConjugateGradients, Consistency, ConsistencyName, StepRule
from mrf_unroll.operators import least_squares_scale
from mrf_unroll.sequence import Sequence as Schedule
from shared_utils import UserError
from shared_utils.checkpoint import Exportable, import_state_dict

# The largest magnitude of the time series is taken at this quantile, so that a few bright voxels do not set it.
_LEVEL_QUANTILE = 0.995


class Reconstructor(nn.Module, Exportable):
    """An unrolled network with the basis V (N, s) and the schedule that it was trained for. Its maps are in s, s and PD.

    Args:
        encoder: ``{"name": ..., **options}`` of ``mrf_unroll.models``.
        decoder_hidden: width of the Bloch decoder.
        rank: s.
        iterations, step_rule, complex_valued, positive, consistency, cg_iterations, symmetric: see
            ``UnrolledNetwork``.
        num_pulses: N; 0 where the basis is not known, as of released weights.
        sequence: of the schedule, in plain values (``Sequence.as_config``).
        image_size, density, trajectory_sha256, operator_norm: of the training, for information.
        level: typical largest magnitude of the time series in training; ``gain`` brings other data there.
        least_squares: typical least-squares step <h, N h> / |N h|^2 in training, by which steps carry over to other
            trajectories.
        data: the data module's arguments in training, for evaluation.
    """

    basis: Tensor

    def __init__(
        self,
        encoder: dict[str, Any],
        rank: int = 10,
        decoder_hidden: int = 300,
        iterations: int = 2,
        step_rule: StepRule = "relu_plus_one",
        complex_valued: bool = False,
        complex_basis: bool = False,
        positive: bool = False,
        consistency: ConsistencyName = "gradient",
        num_pulses: int = 0,
        sequence: dict[str, Any] | None = None,
        image_size: Sequence[int] | None = None,
        density: str = "none",
        trajectory_sha256: str | None = None,
        operator_norm: float | None = None,
        level: float | None = None,
        least_squares: float | None = None,
        map_unit: str = "s",
        data: dict[str, Any] | None = None,
        cg_iterations: int = 5,
        symmetric: bool = False,
    ) -> None:
        super().__init__()
        self.options = {key: value for key, value in locals().items() if key not in ("self", "__class__")}
        decoder = BlochDecoder(rank, decoder_hidden, complex_basis)
        self.network = UnrolledNetwork(
            build_encoder(encoder, 2 * rank if complex_valued else rank),
            decoder,
            iterations,
            step_rule,
            complex_valued=complex_valued,
            positive=positive,
            consistency=consistency,
            cg_iterations=cg_iterations,
            symmetric=symmetric,
        )
        kind = torch.complex64 if complex_basis else torch.float32
        self.register_buffer("basis", torch.zeros(num_pulses, rank, dtype=kind))

    def config(self) -> dict[str, Any]:
        """The constructor's arguments, in plain values."""
        return self.options

    @property
    def sequence(self) -> Schedule | None:
        """The schedule; None where it is not known."""
        stored = self.options["sequence"]
        if stored is None:
            return None
        return Schedule.from_config(stored)

    @property
    def num_parameters(self) -> int:
        """Trained parameters: of the encoder and the steps (the decoder is frozen)."""
        return sum(p.numel() for p in self.network.parameters() if p.requires_grad)

    def forward(
        self,
        adjoint: Tensor,
        normal: Callable[[Tensor], Tensor],
        lipschitz: float | Tensor = 1.0,
        consistency: Consistency | None = None,
    ) -> Iterates:
        """See ``UnrolledNetwork.forward``."""
        return self.network(adjoint, normal, lipschitz, consistency)

    @torch.no_grad()
    def reconstruct(
        self,
        adjoint: Tensor,
        normal: Callable[[Tensor], Tensor],
        lipschitz: float,
        gain: float | None = 1.0,
        trained_trajectory: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Maps (B, 3, H, W) that a report can show, and the last x (B, s, H, W).

        T2 <= T1 and nothing below zero.

        Args:
            adjoint: h = A^H W y, complex or real.
            gain: the data are divided by it and PD multiplied again; None: chosen so that their level is that of the
                training, for scans in arbitrary units.
            trained_trajectory: False keeps the learnt steps in proportion to the least-squares step of these data
                instead of to 1 / L, as how much of the spectrum of A^H W A the object lives in differs between
                trajectories; and conjugate gradients go on for longer, as their speed does.
        """
        adjoint = adjoint if self.network.complex_valued or not adjoint.is_complex() else adjoint.real
        if gain is None:
            gain = self.choose_gain(adjoint, normal)
        if not trained_trajectory and self.network.step_rule == "softplus" and self.options["least_squares"]:
            step = least_squares_scale(adjoint, normal)
            lipschitz = self.options["operator_norm"] * self.options["least_squares"] / float(step.mean())
        consistency = self.network.consistency
        if not trained_trajectory and isinstance(consistency, ConjugateGradients):
            consistency = consistency.to_the_end()
        iterates = self.network(adjoint / gain, normal, lipschitz, consistency)
        maps = physical(iterates.maps[-1])
        return torch.cat([maps[:, :2], gain * maps[:, 2:]], dim=1), gain * iterates.tsmi[-1]

    def choose_gain(self, adjoint: Tensor, normal: Callable[[Tensor], Tensor]) -> float:
        """The level of these data over that of the training; 1 where the latter is not known."""
        stored = self.options["level"]
        return 1.0 if not stored else float(level(adjoint, normal)) / stored

    def check_sequence(self, sequence: Schedule, source: str) -> None:
        """Raise UserError unless a scan (``source``) was made with the schedule of this network."""
        own = self.sequence
        if own is None:
            raise UserError(
                "this network has no basis and no schedule (released weights have none): it cannot reconstruct scans;"
                " use it as initialisation"
            )
        if not own.same_as(sequence):
            raise UserError(
                f"{source} was acquired with another schedule (sha256 {sequence.hash[:12]}, {len(sequence)} pulses) than the"
                f" network was trained for ({own.hash[:12]}, {len(own)} pulses): train one for it, or use --method low_rank"
            )

    def check_basis(self, basis: Tensor | np.ndarray, source: str) -> None:
        """Raise UserError unless ``basis`` is V of this network, signs included."""
        given = torch.as_tensor(np.asarray(basis)).to(self.basis)
        if given.shape != self.basis.shape or float((given - self.basis).abs().max()) > 1e-3:
            raise UserError(
                f"{source} has another basis V {tuple(given.shape)} than the network was trained with"
                f" {tuple(self.basis.shape)}: use the dictionary of its training, or train again with this one"
            )

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Write ``model.safetensors``, basis included, and ``config.json`` into a folder."""
        return super().save_pretrained(save_directory, config=self.config(), **options)

    @classmethod
    def from_training(cls, content: dict[str, Any], source: str) -> Reconstructor:
        """From the content of a training checkpoint."""
        if not isinstance(content, dict) or "reconstructor" not in content:
            raise UserError(
                f"{source} is not a checkpoint of ours: import a published one with import_checkpoint.py first"
            )
        prefix = "reconstructor."
        state = {name[len(prefix) :]: value for name, value in content["state_dict"].items() if name.startswith(prefix)}
        reconstructor = cls(**content["reconstructor"])
        import_state_dict(reconstructor, state, source=source)
        return reconstructor


def physical(maps: Tensor) -> Tensor:
    """Maps as they are reported: nothing below zero, T2 <= T1. maps: (B, 3, H, W)."""
    t1, t2, density = maps.clamp_min(0).unbind(dim=1)
    return torch.stack([t1, torch.minimum(t1, t2), density], dim=1)


def level(adjoint: Tensor, normal: Callable[[Tensor], Tensor]) -> Tensor:
    """The magnitude of the least-squares scaled zero-filled time series, at a high quantile of all voxels; scalar."""
    magnitude = zero_filled(adjoint, normal).abs().square().sum(dim=1).sqrt()
    return torch.quantile(magnitude.flatten()[: 2**24], _LEVEL_QUANTILE)
