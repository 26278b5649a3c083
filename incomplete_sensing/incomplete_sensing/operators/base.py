"""What every family of operators has in common."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from incomplete_sensing.matrix_table import apply_matrices
from incomplete_sensing.operators.least_squares import cgls
from incomplete_sensing.operators.observed_rows import ObservedRows
from shared_utils import UserError


class OperatorFamily(nn.Module):
    """Linear operators A_1 ... A_G of one kind, from images to measurements.

    Wherever ``g`` is asked for, it says which operator each sample goes through: an int for the whole batch, or a
    LongTensor (B,) with values in 0 .. G-1. Operators compute in the precision of their own buffers, also inside an
    autocast region. The buffers are the operators: they are stored in checkpoints, and a family is made again from its
    ``description`` and them.

    A kind implements ``_forward`` and ``_adjoint``, and ``_pinv`` where it knows a closed form. Elsewhere A^+ is a
    matrix, by SVD in float64, where the family's matrices have at most ``dense_limit`` entries; beyond that it is found
    by at most ``cg_iterations`` of conjugate gradients, and differentiated exactly: the adjoint of A^+ is the
    pseudo-inverse of the adjoint.
    """

    kind: ClassVar[str]
    stored_as_matrices: ClassVar[bool] = False
    dense_limit: int = 2**22
    cg_iterations: int = 200
    cg_tolerance: float = 1e-6

    def __init__(self, image_shape: Sequence[int], num_operators: int, measurement_shape: Sequence[int]) -> None:
        super().__init__()
        self.num_operators = int(num_operators)
        self.measurement_shape = tuple(int(size) for size in measurement_shape)
        if self.num_operators < 1:
            raise UserError("a family needs at least one operator (G >= 1)")
        sizes = tuple(int(size) for size in image_shape)
        if len(sizes) != 3:
            raise UserError(f"image shape is (channels, height, width), got {sizes}")
        self.image_shape = sizes
        self.register_buffer("_pseudo_inverses", None, persistent=False)
        self._observed_rows: ObservedRows | None = None

    # What a kind defines ---------------------------------------------------------------------------------------------

    def _forward(self, images: Tensor, g: int | Tensor) -> Tensor:
        raise NotImplementedError

    def _adjoint(self, measurements: Tensor, g: int | Tensor) -> Tensor:
        raise NotImplementedError

    def _pinv(self, measurements: Tensor, g: int | Tensor) -> Tensor:
        if self.num_operators * self.num_pixels * math.prod(self.measurement_shape) > self.dense_limit:
            return _PseudoInverse.apply(measurements, self, g)
        inverses = self.pseudo_inverses
        images = apply_matrices(inverses, measurements.flatten(1).to(inverses.dtype), g)
        return images.to(measurements.dtype).reshape(-1, *self.image_shape)

    @property
    def pseudo_inverses(self) -> Tensor:
        """(G, n, m), computed once; singular values below 1e-6 of the largest, zero to float32, count as zero.

        In the family's precision where that carries them, in float64 where the condition number exceeds 1000.
        """
        if self._pseudo_inverses is None:
            left, values, right = torch.linalg.svd(self.full_matrices().double(), full_matrices=False)
            kept = values > 1e-6 * values[:, :1]
            inverse_values = torch.where(kept, 1 / values, 0.0)
            inverses = right.mT * inverse_values[:, None] @ left.mT
            condition = values[:, 0] * inverse_values.amax(1)
            precise = bool((condition > 1e3).any())
            self._pseudo_inverses = inverses if precise else inverses.to(self.dtype).contiguous()
        return self._pseudo_inverses

    @property
    def observed_rows(self) -> ObservedRows:
        """The observed rows as matrices, computed once. Raises UserError where they are too large."""
        if self._observed_rows is None:
            with torch.inference_mode(False), torch.no_grad():
                self._observed_rows = ObservedRows(self)
        return self._observed_rows

    @torch.no_grad()
    def full_matrices(self) -> Tensor:
        """(G, m, n): every operator applied to every unit image, unobserved rows included."""
        n = self.num_pixels
        units = torch.eye(n, device=self.device, dtype=self.dtype).reshape(n, *self.image_shape)
        columns = [
            torch.cat([self(part, g).flatten(1) for part in units.split(256)]) for g in range(self.num_operators)
        ]
        return torch.stack(columns).mT

    def observed(self, g: int | Tensor) -> Tensor:
        """Which entries of a measurement were observed: 0/1, broadcastable to (B, *measurement_shape)."""
        return torch.ones((1,) * (len(self.measurement_shape) + 1), device=self.device)

    @property
    def num_measurements(self) -> Tensor:
        """Real numbers that each operator observes: (G,), int64."""
        counts = [self.observed(g).expand(1, *self.measurement_shape).sum() for g in range(self.num_operators)]
        return torch.stack(counts).round().long().cpu()

    def options(self) -> dict[str, Any]:
        """The constructor's plain arguments beyond the buffers."""
        return {"image_shape": list(self.image_shape)}

    # What users call -------------------------------------------------------------------------------------------------

    def forward(self, images: Tensor, g: int | Tensor) -> Tensor:
        """A_g x. images: (B, *image_shape). Returns (B, *measurement_shape)."""
        self._check(images, g, self.image_shape, "images")
        with torch.autocast(images.device.type, enabled=False):
            return self._forward(self._cast(images), g)

    def adjoint(self, measurements: Tensor, g: int | Tensor) -> Tensor:
        """A_g^T y. measurements: (B, *measurement_shape). Returns (B, *image_shape)."""
        self._check(measurements, g, self.measurement_shape, "measurements")
        with torch.autocast(measurements.device.type, enabled=False):
            return self._adjoint(self._cast(measurements), g)

    def pinv(self, measurements: Tensor, g: int | Tensor) -> Tensor:
        """A_g^+ y. measurements: (B, *measurement_shape). Returns (B, *image_shape)."""
        self._check(measurements, g, self.measurement_shape, "measurements")
        with torch.autocast(measurements.device.type, enabled=False):
            return self._pinv(self._cast(measurements), g)

    @torch.no_grad()
    def regularised(
        self, measurements: Tensor, g: int | Tensor, weight: float, prior: Tensor | None = None, iterations: int = 200
    ) -> Tensor:
        """argmin_x ||A_g x - y||^2 + weight ||x - prior||^2 by conjugate gradients; prior: (B, *image_shape), or zero.

        The proximal operator of gamma/2 ||A x - y||^2 is that with weight 1/gamma; for parallel MRI it is regularised
        SENSE. Without gradient.
        """
        residual = self._cast(measurements) if prior is None else self._cast(measurements) - self(prior, g)
        change = cgls(
            lambda images: self(images, g), lambda data: self.adjoint(data, g), residual, iterations, 1e-6, weight
        )
        return change if prior is None else change + prior

    @property
    def num_pixels(self) -> int:
        """n: real numbers of an image."""
        channels, height, width = self.image_shape
        return channels * height * width

    @property
    def device(self) -> torch.device:
        buffer = next(self.buffers(), None)
        return torch.device("cpu") if buffer is None else buffer.device

    def subset(self, operators: Sequence[int]) -> OperatorFamily:
        """The family of these operators only, in this order."""
        rows = torch.as_tensor(list(operators), dtype=torch.long)
        if not len(rows) or int(rows.min()) < 0 or int(rows.max()) >= self.num_operators:
            raise UserError(f"operators {list(operators)} are not among 0 .. {self.num_operators - 1}")
        buffers = {name: value[rows] if self._stacked(value) else value for name, value in self.stored().items()}
        return type(self)(**buffers, **self.options())

    def _stacked(self, buffer: Tensor) -> bool:
        return buffer.ndim > 0 and buffer.shape[0] == self.num_operators

    def stored(self) -> dict[str, Tensor]:
        """The buffers that make the family, by constructor argument."""
        return dict(self.state_dict())

    def description(self) -> dict[str, Any]:
        """What is needed beside the buffers to make the family again, in plain values (see ``empty_family``)."""
        buffers = {
            name: [str(value.dtype).removeprefix("torch."), *value.shape] for name, value in self.stored().items()
        }
        return {"kind": self.kind, "options": self.options(), "buffers": buffers}

    def fingerprint(self) -> str:
        """A hash of the kind and of every stored number."""
        digest = hashlib.sha256(f"{self.kind} {self.options()}".encode())
        for name, value in sorted(self.stored().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def as_matrices(self, limit: int = 2**28) -> list[Tensor] | None:
        """Every operator as a matrix (m_g, n) of its observed rows, in float64, or in the precision of stored matrices.

        What the direct tests of ``incomplete_sensing.identifiability`` take. None where they exceed ``limit`` entries.
        """
        if self.num_operators * self.num_pixels * math.prod(self.measurement_shape) > limit:
            return None
        # Beside stored matrices, single precision would be an error of ours, not of the operators.
        precise = self if self.stored_as_matrices else copy.deepcopy(self).double()
        matrices = precise.full_matrices().cpu()
        seen = [
            self.observed(g).expand(1, *self.measurement_shape).reshape(-1).bool().cpu() for g in range(len(matrices))
        ]
        return [matrix[rows] for matrix, rows in zip(matrices, seen, strict=True)]

    def _apply(self, function: Any, recurse: bool = True) -> OperatorFamily:
        # Made again from the buffers where it is needed: in their new precision, on their new device.
        self._pseudo_inverses = self._observed_rows = None
        return super()._apply(function, recurse)

    def _load_from_state_dict(self, *arguments: Any, **options: Any) -> None:
        super()._load_from_state_dict(*arguments, **options)
        self._pseudo_inverses = self._observed_rows = None

    @property
    def dtype(self) -> torch.dtype:
        """The precision in which the operators compute."""
        return next((value.dtype for value in self.stored().values() if value.is_floating_point()), torch.float32)

    def _cast(self, values: Tensor) -> Tensor:
        return values.to(self.dtype)

    def _check(self, values: Tensor, g: int | Tensor, shape: tuple[int, ...], name: str) -> None:
        if tuple(values.shape[1:]) != shape:
            raise UserError(f"{name} have shape {tuple(values.shape[1:])} per sample, these operators take {shape}")
        if isinstance(g, Tensor):
            if g.shape != values.shape[:1]:
                raise UserError(
                    f"{len(values)} {name} but operator numbers of shape {tuple(g.shape)}: one is needed for each"
                )
            # On an accelerator the comparison would wait for it; an index out of range fails there by itself.
            if g.device.type != "cpu" or not len(g):
                return
            low, high = int(g.min()), int(g.max())
        else:
            low = high = int(g)
        if low < 0 or high >= self.num_operators:
            wrong = low if low < 0 else high
            raise UserError(f"unknown operator {wrong}: known are 0 .. {self.num_operators - 1}")


class _PseudoInverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, measurements: Tensor, family: OperatorFamily, g: int | Tensor) -> Tensor:
        ctx.family, ctx.g = family, g
        return cgls(
            lambda images: family._forward(images, g),
            lambda data: family._adjoint(data, g),
            measurements,
            family.cg_iterations,
            family.cg_tolerance,
        )

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple:
        family, g = ctx.family, ctx.g
        transposed = cgls(
            lambda data: family._adjoint(data, g),
            lambda images: family._forward(images, g),
            gradient,
            family.cg_iterations,
            family.cg_tolerance,
        )
        return transposed, None, None


def by_operator(g: int | Tensor) -> list[tuple[int, Tensor | slice]]:
    """(operator, samples that go through it) for every operator that occurs in the batch."""
    if not isinstance(g, Tensor):
        return [(int(g), slice(None))]
    present = g.unique().tolist()
    if len(present) == 1:
        return [(present[0], slice(None))]
    return [(operator, (g == operator).nonzero()[:, 0]) for operator in present]


def duplicates(family: OperatorFamily) -> list[tuple[int, int]]:
    """Pairs (g, first operator equal to it): what they repeat teaches nothing, the effective G is smaller."""
    if family.num_operators == 1:
        return []
    seen: dict[bytes, int] = {}
    pairs = []
    stacked = [value.detach().cpu() for value in family.stored().values() if family._stacked(value)]
    for g in range(family.num_operators):
        key = b"".join(value[g].contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() for value in stacked)
        first = seen.setdefault(hashlib.sha256(key).digest(), g)
        if first != g:
            pairs.append((g, first))
    return pairs
