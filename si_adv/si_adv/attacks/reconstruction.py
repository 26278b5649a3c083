"""AdvPC: moves that survive an autoencoder (Hamdi et al., "AdvPC: Transferable Adversarial Perturbations on 3D Point Clouds",
ECCV 2020)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from si_adv.attacks.base import Victim
from si_adv.attacks.optimization import TwoViewAttack
from si_adv.models.autoencoder import load_autoencoder


class AdvPC(TwoViewAttack):
    """AdvPC: Adam on (1 - gamma) loss(cloud) + gamma loss(what an autoencoder makes of it), in a box.

    What the data's autoencoder takes out of a cloud belongs to the victim rather than to the shape; what survives it fools more
    networks. The settings of ``TwoViewAttack`` are those of later untargeted reimplementations, with the hard bound in
    L_inf alone; in the authors' program the rate is 0.005 and gamma 0.2, and ten searches of 500 steps also weigh soft
    distances.

    Args:
        autoencoder: of the data, clouds (B, N, 3) -> (B, M, 3), or the folder that holds one (``load_autoencoder``); None: the
            bundled one, which knows the embedded shapes alone. Like the victim it is used in evaluation mode and left as it
            was; what it makes does not count as a query, the victim's look at it does.

    Other arguments: see ``TwoViewAttack`` and ``OptimizationAttack``.

    Raises:
        UserError: there is no autoencoder in the folder.
    """

    def __init__(
        self, model: Victim, *, autoencoder: Callable[[Tensor], Tensor] | str | Path | None = None, **options
    ) -> None:
        super().__init__(model, **options)
        if autoencoder is None or isinstance(autoencoder, str | Path):
            autoencoder = load_autoencoder(autoencoder)
        self.autoencoder: Callable[[Tensor], Tensor] = autoencoder

    def _models(self) -> tuple[Victim, ...]:
        return (*super()._models(), self.autoencoder)

    def _context(self, clean: Tensor, labels: Tensor, normals: Tensor | None) -> tuple[Tensor, ...]:
        if isinstance(self.autoencoder, nn.Module):
            self.autoencoder.to(clean.device)
        return (clean,)

    def _view(self, points: Tensor, *context: Tensor) -> Tensor:
        return self.autoencoder(points)
