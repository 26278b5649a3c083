"""Hard-label attacks: the victim says its label and nothing else.

HopSkipJump (Chen, Jordan and Wainwright, IEEE S&P 2020) walks along the boundary of the decision towards the clean cloud.
In turn it bisects the way to the clean cloud down to the boundary; estimates the boundary's normal there from the labels of
small random moves; and steps along it, which makes room for the next bisection.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from shared_utils import UserError
from si_adv.attacks.base import Attack, AttackResult, Victim, cloud_generators
from si_adv.geometry import project_to_tangent

_START_SCALES, _START_DRAWS = (0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28), 3
# Part of the way to the clean cloud at which a bisection ends.
_TOLERANCE = 1e-3


class HopSkipJump(Attack):
    """HopSkipJump on clouds, by L2: (clean cloud, label) -> the nearest misclassified cloud of the walk.

    As published in its steps, signs and baselines; what it starts from and how far it probes is ours, for a cloud is no
    image: from random motion, of the points and of the whole shape (an affine map) in turn, that grows until it is
    misclassified, with probes of ``probe`` of the distance that is left.

    Args:
        model: the victim; any function of clouds (B, 3, N). Of what it returns only the largest is used.
        max_queries: budget of a cloud, the first query included.
        evaluations: probes of the first estimate; the root of the number of the step times as many in later ones.
        probe: length of a probe, as a part of the distance from the clean cloud.
        batch: probes passed through the victim at once.

    Other arguments: see ``Attack``.
    """

    fixed = ("confidence",)

    def __init__(
        self,
        model: Victim,
        *,
        max_queries: int = 2000,
        evaluations: int = 50,
        probe: float = 0.1,
        batch: int = 32,
        **options,
    ) -> None:
        super().__init__(model, **options)
        if max_queries < 1:
            raise UserError(f"max_queries must be at least 1 (the clean cloud), got {max_queries}")
        self.max_queries, self.evaluations, self.probe, self.batch = max_queries, evaluations, probe, batch

    def _directions(self, draws: Tensor, normals: Tensor | None) -> Tensor:
        """Moves (n, N, 3) in the space that is walked in."""
        return draws

    def _attack(self, clean: Tensor, labels: Tensor, normals: Tensor | None, ids: Tensor) -> AttackResult:
        result = AttackResult.blank(clean.clone())
        for row, generator in enumerate(cloud_generators(self.seed, ids)):
            walk = _Walk(self, clean[row], labels[row], None if normals is None else normals[row], generator)
            result.adv[row], result.success[row], result.prediction[row] = walk.best, walk.reached, walk.prediction
            result.initial_success[row], result.initial_prediction[row] = walk.initial_success, walk.initial_prediction
            result.queries[row], result.steps[row] = walk.queries, walk.steps
            if normals is not None:
                result.undefined_normals[row] = (~normals[row].any(-1)).sum()
        return result


class _Walk:
    """The walk of one cloud (N, 3), made in the constructor."""

    def __init__(
        self, attack: HopSkipJump, clean: Tensor, label: Tensor, normals: Tensor | None, generator: torch.Generator
    ) -> None:
        self.attack, self.clean, self.label, self.normals, self.generator = attack, clean, label, normals, generator
        self.queries, self.steps, self.best = 0, 0, clean
        self.distance = math.inf
        self.initial_success = self.reached = bool(self._ask(clean[None])[0])
        self.initial_prediction = self.prediction
        if self.initial_success:
            return
        start = self._start()
        if start is not None:
            self._walk(start)

    # Queries ---------------------------------------------------------------------------------------------------------

    def _left(self) -> int:
        return self.attack.max_queries - self.queries

    def _ask(self, clouds: Tensor) -> Tensor:
        """Whether clouds (n, N, 3) are misclassified, (n,), in the budget: a shorter answer when it ends."""
        answers = []
        for part in clouds[: self._left()].split(self.attack.batch) if self._left() else ():
            predicted, reached = self.attack._look(part, self.label.expand(len(part)))
            self.queries += len(part)
            answers.append(reached)
            if self.queries == 1:
                self.prediction = predicted[0]
            for cloud, prediction in zip(part[reached], predicted[reached], strict=True):
                distance = float(torch.linalg.vector_norm(cloud - self.clean))
                if distance < self.distance:
                    self.distance, self.best, self.prediction, self.reached = distance, cloud, prediction, True
        return torch.cat(answers) if answers else clouds.new_zeros(0, dtype=torch.bool)

    def _draw(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator).to(self.clean)

    def _allowed(self, moves: Tensor) -> Tensor:
        return self.attack._directions(moves, self.normals)

    # The walk --------------------------------------------------------------------------------------------------------

    def _start(self) -> Tensor | None:
        """A misclassified cloud at random."""
        for scale in _START_SCALES:
            for _ in range(_START_DRAWS):
                affine = self.clean @ self._draw(3, 3) + self._draw(3)
                for moves in (self._draw(*self.clean.shape), affine):
                    cloud = self.clean + scale * self._allowed(moves)
                    if self._ask(cloud[None]).any():
                        return cloud
        return None

    def _walk(self, outside: Tensor) -> None:
        outside = self._to_boundary(outside)
        for step in range(1, self.attack.max_queries):
            away = float(torch.linalg.vector_norm(outside - self.clean))
            direction = self._boundary_normal(outside, away, step)
            if direction is None or not self._left():
                return
            length = away / math.sqrt(step)
            while self._left():
                moved = outside + length * direction
                if self._ask(moved[None]).any():
                    outside = self._to_boundary(moved)
                    self.steps += 1
                    break
                length /= 2
                if length < 1e-3 * away:  # the boundary bends: the next estimate starts from here
                    break

    def _to_boundary(self, outside: Tensor) -> Tensor:
        """The misclassified cloud near the boundary on the way from a misclassified one to the clean one."""
        low, high = 0.0, 1.0
        while high - low > _TOLERANCE and self._left():
            middle = (low + high) / 2
            reached = bool(self._ask(self.clean + middle * (outside - self.clean)[None])[0])
            low, high = (low, middle) if reached else (middle, high)
        return self.clean + high * (outside - self.clean)

    def _boundary_normal(self, outside: Tensor, away: float, step: int) -> Tensor | None:
        """The unit direction (N, 3) into what is misclassified; None where the budget is spent."""
        count = min(int(self.attack.evaluations * math.sqrt(step)), self._left())
        if not count:
            return None
        probes = self._allowed(self._draw(count, *self.clean.shape))
        probes = probes / torch.linalg.vector_norm(probes, dim=(1, 2), keepdim=True)
        signs = 2 * self._ask(outside + self.attack.probe * away * probes).to(probes) - 1
        # With the mean as baseline, as published, unless all probes agree.
        weights = signs - signs.mean() if signs.min() != signs.max() else signs
        total = (weights[:, None, None] * probes).sum(0)
        return total / torch.linalg.vector_norm(total)


class ShapeInvariantHopSkipJump(HopSkipJump):
    """HopSkipJump along the surface: every point stays in the tangent plane of its clean place.

    The shape-invariant constraint where there are neither gradients nor scores; not in the paper.
    """

    needs_normals = True

    def _directions(self, draws: Tensor, normals: Tensor | None) -> Tensor:
        assert normals is not None  # needs_normals
        return project_to_tangent(draws, normals) * normals.any(-1, keepdim=True)
