"""Operators that a user has as functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from incomplete_sensing.operators.base import OperatorFamily, by_operator
from shared_utils import UserError


class CallableOperators(OperatorFamily):
    """Pairs of functions: operators[g] = (A, A^T), or (A, A^T, A^+).

    Functions cannot be stored in a checkpoint: give the same family again when loading.

    Args:
        operators: A takes (B, *image_shape) to (B, *measurement_shape), linear and differentiable; A^T is its transpose.
            Where A^+ is not given, it is found by conjugate gradients.
        image_shape: (C, H, W).
        measurement_shape: of one measurement.

    Raises:
        UserError: a pair is not adjoint on random vectors.
    """

    kind = "callable"

    def __init__(
        self,
        operators: Sequence[tuple[Callable[[Tensor], Tensor], ...]],
        image_shape: Sequence[int],
        measurement_shape: Sequence[int],
    ) -> None:
        super().__init__(image_shape, len(operators), measurement_shape)
        self.operators = [tuple(functions) for functions in operators]
        generator = torch.Generator().manual_seed(0)
        for number, (forward, adjoint, *_) in enumerate(self.operators):
            x = torch.randn(1, *self.image_shape, generator=generator)
            y = torch.randn(1, *self.measurement_shape, generator=generator)
            with torch.no_grad():
                image, back = forward(x), adjoint(y)
            if tuple(image.shape) != tuple(y.shape) or tuple(back.shape) != tuple(x.shape):
                raise UserError(
                    f"operator {number}: A gives {tuple(image.shape[1:])} and A^T {tuple(back.shape[1:])},"
                    f" expected {self.measurement_shape} and {self.image_shape}"
                )
            left, right = (image * y).sum(), (x * back).sum()
            scale = image.norm() * y.norm() + x.norm() * back.norm()
            if (left - right).abs() > 1e-3 * scale:
                raise UserError(
                    f"operator {number}: <A x, y> = {left:.4g} but <x, A^T y> = {right:.4g}: not an adjoint pair"
                )

    def _each(self, position: int, values: Tensor, g: int | Tensor, shape: tuple[int, ...]) -> Tensor:
        groups = by_operator(g)
        if len(groups) == 1:
            return self.operators[groups[0][0]][position](values)
        parts = [self.operators[operator][position](values[rows]) for operator, rows in groups]
        # A slice stands for the whole batch, where there is one group.
        order = torch.cat([rows for _, rows in groups if isinstance(rows, Tensor)]).argsort()
        return torch.cat(parts)[order]

    def _forward(self, images: Tensor, g: int | Tensor) -> Tensor:
        return self._each(0, images, g, self.measurement_shape)

    def _adjoint(self, measurements: Tensor, g: int | Tensor) -> Tensor:
        return self._each(1, measurements, g, self.image_shape)

    def _pinv(self, measurements: Tensor, g: int | Tensor) -> Tensor:
        if all(len(functions) > 2 for functions in self.operators):
            return self._each(2, measurements, g, self.image_shape)
        return super()._pinv(measurements, g)

    def subset(self, operators: Sequence[int]) -> CallableOperators:
        chosen = [self.operators[int(number)] for number in operators]
        return CallableOperators(chosen, self.image_shape, self.measurement_shape)

    def options(self) -> dict[str, Any]:
        return {
            "image_shape": list(self.image_shape),
            "measurement_shape": list(self.measurement_shape),
            "num_operators": self.num_operators,
        }
