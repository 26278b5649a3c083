"""``Reconstructor``: a network with the operators it was trained for, f(y, g). What checkpoints hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from incomplete_sensing.losses import draw_splits
from incomplete_sensing.models import OperatorAware, build_network, complete_network
from incomplete_sensing.operators import OperatorFamily, TomographyOperators, empty_family
from shared_utils import UserError
from shared_utils.checkpoint import Exportable

Start = Literal["pinv", "adjoint", "fbp"]


class Reconstructor(nn.Module, Exportable):
    """f(y, g) = net(A_g^+ y), or an unrolled network of (y, A_g).

    Args:
        network: ``{"name": ..., **options}`` of ``incomplete_sensing.models``.
        image_shape: (C, H, W).
        operators: the description of a family, whose numbers come with the weights; None for a network without
            operators, which are then assigned to ``operators``.
        start: what the network is given: A^+ y, A^T y, or the filtered back-projection.
        rescale: divide y by the largest magnitude of A^T y and multiply the result, sample by sample, for measurements
            of arbitrary units.
        split_share: of a network trained by splitting; None otherwise.
        splits: such a network reconstructs as the mean over that many random splits.
        data: the data module's arguments that it was trained with, for evaluation.
    """

    def __init__(
        self,
        network: dict[str, Any],
        image_shape: Sequence[int],
        operators: dict[str, Any] | None = None,
        start: Start = "pinv",
        rescale: bool = False,
        split_share: float | None = None,
        splits: int = 5,
        data: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.image_shape = tuple(image_shape)
        self.network_options = complete_network(network, image_shape)
        self.network = build_network(network, image_shape)
        self.start: Start = start
        self.rescale, self.split_share, self.splits = rescale, split_share, splits
        self.data = data
        self.operators: OperatorFamily | None = empty_family(operators) if operators else None

    @classmethod
    def of(cls, operators: OperatorFamily, network: dict[str, Any], **options: Any) -> Reconstructor:
        """A new network for these operators."""
        reconstructor = cls(network, operators.image_shape, **options)
        if options.get("start") == "fbp" and not isinstance(operators, TomographyOperators):
            raise UserError(f"start: fbp is for tomography, these operators are of kind {operators.kind}")
        reconstructor.operators = operators
        return reconstructor

    def config(self) -> dict[str, Any]:
        """The constructor's arguments, in plain values."""
        return {
            "network": self.network_options,
            "image_shape": list(self.image_shape),
            "operators": None if self.operators is None else self.operators.description(),
            "start": self.start,
            "rescale": self.rescale,
            "split_share": self.split_share,
            "splits": self.splits,
            "data": self.data,
        }

    @property
    def complex_valued(self) -> bool:
        """Whether the two channels are real and imaginary part."""
        return self.operators is not None and self.operators.kind in ("mri", "multicoil_mri")

    def forward(self, measurements: Tensor, g: int | Tensor, given: Tensor | None = None) -> Tensor:
        """(B, *measurement_shape) and operator numbers -> (B, C, H, W). given: see ``reconstruct``."""
        return self.reconstruct(measurements, self.operators, g, given)

    def reconstruct(
        self, measurements: Tensor, operators: OperatorFamily | None, g: int | Tensor, given: Tensor | None = None
    ) -> Tensor:
        """f(y, A_g) for operators of any family, such as ones never trained on.

        given: which entries of y may be used, 0/1 and broadcastable to it; all where None. Networks of images see zeros
        in the place of the others, those of (y, A) see fewer rows of A.
        """
        if operators is None:
            raise UserError("this network has no operators: give them (--operators)")
        measurements = measurements if given is None else given * measurements
        scale = None
        if self.rescale:
            scale = operators.adjoint(measurements, g).detach().flatten(1).abs().amax(1).clamp_min(1e-12)
            measurements = measurements / scale.reshape(-1, *([1] * (measurements.ndim - 1)))
        if isinstance(self.network, OperatorAware):
            images = self.network(measurements, operators, g, given)
        else:
            images = self.network(starting_image(measurements, operators, g, self.start))
        return images if scale is None else images * scale[:, None, None, None]

    def predict(self, measurements: Tensor, g: Tensor, operators: OperatorFamily | None = None) -> Tensor:
        """The reconstruction as it is meant to be used: the mean over random splits where it was trained so."""
        operators = operators or self.operators
        if self.split_share is None or operators is None:
            return self.reconstruct(measurements, operators, g)
        generator = torch.Generator().manual_seed(0)
        splits = [draw_splits(operators, g, self.split_share, generator) for _ in range(self.splits)]
        return torch.stack([self.reconstruct(split * measurements, operators, g, split) for split in splits]).mean(0)

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Write ``model.safetensors``, operators included, and ``config.json`` into a folder."""
        if self.operators is not None and not self.operators.stored():
            raise UserError(
                "operators that are functions cannot be stored: set operators to None to save the network alone"
            )
        return super().save_pretrained(save_directory, config=self.config(), **options)


def starting_image(measurements: Tensor, operators: OperatorFamily, g: int | Tensor, start: Start) -> Tensor:
    """A^+ y, A^T y, or the filtered back-projection."""
    if start == "adjoint":
        return operators.adjoint(measurements, g)
    if start == "fbp":
        assert isinstance(operators, TomographyOperators), "Reconstructor.of refuses others"
        return operators.fbp(measurements, g)
    return operators.pinv(measurements, g)
