"""Saliency-guided dropping of points (Zheng et al., ICCV 2019)."""

from __future__ import annotations

import torch
from torch import Tensor

from si_adv.attacks.base import Attack, AttackResult, Victim, gradient_of
from si_adv.geometry import gather, knn
from si_adv.losses import cross_entropy_loss


class Drop(Attack):
    """Drops the points that the decision rests on, a few at a time, with the saliency taken anew each time.

    Highest goes first of ``-r^alpha sum((p - c) dCE/dp)``, with c the median of the coordinates and r the distance to it.
    Clouds keep their N rows: a dropped point is laid on its nearest survivor. To a network that ends in a max over the
    points that is the same as dropping it.

    num_drop: points to drop in all. drop_per_step: at a time. alpha: exponent of the distance. early_stop: a cloud stops
    at its first success; otherwise all ``num_drop`` are dropped.

    Other arguments: see ``Attack``. ``steps`` of the result counts the rounds.
    """

    def __init__(
        self,
        model: Victim,
        *,
        num_drop: int = 200,
        drop_per_step: int = 5,
        alpha: float = 1.0,
        early_stop: bool = True,
        **options,
    ) -> None:
        super().__init__(model, **options)
        if num_drop < 0 or drop_per_step < 1:
            raise ValueError(f"num_drop must be >= 0 and drop_per_step >= 1, got {num_drop} and {drop_per_step}")
        self.num_drop = num_drop
        self.drop_per_step = drop_per_step
        self.alpha = alpha
        self.early_stop = early_stop

    def _attack(self, clean: Tensor, labels: Tensor, normals: Tensor | None, ids: Tensor) -> AttackResult:
        batch, num_points, _ = clean.shape
        if self.num_drop >= num_points:
            raise ValueError(f"num_drop={self.num_drop} leaves nothing of clouds of {num_points} points")
        result = AttackResult.blank(clean.clone())
        active = torch.arange(batch, device=clean.device)
        # survivors: rows that are left, in order; owner: the survivor that every row now lies on.
        survivors = torch.arange(num_points, device=clean.device).repeat(batch, 1)
        owner = survivors.clone()
        dropped = 0
        while True:
            points = clean[active].requires_grad_()
            output = self._forward(gather(points, owner[active]), labels[active])
            reached = self._reached(output.detach(), labels[active])
            result.record(active, output.detach().argmax(1), reached)
            if dropped == self.num_drop:
                break
            loss = cross_entropy_loss(output, labels[active], targeted=True).sum()
            gradient = gradient_of(loss, points)
            if self.early_stop:
                active, gradient, survivors = active[~reached], gradient[~reached], survivors[~reached]
                if not len(active):
                    break
            count = min(self.drop_per_step, self.num_drop - dropped)
            dropped += count
            survivors = self._survivors(gather(clean[active], survivors), gather(gradient, survivors), survivors, count)
            _, nearest = knn(clean[active], gather(clean[active], survivors), 1)
            owner[active] = survivors.gather(1, nearest[..., 0])
            # A survivor stays where it is, also beside a duplicate of itself.
            owner[active] = owner[active].scatter(1, survivors, survivors)
            result.adv[active] = gather(clean[active], owner[active])
            result.steps[active] += 1
        return result

    def _survivors(self, points: Tensor, gradient: Tensor, survivors: Tensor, count: int) -> Tensor:
        """Rows (a, S - count) left of ``survivors`` (a, S), whose points and gradients (a, S, 3) are given."""
        centred = points - points.median(1, keepdim=True).values
        distance = torch.linalg.vector_norm(centred, dim=-1)
        saliency = -(distance**self.alpha) * (centred * gradient).sum(-1)
        # Towards a target the label's evidence is what must not be dropped.
        saliency = -saliency if self.targeted else saliency
        left = saliency.topk(survivors.shape[1] - count, dim=1, largest=False).indices
        return survivors.gather(1, left.sort(dim=1).values)
