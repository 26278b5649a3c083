"""Black-box attacks that ask the target for its scores: shape-invariant queries, SimBA and SimBA++.

They share one loop and differ in the list of moves that they try. A cloud goes through its list; of every entry it
tries the two signs and keeps the first that raises the score S = best other - true; it stops when it is misclassified,
or when the list or the budget runs out. Clouds go in lockstep: a round is one forward pass of a trial for every cloud.
Whatever is passed through the target is counted.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from si_adv.attacks.base import Attack, AttackResult, Victim, cloud_generators
from si_adv.attacks.sensitivity import SCORE_FLOOR, score_gradient, sensitivity_map
from si_adv.geometry import gather, tangent_basis
from si_adv.losses import clip_linf, margin_loss

# A target rounds differently in batches of different sizes; of the size of its outputs, a gain below this is none.
_ROUNDING = 1e-5


@dataclass
class Moves:
    """The moves that b clouds try, in order: C entries of two displacements of one point."""

    point: Tensor  # (b, C) int64
    displacement: Tensor  # (b, C, 2, 3)
    count: Tensor  # (b,) int64, entries worth trying
    undefined: Tensor  # (b,) int64, points without a normal


class QueryAttack(Attack):
    """The loop of the query attacks. Other arguments: see ``Attack``.

    Args:
        model: the target; any function of clouds (B, 3, N).
        step: length of a move.
        eps: half-width of the box around the clean cloud, per coordinate; None, as published, for none.
        max_queries: budget of a cloud, the first query included; None for that of the list.
        lookahead: trials of a cloud evaluated at once. The accepted moves are those of ``lookahead=1``, in fewer rounds;
            the trials evaluated in vain count as queries all the same.
        sign_order: ``+-`` or ``-+``, which sign is tried first.
        published_start: the first trial is accepted even if it is worse than the clean cloud, later ones for any rise of
            the score, be it rounding, and moves of length zero are tried too, as in the published code. Otherwise a move
            must improve on the clean cloud and on what was kept so far.
    """

    def __init__(
        self,
        model: Victim,
        *,
        step: float = 0.32,
        eps: float | None = None,
        max_queries: int | None = None,
        lookahead: int = 1,
        sign_order: Literal["+-", "-+"] = "+-",
        published_start: bool = False,
        **options,
    ) -> None:
        super().__init__(model, **options)
        if sign_order not in ("+-", "-+"):
            raise ValueError(f"sign_order must be '+-' or '-+', got {sign_order!r}")
        if lookahead < 1:
            raise ValueError(f"lookahead must be at least 1, got {lookahead}")
        if max_queries is not None and max_queries < 1:
            raise ValueError(f"max_queries must be at least 1 (the clean cloud), got {max_queries}")
        self.step = step
        self.eps = eps
        self.max_queries = max_queries
        self.lookahead = lookahead
        self.sign_order = sign_order
        self.published_start = published_start

    @abstractmethod
    def _moves(self, clean: Tensor, labels: Tensor, normals: Tensor | None, ids: Tensor) -> Moves:
        """The moves to try on the clean clouds (b, N, 3)."""

    def _signs(self, like: Tensor) -> Tensor:
        """The signed step lengths in the order they are tried, (2,)."""
        signs = (1, -1) if self.sign_order == "+-" else (-1, 1)
        return torch.tensor(signs).to(like) * self.step

    @torch.no_grad()
    def _query(self, points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Prediction, whether the goal is reached, score, and how much of the score is rounding, (b,) each."""
        output = self._forward(points, labels)
        score = margin_loss(output, labels, SCORE_FLOOR, targeted=not self.targeted, top_k=self.top_k)
        rounding = 0.0 if self.published_start else _ROUNDING
        return output.argmax(1), self._reached(output, labels), score, rounding * output.abs().amax(1)

    def _attack(self, clean: Tensor, labels: Tensor, normals: Tensor | None, ids: Tensor) -> AttackResult:
        result = AttackResult.blank(clean.clone())
        everyone = torch.arange(len(clean), device=clean.device)
        prediction, reached, best, _ = self._query(clean, labels)
        result.record(everyone, prediction, reached)
        paths = [[(1, score)] for score in best.tolist()]
        open_rows = everyone[~reached]
        if len(open_rows):
            open_normals = None if normals is None else normals[open_rows]
            moves = self._moves(clean[open_rows], labels[open_rows], open_normals, ids[open_rows.cpu()])
            result.undefined_normals[open_rows] = moves.undefined
            best = best[open_rows]
            if self.published_start:
                best = torch.full_like(best, SCORE_FLOOR)
            self._search(result, open_rows, moves, best, clean, labels, paths)
        result.trajectory = [torch.tensor(path, dtype=torch.float64, device=clean.device) for path in paths]
        return result

    def _search(
        self,
        result: AttackResult,
        rows: Tensor,
        moves: Moves,
        best: Tensor,
        clean: Tensor,
        labels: Tensor,
        paths: list[list[tuple[int, float]]],
    ) -> None:
        """Goes through the moves of the clouds in ``rows`` (a,) of the batch; ``best`` (a,) is the score to beat."""
        # Of the list of trials, two an entry, the place where each cloud is.
        place = torch.zeros_like(rows)
        budget = torch.full_like(rows, self.max_queries or torch.iinfo(rows.dtype).max)
        ahead = torch.arange(self.lookahead, device=rows.device)
        while True:
            trials = place[:, None] + ahead
            allowed = (trials < 2 * moves.count[:, None]) & (result.queries[rows, None] + ahead < budget[:, None])
            item, slot = allowed.nonzero(as_tuple=True)
            if not len(item):
                return
            entry, sign = trials[item, slot] // 2, trials[item, slot] % 2
            point, batch = moves.point[item, entry], rows[item]
            points = result.adv[batch]
            each = torch.arange(len(item), device=rows.device)
            moved = points[each, point] + moves.displacement[item, entry, sign]
            if self.eps is not None:
                moved = clip_linf(moved, clean[batch, point], self.eps)
            points[each, point] = moved
            prediction, reached, score, rounding = self._query(points, labels[batch])
            result.queries += torch.bincount(batch, minlength=len(result.queries))

            # Trials after the first that is kept were made from a state that is no more.
            better = torch.zeros_like(allowed)
            better[item, slot] = (score > best[item] + rounding) | reached
            keeps = better.any(1)
            first = better.to(torch.uint8).argmax(1)
            kept = each[(slot == first[item]) & keeps[item]]
            item, batch = item[kept], batch[kept]
            result.adv[batch] = points[kept]
            result.prediction[batch], result.success[batch] = prediction[kept], reached[kept]
            result.steps[batch] += 1
            best[item] = score[kept]
            spent, scores = result.queries[batch].tolist(), score[kept].tolist()
            for row, queries, value in zip(batch.tolist(), spent, scores, strict=True):
                paths[row].append((queries, value))

            place += allowed.sum(1)
            place[item] = 2 * (entry[kept] + 1)  # at most one of the two signs
            done = result.success[rows]
            place[done] = 2 * moves.count[done]


class ShapeInvariantQuery(QueryAttack):
    """The shape-invariant query attack (Huang et al., CVPR 2022): moves along the surface, most sensitive points first.

    Args:
        surrogate: differentiable model whose sensitivity map orders the points and directs them; the target itself where
            none is given. Defended, if the map is to know of a defence. Points of sensitivity zero are not tried, unless
            ``published_start``.

    Other arguments: see ``QueryAttack``.
    """

    needs_normals = True

    def __init__(self, model: Victim, surrogate: Victim | None = None, **options) -> None:
        super().__init__(model, **options)
        self.surrogate = model if surrogate is None else surrogate

    def _models(self) -> tuple[Victim, ...]:
        return self.model, self.surrogate

    def _moves(self, clean: Tensor, labels: Tensor, normals: Tensor | None, ids: Tensor) -> Moves:
        assert normals is not None  # needs_normals
        sensitivity, direction = sensitivity_map(self.surrogate, clean, labels, normals, self.targeted, self.top_k)
        order = sensitivity.argsort(dim=1, descending=True, stable=True)
        world = (tangent_basis(normals) * direction[..., None]).sum(-2)  # U^T direction
        displacement = gather(world, order)[:, :, None] * self._signs(clean)[:, None]
        count = torch.full_like(labels, clean.shape[1]) if self.published_start else (sensitivity > 0).sum(1)
        return Moves(order, displacement, count, (~normals.any(-1)).sum(1))


class CoordinateQuery(QueryAttack):
    """Query attacks whose moves are of single coordinates, named as 3 * point + axis."""

    def _coordinate_moves(self, coordinates: Tensor, lengths: Tensor) -> Moves:
        """coordinates: (b, C); lengths: (b, C, 2), signed."""
        axes = torch.eye(3, device=lengths.device)[coordinates % 3]
        count = torch.full_like(coordinates[:, 0], coordinates.shape[1])
        return Moves(coordinates // 3, axes[:, :, None] * lengths[..., None], count, torch.zeros_like(count))


class SimBA(CoordinateQuery):
    """SimBA on clouds: all coordinates once, in random order."""

    def _moves(self, clean: Tensor, labels: Tensor, normals: Tensor | None, ids: Tensor) -> Moves:
        generators = cloud_generators(self.seed, ids)
        orders = [torch.randperm(3 * clean.shape[1], generator=generator) for generator in generators]
        coordinates = torch.stack(orders).to(clean.device)
        return self._coordinate_moves(coordinates, self._signs(clean).expand(*coordinates.shape, 2))


class SimBAPP(CoordinateQuery):
    """SimBA++ on clouds: 3 N coordinates drawn, with replacement, in proportion to a surrogate's |gradient|.

    Args:
        surrogate: differentiable model; the target itself where none is given.
        noise: standard deviation of what is added to the length of every trial, 0.1 as published.
        published_decoding: takes the drawn numbers for the wrong coordinates as the published code does (it draws
            channel-major and reads point-major), which undoes the sampling.

    Other arguments: see ``QueryAttack``.
    """

    def __init__(
        self,
        model: Victim,
        surrogate: Victim | None = None,
        *,
        noise: float = 0.1,
        published_decoding: bool = False,
        **options,
    ) -> None:
        super().__init__(model, **options)
        self.surrogate = model if surrogate is None else surrogate
        self.noise = noise
        self.published_decoding = published_decoding

    def _models(self) -> tuple[Victim, ...]:
        return self.model, self.surrogate

    def _moves(self, clean: Tensor, labels: Tensor, normals: Tensor | None, ids: Tensor) -> Moves:
        weight = score_gradient(self.surrogate, clean, labels, self.targeted, self.top_k).abs()
        if self.published_decoding:
            weight = weight.transpose(1, 2)
        weight = weight.flatten(1).cpu()
        # A surrogate without any gradient leaves every coordinate equally likely.
        weight[weight.sum(1) == 0] = 1
        generators = cloud_generators(self.seed, ids)
        coordinates, noise = [], []
        for row, generator in zip(weight, generators, strict=True):
            coordinates.append(row.multinomial(len(row), replacement=True, generator=generator))
            noise.append(torch.randn(len(row), 2, generator=generator))
        lengths = self._signs(clean) + self.noise * torch.stack(noise).to(clean)
        return self._coordinate_moves(torch.stack(coordinates).to(clean.device), lengths)
