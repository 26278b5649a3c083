"""``MovedOperators``: A_g T, what a family measures of transformed images."""

from __future__ import annotations

import torch
from torch import Tensor

from incomplete_sensing.operators.base import OperatorFamily


class MovedOperators(OperatorFamily):
    """A_g T for one T that permutes the entries of an image: (T x).flatten() = x.flatten()[permutation]."""

    kind = "moved"

    def __init__(self, family: OperatorFamily, permutation: Tensor) -> None:
        super().__init__(family.image_shape, family.num_operators, family.measurement_shape)
        # Not a sub-module: what is stored are the family's own numbers, where it is.
        self._family = (family,)
        self.permutation, self.inverse = permutation.to(family.device), permutation.argsort().to(family.device)

    def _moved(self, images: Tensor, places: Tensor) -> Tensor:
        return images.flatten(1)[:, places].reshape(images.shape)

    def _forward(self, images: Tensor, g: int | Tensor) -> Tensor:
        return self._family[0]._forward(self._moved(images, self.permutation), g)

    def _adjoint(self, measurements: Tensor, g: int | Tensor) -> Tensor:
        return self._moved(self._family[0]._adjoint(measurements, g), self.inverse)

    def _pinv(self, measurements: Tensor, g: int | Tensor) -> Tensor:
        return self._moved(self._family[0]._pinv(measurements, g), self.inverse)

    def observed(self, g: int | Tensor) -> Tensor:
        return self._family[0].observed(g)

    @torch.no_grad()
    def full_matrices(self) -> Tensor:
        return self._family[0].full_matrices()[:, :, self.inverse]
