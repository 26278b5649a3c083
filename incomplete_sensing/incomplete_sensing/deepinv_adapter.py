"""To and from deepinv: its ``Physics`` as our operators, our operators as its ``Physics``, our network as its model.

deepinv is not needed by anything else here; only ``as_physics`` imports it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from incomplete_sensing.operators import CallableOperators, OperatorFamily
from incomplete_sensing.reconstructor import Reconstructor
from shared_utils import UserError


def from_physics(physics: Sequence[Any], image_shape: Sequence[int], device: str = "cpu") -> CallableOperators:
    """deepinv's linear operators as one family: A, A_adjoint and A_dagger of each, without their noise models.

    Args:
        physics: one of deepinv's a number.
        image_shape: (C, H, W).
        device: of the physics.

    Raises:
        UserError: an operator is not linear, or their measurements differ in shape.
    """
    if not physics:
        raise UserError("a family needs at least one physics")
    functions, shapes = [], []
    for number, operator in enumerate(physics):
        if not all(hasattr(operator, name) for name in ("A", "A_adjoint", "A_dagger")):
            raise UserError(
                f"physics {number} ({type(operator).__name__}) is not linear: A, A_adjoint and A_dagger are needed"
            )
        functions.append((operator.A, operator.A_adjoint, operator.A_dagger))
        with torch.no_grad():
            shapes.append(tuple(operator.A(torch.zeros(1, *image_shape, device=device)).shape[1:]))
    if len(set(shapes)) > 1:
        raise UserError(
            f"the measurements of these physics differ in shape: {', '.join(map(str, sorted(set(shapes))))}"
        )
    return CallableOperators(functions, image_shape, shapes[0])


def as_physics(operators: OperatorFamily, g: int) -> Any:
    """Operator ``g`` as a ``deepinv.physics.LinearPhysics``. Raises UserError where deepinv is not installed."""
    try:
        from deepinv.physics import LinearPhysics  # pyright: ignore[reportMissingImports] (an extra of its own)
    except ImportError:
        raise UserError('deepinv is not installed: pip install "tenpapers-incomplete-sensing[peer]"') from None

    class FamilyMember(LinearPhysics):
        def __init__(self) -> None:
            super().__init__()
            self.operators, self.g = operators, g
            self.img_size = operators.image_shape

        def A(self, x: Tensor, **parameters: Any) -> Tensor:
            return self.operators(x, self.g)

        def A_adjoint(self, y: Tensor, **parameters: Any) -> Tensor:
            return self.operators.adjoint(y, self.g)

        def A_dagger(self, y: Tensor, **parameters: Any) -> Tensor:
            return self.operators.pinv(y, self.g)

    return FamilyMember()


class PhysicsModel(nn.Module):
    """Our reconstruction as deepinv calls one: ``model(y, physics)``, the operator being deepinv's."""

    def __init__(self, reconstructor: Reconstructor) -> None:
        super().__init__()
        self.reconstructor = reconstructor

    def forward(self, y: Tensor, physics: Any, **parameters: Any) -> Tensor:
        """(B, ...) measurements and a ``deepinv.physics.LinearPhysics`` -> (B, C, H, W)."""
        family = from_physics([physics], self.reconstructor.image_shape, str(y.device))
        return self.reconstructor.reconstruct(y, family, 0)
