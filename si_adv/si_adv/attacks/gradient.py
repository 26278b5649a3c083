"""White-box attacks that step along the gradient: the shape-invariant attack, the FGM family, and random controls.

One loop serves them all; they differ in where they start and in which direction they step. A step has a fixed L2 length
over the whole cloud, ``step_size * sqrt(3 * reference_points)``, and the sum of the steps stays in a box around the
clean points. A cloud leaves the batch as soon as it is fooled, and nothing more is computed for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from shared_utils import UserError
from si_adv.attacks.base import Attack, AttackResult, Victim, cloud_generators, draw_normal, unit_direction
from si_adv.geometry import estimate_normals, from_tangent, project_to_tangent, to_tangent
from si_adv.losses import clip_linf, l2_distance

_BISECTIONS = 8
NORMAL_NEIGHBOURS = 6
"""Of the attacks in the tangent plane; the published code has 20."""


@dataclass
class Walk:
    """Where the clouds of a micro-batch are; every tensor has its full size, whoever is still active."""

    points: Tensor  # (b, N, 3)
    before: Tensor  # (b, N, 3), the iterates before the last step
    centre: Tensor  # (b, N, 3), of the box
    normals: Tensor | None  # (b, N, 3), of the current points, where the attack needs them
    held: Tensor  # (b, N) bool, points kept still in some step for want of a normal
    momentum: Tensor  # (b, N, 3)
    generators: list[torch.Generator]
    step: int = 0


class GradientAttack(Attack):
    """Steps of fixed length along the direction that a subclass derives from the gradient.

    eps: half-width of the box around the clean cloud, per coordinate; None for no box.
    step_size: the L2 length of a step is ``step_size * sqrt(3 * reference_points)``.
    steps: the largest number of steps.
    reference_points: 1024 as published, whatever the clouds have; None for their own number of points.
    early_stop: a cloud stops at its first success. Otherwise all steps are run; the loss is flat after success, so a
        cloud stays where it is (except under momentum or at random).
    refine: after success look for a nearer one, by bisection of the last step and then of the way back to the clean
        cloud: 16 more forward passes, smaller distances, the same success rate. Needs ``early_stop``.

    Other arguments: see ``Attack``.
    """

    uses_gradient = True
    starts_elsewhere = False
    """Whether the start may differ from the clean cloud in its prediction, so that both must be looked at."""

    def __init__(
        self,
        model: Victim,
        *,
        eps: float | None = 0.16,
        step_size: float = 0.007,
        steps: int = 50,
        reference_points: int | None = 1024,
        early_stop: bool = True,
        refine: bool = False,
        **options,
    ) -> None:
        super().__init__(model, **options)
        if refine and not early_stop:
            raise ValueError("refine looks between the last failure and the first success: it needs early_stop")
        self.eps = eps
        self.step_size = step_size
        self.steps = steps
        self.reference_points = reference_points
        self.early_stop = early_stop
        self.refine = refine

    # What a subclass says --------------------------------------------------------------------------------------------

    def _start(self, clean: Tensor, generators: list[torch.Generator]) -> tuple[Tensor, Tensor]:
        """Where the clouds start, and the centre of the box that they may not leave."""
        return clean, clean

    def _vectors(self, gradient: Tensor, active: Tensor, walk: Walk) -> Tensor:
        """What to step against, (a, N, 3), for the active rows of the walk; its length does not matter."""
        return gradient

    def _move(self, gradient: Tensor, active: Tensor, walk: Walk, length: float) -> Tensor:
        """The active clouds (a, N, 3) one step of the given length further, before the box."""
        return walk.points[active] - length * unit_direction(self._vectors(gradient, active, walk))

    # The loop --------------------------------------------------------------------------------------------------------

    def _attack(self, clean: Tensor, labels: Tensor, normals: Tensor | None, ids: Tensor) -> AttackResult:
        length = self.step_size * math.sqrt(3 * (self.reference_points or clean.shape[1]))
        generators = cloud_generators(self.seed, ids)
        start, centre = self._start(clean, generators)
        points = start.clone()
        held = torch.zeros(clean.shape[:2], dtype=torch.bool, device=clean.device)
        walk = Walk(points, start.clone(), centre, normals, held, torch.zeros_like(clean), generators)
        result = AttackResult.blank(points)
        active = torch.arange(len(clean), device=clean.device)
        if self.starts_elsewhere:
            prediction, reached = self._look(clean, labels)
            result.record(active, prediction, reached)
            active = active[~reached] if self.early_stop else active
        while len(active):
            if self.uses_gradient and walk.step < self.steps:
                prediction, reached, gradient = self._gradient(points[active], labels[active])
            else:
                prediction, reached = self._look(points[active], labels[active])
                gradient = torch.zeros_like(points[active])
            result.record(active, prediction, reached)
            if walk.step == self.steps:
                break
            if self.early_stop:
                active, gradient = active[~reached], gradient[~reached]
                if not len(active):
                    break
            moved = self._move(gradient, active, walk, length)
            walk.before[active] = points[active]
            points[active] = moved if self.eps is None else clip_linf(moved, centre[active], self.eps)
            result.steps[active] += 1
            walk.step += 1
        if self.early_stop:
            # Nothing was done to these, and they come back without the noise of the start.
            points[result.initial_success] = clean[result.initial_success]
        if self.refine:
            self._refine(result, walk.before, clean, labels)
        result.undefined_normals = held.sum(1)
        return result

    def _refine(self, result: AttackResult, before: Tensor, clean: Tensor, labels: Tensor) -> None:
        """Replaces successes by nearer ones, in place."""
        rows = (result.success & result.attacked).nonzero()[:, 0]
        for low in (before, clean):
            if len(rows):
                self._bisect(result, rows, low[rows], clean[rows], labels[rows])

    def _bisect(self, result: AttackResult, rows: Tensor, low: Tensor, clean: Tensor, labels: Tensor) -> None:
        """Searches the segment from ``low`` to the success of every row for the success nearest to the clean cloud."""
        high = result.adv[rows]
        inner, outer = low.new_zeros(len(rows), 1, 1), low.new_ones(len(rows), 1, 1)
        for _ in range(_BISECTIONS):
            middle = (inner + outer) / 2
            trial = low + middle * (high - low)
            prediction, reached = self._look(trial, labels)
            result.queries[rows] += 1
            nearer = reached & (l2_distance(trial, clean) < l2_distance(result.adv[rows], clean))
            result.adv[rows[nearer]], result.prediction[rows[nearer]] = trial[nearer], prediction[nearer]
            inner = torch.where(reached[:, None, None], inner, middle)
            outer = torch.where(reached[:, None, None], middle, outer)


# The fast-gradient family (IF-Defense's definitions) -----------------------------------------------------------------


class FGM(GradientAttack):
    """One step against the gradient, without a box."""

    fixed = ("eps", "steps")

    def __init__(self, model: Victim, *, step_size: float = 0.007, reference_points: int | None = 1024, **options):
        super().__init__(model, eps=None, step_size=step_size, steps=1, reference_points=reference_points, **options)


class IFGM(GradientAttack):
    """Steps against the gradient, free in space: the shape-invariant attack without its constraint.

    Starts at the clean cloud plus noise of 1e-7, as the peers do.
    """

    def _start(self, clean: Tensor, generators: list[torch.Generator]) -> tuple[Tensor, Tensor]:
        start = clean + 1e-7 * draw_normal(generators, clean.shape[1:], clean)
        return start, start


class MIFGM(IFGM):
    """I-FGM on the running sum of gradients at L1 length one: ``g <- mu g + grad / ||grad||_1``.

    Momentum outlives the loss: with ``early_stop=False``, as published, a cloud keeps moving after success.
    """

    def __init__(self, model: Victim, *, mu: float = 1.0, **options) -> None:
        super().__init__(model, **options)
        self.mu = mu

    def _vectors(self, gradient: Tensor, active: Tensor, walk: Walk) -> Tensor:
        length = gradient.abs().sum((1, 2), keepdim=True)
        walk.momentum[active] = self.mu * walk.momentum[active] + gradient / (length + 1e-9)
        return walk.momentum[active]


class PGD(IFGM):
    """I-FGM from a random start.

    start: ``published`` is uniform in +-eps / sqrt(3 N), with the box centred on that start; ``box`` is uniform in the
    whole box, which is centred on the clean cloud.
    """

    starts_elsewhere = True

    def __init__(
        self, model: Victim, *, eps: float = 0.16, start: Literal["published", "box"] = "published", **options
    ) -> None:
        if start not in ("published", "box"):
            raise ValueError(f"start must be 'published' or 'box', got {start!r}")
        super().__init__(model, eps=eps, **options)
        self.start = start

    def _start(self, clean: Tensor, generators: list[torch.Generator]) -> tuple[Tensor, Tensor]:
        draws = [2 * torch.rand(clean.shape[1:], generator=generator) - 1 for generator in generators]
        uniform = torch.stack(draws).to(clean)
        assert self.eps is not None  # the constructor asks for one
        if self.start == "box":
            return clean + self.eps * uniform, clean
        return super()._start(clean + self.eps / math.sqrt(3 * clean.shape[1]) * uniform, generators)


class RandomDirection(GradientAttack):
    """Control: steps of the same length in a random direction, free in space."""

    uses_gradient = False

    def _vectors(self, gradient: Tensor, active: Tensor, walk: Walk) -> Tensor:
        return _random_vectors(gradient, active, walk)


def _random_vectors(gradient: Tensor, active: Tensor, walk: Walk) -> Tensor:
    generators = [walk.generators[row] for row in active.tolist()]
    return draw_normal(generators, gradient.shape[1:], gradient)


# In the tangent plane ------------------------------------------------------------------------------------------------


class TangentAttack(GradientAttack):
    """Steps in the tangent planes of the points, whose normals are estimated anew as they move.

    normal_every: steps between two estimates (1 as published). Points without a normal are kept still.
    normal_neighbours: points that a normal is estimated from, the point itself one of them. 20 as published; the default
        leaves the true surface least on validation shapes (see RESULTS.md).
    """

    needs_normals = True

    def __init__(
        self, model: Victim, *, normal_every: int = 1, normal_neighbours: int = NORMAL_NEIGHBOURS, **options
    ) -> None:
        super().__init__(model, **options)
        if normal_every < 1:
            raise UserError(f"normal_every must be at least 1, got {normal_every}")
        if normal_neighbours < 3:
            raise UserError(f"normal_neighbours must be at least 3 (a plane), got {normal_neighbours}")
        self.normal_every, self.normal_neighbours = normal_every, normal_neighbours

    def _move(self, gradient: Tensor, active: Tensor, walk: Walk, length: float) -> Tensor:
        assert walk.normals is not None  # needs_normals
        if walk.step and walk.step % self.normal_every == 0:
            walk.normals[active] = estimate_normals(walk.points[active], self.normal_neighbours)
        normals = walk.normals[active]
        undefined = ~normals.any(-1)
        walk.held[active] |= undefined
        vectors = self._vectors(gradient, active, walk).masked_fill(undefined[..., None], 0)
        return self._along_surface(walk.points[active], vectors, normals, length)

    def _along_surface(self, points: Tensor, vectors: Tensor, normals: Tensor, length: float) -> Tensor:
        return points - length * unit_direction(project_to_tangent(vectors, normals))


class ShapeInvariantIFGM(TangentAttack):
    """The shape-invariant attack (Huang et al., CVPR 2022): I-FGM along the surface.

    Per step ``p <- p - c g / ||g||``, g the gradient projected to the tangent planes and c the length of the step: what
    the published code does by going to tangent coordinates, dropping the third component of the gradient, stepping,
    and coming back. ``coordinates="transform"`` takes that way round, for verification; the clouds agree.
    """

    def __init__(
        self, model: Victim, *, coordinates: Literal["projection", "transform"] = "projection", **options
    ) -> None:
        if coordinates not in ("projection", "transform"):
            raise ValueError(f"coordinates must be 'projection' or 'transform', got {coordinates!r}")
        super().__init__(model, **options)
        self.coordinates = coordinates

    def _along_surface(self, points: Tensor, vectors: Tensor, normals: Tensor, length: float) -> Tensor:
        if self.coordinates == "projection":
            return super()._along_surface(points, vectors, normals, length)
        transformed, basis, translation = to_tangent(points, normals)
        # p = U^T q - t, so the gradient in q is U times the one in p.
        gradient = (basis * vectors[..., None, :]).sum(-1)
        gradient[..., 2] = 0
        moved = from_tangent(transformed - length * unit_direction(gradient), basis, translation)
        # Without a normal there is no frame to come back from.
        return torch.where(normals.any(-1, keepdim=True), moved, points)


class NormalIFGM(TangentAttack):
    """Control: I-FGM along the normals, the direction that the shape-invariant attack leaves out.

    The step direction of the imperceptible transfer attack (Liu and Hu, TPAMI 2022), without its transformations.
    """

    def _along_surface(self, points: Tensor, vectors: Tensor, normals: Tensor, length: float) -> Tensor:
        return points - length * unit_direction((vectors * normals).sum(-1, keepdim=True) * normals)


class RandomTangent(TangentAttack):
    """Control: steps of the same length in a random direction of the tangent planes."""

    uses_gradient = False

    def _vectors(self, gradient: Tensor, active: Tensor, walk: Walk) -> Tensor:
        return _random_vectors(gradient, active, walk)
