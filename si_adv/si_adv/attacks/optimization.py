"""Attacks that minimise loss + weight * distance with Adam: 3d-Adv (CW), kNN and GeoA3.

One loop serves the three, and those of ``frequency``, ``reconstruction`` and ``deformation``: an outer search for the weight,
cloud by cloud, around an inner descent from the clean cloud. They differ in the distance, in what is descended over
(``_points``) and in how the weight is searched. Every iterate is looked at and the nearest success kept; a cloud without any
comes back as its last iterate.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from si_adv.attacks.base import Attack, AttackResult, Victim, cloud_generators, draw_normal, needs_gradient
from si_adv.losses import (
    clip_linf,
    curvature_consistency,
    knn_distance,
    l2_distance,
    local_curvature,
    margin_loss,
    nearest_squared_distances,
    project_inner,
    project_inner_published,
)

_BETA1, _BETA2, _ADAM_EPS = 0.9, 0.999, 1e-8


class OptimizationAttack(Attack):
    """Adam on ``loss + weight * distance``, with a bisection for the weight.

    learning_rate, iterations: of the descent. search_steps: number of descents. weight, max_weight: where the search
    for the weight starts and its upper bound; after a success the lower bound rises to the weight, after a failure the
    upper bound falls to it, and the next weight is the middle. Without an upper bound it doubles until the first failure.
    start_noise: standard deviation of the noise every descent starts from.
    margin: the loss falls until the decision is won by so much, however early it flips; None: by ``confidence``.
    early_stop: a cloud that has been fooled leaves the descent when its objective has not fallen by 1e-4 of itself over
        a tenth of the iterations (the rule of Carlini and Wagner's own code). Otherwise every descent runs to its end.

    Other arguments: see ``Attack``. Clouds that are successes from the start are left as they are.
    """

    def __init__(
        self,
        model: Victim,
        *,
        learning_rate: float = 0.01,
        iterations: int = 500,
        search_steps: int = 10,
        weight: float = 10.0,
        max_weight: float | None = 80.0,
        start_noise: float = 1e-7,
        margin: float | None = None,
        early_stop: bool = True,
        **options,
    ) -> None:
        super().__init__(model, **options)
        self.learning_rate = learning_rate
        self.iterations = iterations
        self.search_steps = search_steps
        self.weight = weight
        self.max_weight = max_weight
        self.start_noise = start_noise
        self.margin = margin
        self.early_stop = early_stop

    # What a subclass says --------------------------------------------------------------------------------------------

    passes = 1
    """Clouds passed through the victim in a step."""

    def _context(self, clean: Tensor, labels: Tensor, normals: Tensor | None) -> tuple[Tensor, ...]:
        """What the distance is measured against, every tensor with a row a cloud."""
        return (clean,)

    def _begin(self, generators: list[torch.Generator], clean: Tensor, *context: Tensor) -> Tensor:
        """Where a descent starts, (b, ...): the clouds themselves, or what ``_points`` makes clouds of."""
        return clean + self.start_noise * draw_normal(generators, clean.shape[1:], clean)

    def _points(self, variable: Tensor, *context: Tensor) -> Tensor:
        """Clouds (a, N, 3) of what is descended over, differentiable."""
        return variable

    def _rates(self, variable: Tensor) -> Tensor | float:
        """The learning rate of every entry."""
        return self.learning_rate

    def _attack_loss(self, points: Tensor, labels: Tensor, *context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The loss (a,) beside the distance, the victim's output (a, C) on the clouds, and whether they are successes (a,)."""
        output = self._forward(points, labels)
        return self._margin_loss(output, labels), output, self._reached(output, labels)

    @abstractmethod
    def _distance(self, points: Tensor, variable: Tensor, *context: Tensor) -> Tensor:
        """Distance (a,) of clouds (a, N, 3), made of the variable, to their rows of the context, differentiable."""

    def _project(self, variable: Tensor, normals: Tensor | None, *context: Tensor) -> Tensor:
        """What is done to the variable after every step."""
        return variable

    def _margin_loss(self, output: Tensor, labels: Tensor) -> Tensor:
        """``_loss``, down to the margin."""
        margin = self.confidence if self.margin is None else max(self.margin, self.confidence)
        return margin_loss(output, labels, confidence=margin, targeted=self.targeted, top_k=self.top_k)

    # The search for the weight, and the descent -----------------------------------------------------------------------

    def _attack(self, clean: Tensor, labels: Tensor, normals: Tensor | None, ids: Tensor) -> AttackResult:
        result = AttackResult.blank(clean.clone())
        rows = torch.arange(len(clean), device=clean.device)
        prediction, reached = self._look(clean, labels)
        result.record(rows, prediction, reached)
        rows = rows[~reached]
        if not len(rows):
            return result
        context = self._context(clean, labels, normals)
        generators = cloud_generators(self.seed, ids)
        nearest = torch.full_like(clean[:, 0, 0], torch.inf)
        weight = torch.full_like(nearest, self.weight)
        lower = torch.zeros_like(nearest)
        upper = torch.full_like(nearest, torch.inf if self.max_weight is None else self.max_weight)
        for _ in range(self.search_steps):
            variable = self._begin(generators, *context)
            found = self._descend(variable, rows, weight, labels, normals, context, nearest, result)
            lower, upper = torch.where(found, weight, lower), torch.where(found, upper, weight)
            weight = torch.where(upper.isinf(), 2 * weight, (lower + upper) / 2)
        failed = rows[~result.success[rows]]
        if len(failed):
            with torch.no_grad():
                result.adv[failed] = self._points(variable[failed], *(item[failed] for item in context))
            prediction, reached = self._look(result.adv[failed], labels[failed])
            result.record(failed, prediction, reached)
        return result

    def _descend(
        self,
        variable: Tensor,
        rows: Tensor,
        weight: Tensor,
        labels: Tensor,
        normals: Tensor | None,
        context: tuple[Tensor, ...],
        nearest: Tensor,
        result: AttackResult,
    ) -> Tensor:
        """One descent of the clouds in ``rows`` of ``variable``, in place; which clouds (b,) were fooled by an iterate.

        Successes nearer than ``nearest`` (b,) go into the result.
        """
        found = torch.zeros_like(result.success)
        first, second = torch.zeros_like(variable), torch.zeros_like(variable)
        checked = torch.full_like(nearest, torch.inf)
        patience = max(1, self.iterations // 10)
        for iteration in range(1, self.iterations + 1):
            current = variable[rows].requires_grad_()
            active = tuple(item[rows] for item in context)
            points = self._points(current, *active)
            loss, output, reached = self._attack_loss(points, labels[rows], *active)
            distance = self._distance(points, current, *active)
            needs_gradient(output)
            objective = loss + weight[rows] * distance
            (gradient,) = torch.autograd.grad(objective.sum(), current)
            with torch.no_grad():
                result.queries[rows] += self.passes
                found[rows] |= reached
                better = reached & (distance < nearest[rows])
                kept = rows[better]
                nearest[kept] = distance[better]
                result.adv[kept], result.success[kept] = points[better], True
                result.prediction[kept] = output[better].argmax(1)

                first[rows] = _BETA1 * first[rows] + (1 - _BETA1) * gradient
                second[rows] = _BETA2 * second[rows] + (1 - _BETA2) * gradient.square()
                scale = (second[rows] / (1 - _BETA2**iteration)).sqrt() + _ADAM_EPS
                moved = current - self._rates(current) / (1 - _BETA1**iteration) * first[rows] / scale
                variable[rows] = self._project(moved, None if normals is None else normals[rows], *active)
                result.steps[rows] += 1
                if self.early_stop and iteration % patience == 0:
                    falling = objective < checked[rows] * (1 - 1e-4)
                    checked[rows] = objective
                    rows = rows[falling | ~found[rows]]
                    if not len(rows):
                        break
        return found


class CW(OptimizationAttack):
    """3d-Adv, points shifted (Xiang et al., CVPR 2019): the distance is the L2 norm of the displacement."""

    def _distance(self, points: Tensor, variable: Tensor, *context: Tensor) -> Tensor:
        return l2_distance(points, *context)


class TwoViewAttack(OptimizationAttack):
    """Adam on (1 - gamma) loss(cloud) + gamma loss(another view of it), in a box.

    The published settings of both that are one: two descents of 200 steps at 0.01, a margin of 30, the box after every step.
    No distance is descended. Success is that the cloud and its view are both misclassified; of those iterates the one
    nearest in L2 comes back. Here the iterate that was looked at comes back, there the one a step later.

    gamma: weight of the view. eps: half-width of the box.
    """

    fixed = ("weight", "max_weight")
    passes = 2

    def __init__(
        self,
        model: Victim,
        *,
        gamma: float = 0.25,
        eps: float = 0.18,
        iterations: int = 200,
        search_steps: int = 2,
        margin: float | None = 30.0,
        **options,
    ) -> None:
        super().__init__(
            model,
            iterations=iterations,
            search_steps=search_steps,
            weight=0.0,
            max_weight=None,
            margin=margin,
            **options,
        )
        self.gamma, self.eps = gamma, eps

    @abstractmethod
    def _view(self, points: Tensor, *context: Tensor) -> Tensor:
        """What else of clouds (a, N, 3) shall be misclassified, (a, M, 3), differentiable."""

    def _attack_loss(self, points: Tensor, labels: Tensor, *context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        loss, output, reached = super()._attack_loss(points, labels, *context)
        view_loss, _, view_reached = super()._attack_loss(self._view(points, *context), labels, *context)
        return (1 - self.gamma) * loss + self.gamma * view_loss, output, reached & view_reached

    def _distance(self, points: Tensor, variable: Tensor, *context: Tensor) -> Tensor:
        return l2_distance(points, context[0])

    def _project(self, variable: Tensor, normals: Tensor | None, *context: Tensor) -> Tensor:
        return clip_linf(variable, context[0], self.eps)


class KNN(OptimizationAttack):
    """The kNN attack (Tsai et al., AAAI 2020): one descent on loss + N (5 Chamfer to the clean cloud + 3 kNN distance).

    eps: half-width of the box. Where normals are given they must point outwards: points that moved inwards are
    projected back after every step. published_projection: with the published formula, which is not a projection (see
    ``losses.project_inner_published``).
    """

    fixed = ("search_steps", "weight", "max_weight")

    def __init__(
        self,
        model: Victim,
        *,
        eps: float | None = 0.16,
        learning_rate: float = 1e-3,
        iterations: int = 2500,
        chamfer_weight: float = 5.0,
        knn_weight: float = 3.0,
        published_projection: bool = False,
        **options,
    ) -> None:
        super().__init__(
            model,
            learning_rate=learning_rate,
            iterations=iterations,
            search_steps=1,
            weight=1.0,
            max_weight=None,
            **options,
        )
        self.eps = eps
        self.chamfer_weight = chamfer_weight
        self.knn_weight = knn_weight
        self.published_projection = published_projection

    def _distance(self, points: Tensor, variable: Tensor, *context: Tensor) -> Tensor:
        chamfer = nearest_squared_distances(points, *context).mean(1)
        return points.shape[1] * (self.chamfer_weight * chamfer + self.knn_weight * knn_distance(points))

    def _project(self, variable: Tensor, normals: Tensor | None, *context: Tensor) -> Tensor:
        (clean,) = context
        if normals is not None:
            project = project_inner_published if self.published_projection else project_inner
            variable = project(variable, clean, normals)
        return variable if self.eps is None else clip_linf(variable, clean, self.eps)


class GeoA3(OptimizationAttack):
    """GeoA3 (Wen et al., TPAMI 2020): Chamfer, one-sided Hausdorff and consistency of the local curvature."""

    needs_normals = True

    def __init__(
        self,
        model: Victim,
        *,
        max_weight: float | None = None,
        start_noise: float = 1e-3,
        chamfer_weight: float = 1.0,
        hausdorff_weight: float = 0.1,
        curvature_weight: float = 1.0,
        k: int = 16,
        **options,
    ) -> None:
        super().__init__(model, max_weight=max_weight, start_noise=start_noise, **options)
        self.chamfer_weight = chamfer_weight
        self.hausdorff_weight = hausdorff_weight
        self.curvature_weight = curvature_weight
        self.k = k

    def _context(self, clean: Tensor, labels: Tensor, normals: Tensor | None) -> tuple[Tensor, ...]:
        assert normals is not None  # needs_normals
        return clean, normals, local_curvature(clean, normals, self.k)

    def _distance(self, points: Tensor, variable: Tensor, *context: Tensor) -> Tensor:
        clean, normals, curvature = context
        to_clean = nearest_squared_distances(points, clean)
        chamfer = to_clean.mean(1) + nearest_squared_distances(clean, points).mean(1)
        return (
            self.chamfer_weight * chamfer
            + self.hausdorff_weight * to_clean.amax(1)
            + self.curvature_weight * curvature_consistency(points, clean, normals, curvature, self.k)
        )
