"""What all attacks share: the result, the care taken of the victim, the criterion of success, batching and seeds."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from shared_utils import UserError
from si_adv.geometry import estimate_normals
from si_adv.losses import margin_loss, output_margin

Victim = nn.Module | Callable[[Tensor], Tensor | tuple]
"""Anything that maps clouds (B, 3, N) to logits or log-probabilities (B, C), or to a tuple with them; see ``Adapted``."""


@dataclass
class AttackResult:
    """What an attack did to every cloud of a batch of B; all tensors on the device of the clouds.

    adv: (B, N, 3) float32, the points in the order of the input.
    success: (B,) bool, the goal is reached by ``adv`` (also where it was before the attack).
    prediction, initial_prediction: (B,) int64, of ``adv`` and of the clean cloud.
    initial_success: (B,) bool, the goal was reached before the attack (such clouds come back as they were).
    queries: (B,) int64, clouds passed through the victim (the target, for a query attack), the first one included.
    steps: (B,) int64, moves made; for a query attack the accepted ones.
    undefined_normals: (B,) int64, points that were kept still in some step for want of a normal.
    trajectory: per cloud a (T, 2) tensor of queries spent and best score then (query attacks; None otherwise).
    """

    adv: Tensor
    success: Tensor
    prediction: Tensor
    initial_prediction: Tensor
    initial_success: Tensor
    queries: Tensor
    steps: Tensor
    undefined_normals: Tensor
    trajectory: list[Tensor] | None = None

    @property
    def attacked(self) -> Tensor:
        """(B,) bool, the clouds that were not successes before the attack: the denominator to quote."""
        return ~self.initial_success

    @classmethod
    def blank(cls, adv: Tensor) -> AttackResult:
        """A result of clouds that have not been attacked yet."""
        count = torch.zeros(len(adv), dtype=torch.int64, device=adv.device)
        no = torch.zeros(len(adv), dtype=torch.bool, device=adv.device)
        return cls(adv, no, count, count.clone(), no.clone(), count.clone(), count.clone(), count.clone())

    def record(self, rows: Tensor, prediction: Tensor, reached: Tensor) -> None:
        """Takes down one forward pass of the clouds in ``rows`` (a,); the first one of a cloud is its initial state."""
        self.queries[rows] += 1
        self.prediction[rows], self.success[rows] = prediction, reached
        first = self.queries[rows] == 1
        self.initial_prediction[rows[first]], self.initial_success[rows[first]] = prediction[first], reached[first]

    @classmethod
    def cat(cls, results: Sequence[AttackResult]) -> AttackResult:
        """Results of consecutive batches as one."""
        names = [field.name for field in dataclasses.fields(cls) if field.name != "trajectory"]
        joined: dict[str, Tensor] = {name: torch.cat([getattr(result, name) for result in results]) for name in names}
        paths = [result.trajectory for result in results if result.trajectory is not None]
        return cls(**joined, trajectory=[path for part in paths for path in part] if paths else None)


@contextmanager
def attacked(*models: Victim) -> Iterator[None]:
    """The models in evaluation mode with their parameters frozen; every mode and flag is put back afterwards."""
    modules = [module for model in models if isinstance(model, nn.Module) for module in model.modules()]
    parameters = [parameter for module in modules for parameter in module.parameters(recurse=False)]
    modes = [module.training for module in modules]
    flags = [parameter.requires_grad for parameter in parameters]
    try:
        for module in modules:
            module.training = False
        for parameter in parameters:
            parameter.requires_grad_(False)
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode
        for parameter, flag in zip(parameters, flags, strict=True):
            parameter.requires_grad_(flag)


def model_output(model: Victim, points: Tensor) -> Tensor:
    """Output (B, C) float32 of a victim on clouds (B, N, 3), which it gets in the precision of its weights.

    Of a tuple the one item that is (B, C).

    Raises:
        UserError: there is no such output, or more than one; fewer than two classes; NaN.
    """
    output = model(points.transpose(1, 2).contiguous().to(_precision(model)))
    if isinstance(output, tuple | list):
        tables = [item for item in output if isinstance(item, Tensor) and item.dim() == 2 and len(item) == len(points)]
        if len(tables) > 1:
            shapes = ", ".join(str(tuple(table.shape)) for table in tables)
            raise UserError(
                f"the victim returns several (B, C) outputs, {shapes}: choose one, as in Adapted(model, output=1)"
            )
        output = tables[0] if tables else output[0] if output else output
    if not isinstance(output, Tensor):
        kind = type(output).__name__
        raise UserError(
            f"the victim returns a {kind}, not a tensor of scores: see Adapted(model, output=..., numpy=...)"
        )
    if output.dim() != 2 or len(output) != len(points) or not output.is_floating_point():
        raise UserError(
            f"the victim must return (B, C) outputs for {len(points)} clouds, got {tuple(output.shape)} of {output.dtype}; "
            "for one that returns labels alone see Adapted(model, num_classes=...)"
        )
    if output.shape[1] < 2:
        raise UserError("the victim has a single class: there is no decision to change")
    wrong = output.detach().isnan().any(1)
    if wrong.any():
        raise UserError(f"the victim returned NaN for cloud {int(wrong.int().argmax())} of the batch")
    return output.float()


def _precision(model: Victim) -> torch.dtype:
    """That of the weights of a module; float32 for whatever has none."""
    weights = model.parameters() if isinstance(model, nn.Module) else ()
    return next((weight.dtype for weight in weights if weight.is_floating_point()), torch.float32)


def gradient_of(loss: Tensor, points: Tensor) -> Tensor:
    """Gradient of a loss in the points it was computed from. Raises UserError where it does not depend on them."""
    needs_gradient(loss)
    return torch.autograd.grad(loss, points)[0]


def needs_gradient(output: Tensor) -> None:
    """Raise UserError where an output does not depend on the points that it was computed from."""
    if not output.requires_grad:
        raise UserError(
            "the victim's output has no gradient in the points (numpy, no_grad, detach or argmax in it): attack it by "
            "queries (simba, or si_query and simba_pp with a surrogate)"
        )


def split_clouds(clouds: Tensor, normals: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Points and unit normals, from clouds of 3 or 6 channels and given normals.

    Args:
        clouds: (B, N, 3), or (B, N, 6) with normals.
        normals: (B, N, 3), before those of the clouds.

    Returns:
        Points (B, N, 3) float32; normals (B, N, 3), zero where they were zero or not finite, or None.

    Raises:
        UserError: other shapes, complex numbers, no points, or points that are not finite.
    """
    clouds = torch.as_tensor(clouds)
    if clouds.dim() != 3 or clouds.shape[-1] not in (3, 6) or not clouds.numel() or clouds.is_complex():
        raise UserError(
            f"clouds must have shape (B, N, 3), or (B, N, 6) with normals, B > 0 and N > 0, got {tuple(clouds.shape)} "
            f"of {clouds.dtype}"
        )
    # Cloned: the caller's tensor stays as it is, and one made under inference_mode becomes usable in a graph.
    points = clouds[..., :3].detach().float().clone()
    wrong = ~points.isfinite().all(-1).all(-1)
    if wrong.any():
        raise UserError(f"cloud {int(wrong.int().argmax())} of the batch has a point that is NaN or infinite")
    if normals is None and clouds.shape[-1] == 6:
        normals = clouds[..., 3:]
    if normals is None:
        return points, None
    normals = torch.as_tensor(normals)
    if normals.shape != points.shape:
        raise UserError(f"normals must have the shape of the points, {tuple(points.shape)}, got {tuple(normals.shape)}")
    normals = normals.detach().to(points).clone()
    length = torch.linalg.vector_norm(normals, dim=-1, keepdim=True)
    defined = length.isfinite() & (length > 0)
    return points, torch.where(defined, normals / length, 0)


def whole_labels(labels: Tensor, points: Tensor) -> Tensor:
    """Labels (B,) int64 beside clouds (B, N, 3), from a tensor, an array or a list.

    Raises:
        UserError: another number of them, or what is no whole number.
    """
    given = torch.as_tensor(labels)
    if given.shape != points.shape[:1]:
        raise UserError(f"{len(points)} clouds need labels of shape ({len(points)},), got {tuple(given.shape)}")
    whole = given.detach().to(points.device, torch.int64).clone()
    if given.is_complex() or (given.is_floating_point() and not torch.equal(whole.to(given), given.to(points.device))):
        raise UserError(f"labels are whole numbers, got {given.tolist()}")
    return whole


def cloud_generators(seed: int, ids: Tensor) -> list[torch.Generator]:
    """One generator (CPU) a cloud, from the seed and the cloud's number alone.

    Its draws are the same in any batch, on any rank and on any device.
    """
    states = [np.random.SeedSequence((seed, int(number))).generate_state(1, np.uint64)[0] for number in ids]
    return [torch.Generator().manual_seed(int(state >> np.uint64(1))) for state in states]


class Attack(ABC):
    """An attack on a point-cloud classifier: ``adv = attack(clouds, labels)`` or ``result = attack.run(...)``.

    Args:
        model: see ``Victim``; a defended one is attacked through its defence. It is used in evaluation mode without
            gradients of its weights, and left as it was.
        targeted: labels are the classes to reach; otherwise the classes to leave.
        confidence: by how much the margin must be won (0: the decision just flips).
        top_k: 5 means that the label must leave (or enter) the five best.
        micro_batch: clouds worked on at once; by default what was measured to be fast on the device.
        seed: of the random draws; a cloud's draws depend on the seed and its id alone.
    """

    needs_normals = False
    """Whether normals are estimated where none are given."""
    normal_neighbours = 20
    """Points that a normal is estimated from, where none are given."""
    fixed: tuple[str, ...] = ()
    """Options of the base classes that the attack decides itself."""

    def __init__(
        self,
        model: Victim,
        *,
        targeted: bool = False,
        confidence: float = 0.0,
        top_k: int = 1,
        micro_batch: int | None = None,
        seed: int = 0,
    ) -> None:
        if micro_batch is not None and micro_batch < 1:
            raise ValueError(f"micro_batch must be at least 1, got {micro_batch}")
        self.model = model
        self.targeted = targeted
        self.confidence = confidence
        self.top_k = top_k
        self.micro_batch = micro_batch
        self.seed = seed

    def __call__(self, clouds: Tensor, labels: Tensor, normals: Tensor | None = None) -> Tensor:
        """Adversarial clouds (B, N, 3); see ``run``."""
        return self.run(clouds, labels, normals).adv

    def run(
        self, clouds: Tensor, labels: Tensor, normals: Tensor | None = None, ids: Tensor | None = None
    ) -> AttackResult:
        """Attack every cloud and report what became of it.

        Args:
            clouds: (B, N, 3), or (B, N, 6) with normals.
            labels: (B,) integers.
            normals: (B, N, 3), before those of the clouds.
            ids: (B,) number of each cloud in the whole set (0..B-1 by default): give them where a set is attacked in parts,
                and random draws will be those of the undivided run.
        """
        # Also inside no_grad and inference_mode, where validation loops run, an attack takes gradients.
        with torch.inference_mode(False), torch.enable_grad(), attacked(*self._models()):
            points, normals = split_clouds(clouds, normals)
            labels = whole_labels(labels, points)
            ids = torch.arange(len(points)) if ids is None else torch.as_tensor(ids)
            if ids.shape != labels.shape:
                raise ValueError(f"{len(points)} clouds need ids of shape ({len(points)},), got {tuple(ids.shape)}")
            size = self.micro_batch or self._default_micro_batch(points.device)
            parts = []
            for begin in range(0, len(points), size):
                part = slice(begin, begin + size)
                part_normals = None if normals is None else normals[part]
                if part_normals is None and self.needs_normals:
                    part_normals = estimate_normals(points[part], self.normal_neighbours)
                parts.append(self._attack(points[part], labels[part], part_normals, ids[part]))
        return AttackResult.cat(parts)

    def holds(self, clouds: Tensor, labels: Tensor) -> Tensor:
        """Whether the victim's decision on clouds is the goal of the attack, whatever the margin: (B,) bool.

        For clouds that have been through something after the attack; nothing of it counts as a query.

        Args:
            clouds: (B, N, 3).
            labels: (B,) integers, those that the attack was given.
        """
        size = self.micro_batch or self._default_micro_batch(clouds.device)
        labels = labels.to(clouds.device, torch.int64)
        with torch.no_grad(), attacked(*self._models()):
            parts = zip(clouds.float().split(size), labels.split(size), strict=True)
            return torch.cat([self._decided(self._forward(*part), part[1]) for part in parts])

    @abstractmethod
    def _attack(self, clean: Tensor, labels: Tensor, normals: Tensor | None, ids: Tensor) -> AttackResult:
        """Attacks one micro-batch: clean and normals (b, N, 3), labels and ids (b,)."""

    def _models(self) -> tuple[Victim, ...]:
        """The models to freeze while the attack runs."""
        return (self.model,)

    def _default_micro_batch(self, device: torch.device) -> int:
        # On a CPU batches gain little (PointNet a sixth at four clouds, DGCNN nothing: the activations leave the cache),
        # and a cloud on its own rounds the same whatever it is attacked together with.
        return 1 if device.type == "cpu" else 256

    def _forward(self, points: Tensor, labels: Tensor) -> Tensor:
        output = model_output(self.model, points)
        if labels.min() < 0 or labels.max() >= output.shape[1]:
            raise UserError(f"labels must lie in 0..{output.shape[1] - 1} for this victim, got {labels.tolist()}")
        return output

    def _loss(self, output: Tensor, labels: Tensor) -> Tensor:
        """The loss to descend, (b,); 0 where the goal is reached."""
        return margin_loss(output, labels, confidence=self.confidence, targeted=self.targeted, top_k=self.top_k)

    def _reached(self, output: Tensor, labels: Tensor) -> Tensor:
        """(b,) bool: the label is out of (targeted: in) the best ``top_k``, and the margin won by ``confidence``."""
        margin = output_margin(output, labels, self.top_k)
        return self._decided(output, labels) & ((margin if self.targeted else -margin) >= self.confidence)

    def _decided(self, output: Tensor, labels: Tensor) -> Tensor:
        """(b,) bool: the label is out of (targeted: in) the best ``top_k``."""
        best = output.topk(self.top_k, dim=1).indices
        return (best == labels[:, None]).any(1) == self.targeted

    @torch.no_grad()
    def _look(self, points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """One forward pass: prediction (b,) and whether the goal is reached (b,)."""
        output = self._forward(points, labels)
        return output.argmax(1), self._reached(output, labels)

    def _gradient(self, points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As ``_look``, and the gradient (b, N, 3) of the loss, which is zero where the goal is reached."""
        points = points.detach().requires_grad_()
        output = self._forward(points, labels)
        reached = self._reached(output.detach(), labels)
        loss = self._loss(output, labels).sum()
        # No backward pass for nothing.
        gradient = torch.zeros_like(points) if reached.all() else gradient_of(loss, points)
        return output.detach().argmax(1), reached, gradient


def unit_direction(vectors: Tensor) -> Tensor:
    """Vectors (b, N, 3) at L2 length one over the whole cloud; zero stays zero."""
    return vectors / (torch.linalg.vector_norm(vectors, dim=(1, 2), keepdim=True) + 1e-9)


def draw_normal(generators: Sequence[torch.Generator], shape: Sequence[int], like: Tensor) -> Tensor:
    """Standard normal draws (b, *shape), each cloud's from its own generator."""
    return torch.stack([torch.randn(*shape, generator=generator) for generator in generators]).to(like)
