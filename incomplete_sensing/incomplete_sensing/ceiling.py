"""The ceiling of learning without truth: the PSNR of what any operator sees of an image.

The component of a signal in the null space of [A_1; ...; A_G] (along their orbits, for a model that is invariant to a group)
leaves no trace in any measurement. Nothing that is learned from measurements depends on it, so its energy stays in the
error of every method that does not guess it by luck or from elsewhere.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from incomplete_sensing.given_operators import given_operators
from incomplete_sensing.identifiability import FunctionOperators, MatrixOperators, SelectingOperators
from incomplete_sensing.irreps import Action
from incomplete_sensing.operators import OperatorFamily


class SeenSpace:
    """The row space of all operators together: projects images onto what is seen of them.

    Args:
        operators: as ``given_operators`` has them, or their orbit.
    """

    def __init__(self, operators: MatrixOperators | SelectingOperators) -> None:
        self.operators = operators
        self.missing = operators.n - operators.spectrum()[0]
        self._rows: np.ndarray | None = None
        if self.missing and isinstance(operators, MatrixOperators):
            stack = np.concatenate([space.rows for space in operators.spaces])
            self._rows = np.linalg.svd(stack, full_matrices=False)[2][: operators.spectrum()[0]]

    @classmethod
    def of(cls, family: OperatorFamily, action: Action | None = None) -> SeenSpace | None:
        """What a family sees, along the orbits of a group where there is one; None where that is too large to say."""
        operators = given_operators(family)
        if isinstance(operators, FunctionOperators):
            return None
        if action is not None:
            moved = operators.moved(action)
            if moved is not None and moved.spectrum()[0] == moved.n:
                # Everything is seen: the identity of the first n coordinates, whatever the orbit is.
                return cls(SelectingOperators(np.ones((1, moved.n), dtype=bool), (moved.n,)))
            if not isinstance(moved, (MatrixOperators, SelectingOperators)):
                return None
            operators = moved
        return cls(operators)

    def __call__(self, images: Tensor) -> Tensor:
        """What is seen of images (B, C, H, W), of the same shape."""
        if not self.missing:
            return images
        signals = images.detach().cpu().double().flatten(1).numpy().T
        if self._rows is not None:
            seen = self._rows.T @ (self._rows @ signals)
        else:
            assert isinstance(self.operators, SelectingOperators), "matrices have their rows"
            seen = self.operators.seen(signals)
        return torch.from_numpy(np.ascontiguousarray(seen.T)).to(images).reshape(images.shape)
