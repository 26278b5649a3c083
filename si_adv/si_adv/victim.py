"""``Victim``: a classifier with what is needed to use it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from shared_utils import UserError
from shared_utils.checkpoint import Exportable
from si_adv.models import build_victim


class Victim(nn.Module, Exportable):
    """A classifier and its facts: (B, 3, N) clouds, (B, 6, N) with normals, -> logits or log-probabilities (B, C).

    ``save_pretrained(folder)`` writes ``model.safetensors`` and ``config.json``, ``from_pretrained(folder)`` reads them.

    Args:
        architecture: a name of ``si_adv.models.VICTIMS``.
        num_classes: number of outputs.
        class_names: in the order of the outputs (default ``class_0``, ...).
        num_points: of the clouds it was trained for.
        with_normals: whether it takes normals.
        options: further constructor arguments of the architecture.

    Raises:
        UserError: an unknown architecture, or class names that do not number ``num_classes``.
    """

    def __init__(
        self,
        architecture: str,
        num_classes: int,
        class_names: Sequence[str] | None = None,
        num_points: int = 1024,
        with_normals: bool = False,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        class_names = [f"class_{index}" for index in range(num_classes)] if class_names is None else list(class_names)
        if len(class_names) != num_classes:
            raise UserError(f"{len(class_names)} class names for {num_classes} classes: give one name a class")
        self.architecture, self.num_classes, self.class_names = architecture, num_classes, class_names
        self.num_points, self.with_normals = num_points, with_normals
        self.model = build_victim(architecture, num_classes, with_normals, **(options or {}))

    def forward(self, clouds: Tensor) -> Tensor:
        return self.model(clouds)

    def input_of(self, points: Tensor, normals: Tensor) -> Tensor:
        """What the victim looks at: points (M, N, 3), with the normals behind them (M, N, 6) where it takes normals."""
        return torch.cat([points, normals], 2) if self.with_normals else points

    @torch.no_grad()
    def predict(self, clouds: Tensor, batch_size: int = 32) -> Tensor:
        """Probabilities (M, C), on the CPU.

        Args:
            clouds: (M, N, 3), or (M, N, 6) with normals; see ``input_of``.
            batch_size: clouds passed at once.
        """
        device = next(self.model.parameters()).device
        parts = [self(part.transpose(1, 2).contiguous().to(device)) for part in clouds.split(batch_size)]
        return torch.cat([part.float().softmax(1).cpu() for part in parts])

    def class_number(self, text: str) -> int:
        """The number of a class given by its name or number; UserError for another."""
        if text in self.class_names:
            return self.class_names.index(text)
        if text.isdigit() and int(text) < self.num_classes:
            return int(text)
        raise UserError(
            f"unknown class {text}: give a number below {self.num_classes}, or one of {', '.join(self.class_names)}"
        )

    def check_labels(self, labels: Tensor, class_names: Sequence[str], name: str) -> None:
        """Raise UserError where clouds have classes that the victim does not know.

        Args:
            labels: of the clouds, (M,).
            class_names: of the data set.
            name: what the victim is called in the message.
        """
        highest = int(labels.max())
        if highest >= self.num_classes:
            raise UserError(
                f"{name} knows {self.num_classes} classes, the data has a cloud of class {highest} "
                f"({class_names[highest]}): give a checkpoint trained on these classes"
            )
