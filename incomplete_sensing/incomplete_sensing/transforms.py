"""Groups that act on images: pixel permutations, exact, as functions of images and as matrices.

``GROUPS`` by name: shift (circular), rot90 (quarter turns), flip (left-right), dihedral (quarter turns and flips).
``Rotation`` by any angle interpolates, so it is not a group action; it is there because the published CT experiments use
it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from shared_utils import UserError


class Transform(Protocol):
    """What the equivariance losses take: draw elements, apply them."""

    def draw(
        self, count: int, image_shape: Sequence[int], generator: torch.Generator | None = None
    ) -> list: ...  # pragma: no cover

    def apply(self, images: Tensor, elements: Sequence) -> Tensor: ...  # pragma: no cover


class PermutationGroup:
    """A finite group that permutes pixels. Elements are hashable values; the first of ``elements`` is the identity."""

    name: str

    def elements(self, image_shape: Sequence[int]) -> list:
        """All elements, for images (C, H, W)."""
        raise NotImplementedError

    def order(self, image_shape: Sequence[int]) -> int:
        """|G|."""
        return len(self.elements(image_shape))

    def act(self, images: Tensor, element) -> Tensor:
        """T_g x for images (..., H, W)."""
        raise NotImplementedError

    def apply(self, images: Tensor, elements: Sequence) -> Tensor:
        """Copies transformed by each element, stacked along the batch: copy 0 of all images first [EI]."""
        return torch.cat([self.act(images, element) for element in elements])

    def draw(self, count: int, image_shape: Sequence[int], generator: torch.Generator | None = None) -> list:
        """``count`` different elements other than the identity, uniformly."""
        others = self.elements(image_shape)[1:]
        if count > len(others):
            raise UserError(
                f"{count} transforms asked for, {self.name} on {tuple(image_shape)} has {len(others)} beside the identity"
            )
        return [others[index] for index in torch.randperm(len(others), generator=generator)[:count].tolist()]

    def permutations(self, image_shape: Sequence[int]) -> Tensor:
        """(|G|, n) long: (T_g x).flatten() = x.flatten()[permutations[g]]."""
        channels, height, width = image_shape
        places = torch.arange(channels * height * width).reshape(1, channels, height, width)
        return torch.stack([self.act(places, element).flatten() for element in self.elements(image_shape)])

    def matrices(self, image_shape: Sequence[int]) -> Tensor:
        """(|G|, n, n) float64, acting on flattened images."""
        return F.one_hot(self.permutations(image_shape), math.prod(image_shape)).double()


class Shift(PermutationGroup):
    """Circular shifts by (rows, columns)."""

    name = "shift"

    def elements(self, image_shape: Sequence[int]) -> list[tuple[int, int]]:
        _, height, width = image_shape
        return [(row, column) for row in range(height) for column in range(width)]

    def act(self, images: Tensor, element: tuple[int, int]) -> Tensor:
        return torch.roll(images, tuple(int(shift) for shift in element), (-2, -1))

    def draw(
        self, count: int, image_shape: Sequence[int], generator: torch.Generator | None = None
    ) -> list[tuple[int, int]]:
        """As EI draws them: row and column shifts each without replacement from +-{1 .. size - 1}."""
        columns = []
        for size in tuple(image_shape)[-2:]:
            choices = [*range(-(size - 1), 0), *range(1, size)]
            if count > size - 1:
                raise UserError(f"{count} shifts asked for, images of {size} pixels have at most {size - 1}")
            order = torch.randperm(len(choices), generator=generator)[:count].tolist()
            columns.append([choices[index] for index in order])
        return list(zip(*columns, strict=True))


class QuarterTurn(PermutationGroup):
    """Rotations by 0, 90, 180, 270 degrees counter-clockwise, of square images."""

    name = "rot90"

    def elements(self, image_shape: Sequence[int]) -> list[int]:
        _square(image_shape, self.name)
        return [0, 1, 2, 3]

    def act(self, images: Tensor, element: int) -> Tensor:
        return torch.rot90(images, element, (-2, -1))


class Flip(PermutationGroup):
    """The identity and the left-right flip."""

    name = "flip"

    def elements(self, image_shape: Sequence[int]) -> list[bool]:
        return [False, True]

    def act(self, images: Tensor, element: bool) -> Tensor:
        return images.flip(-1) if element else images


class Dihedral(PermutationGroup):
    """The eight symmetries of the square: (quarter turns, then whether flipped left-right)."""

    name = "dihedral"

    def elements(self, image_shape: Sequence[int]) -> list[tuple[int, bool]]:
        _square(image_shape, self.name)
        return [(turns, flipped) for flipped in (False, True) for turns in range(4)]

    def act(self, images: Tensor, element: tuple[int, bool]) -> Tensor:
        turned = torch.rot90(images, element[0], (-2, -1))
        return turned.flip(-1) if element[1] else turned


class Rotation:
    """Rotations by whole degrees 1 .. 358, interpolated, zero outside [EI's CT]. Not a group action: prefer rot90."""

    name = "rotation"

    def __init__(self, interpolation: str = "bilinear") -> None:
        self.interpolation = interpolation

    def draw(self, count: int, image_shape: Sequence[int], generator: torch.Generator | None = None) -> list[int]:
        return (torch.randperm(358, generator=generator)[:count] + 1).tolist()

    def apply(self, images: Tensor, elements: Sequence[float]) -> Tensor:
        return torch.cat([rotate(images, degrees, self.interpolation) for degrees in elements])


def rotate(images: Tensor, degrees: float, interpolation: str = "bilinear") -> Tensor:
    """Rotate (B, C, H, W) counter-clockwise about the centre, zero outside; interpolation: bilinear or nearest."""
    height, width = images.shape[-2:]
    if height == width and float(degrees) % 90 == 0:
        return torch.rot90(images, round(degrees / 90), (-2, -1))
    angle = math.radians(degrees)
    y = torch.arange(height, device=images.device, dtype=images.dtype)[:, None] - (height - 1) / 2
    x = torch.arange(width, device=images.device, dtype=images.dtype)[None, :] - (width - 1) / 2
    source_x = math.cos(angle) * x - math.sin(angle) * y
    source_y = math.sin(angle) * x + math.cos(angle) * y
    grid = torch.stack((source_x * 2 / width, source_y * 2 / height), -1)
    return F.grid_sample(images, grid.expand(len(images), -1, -1, -1), mode=interpolation, align_corners=False)


def _square(image_shape: Sequence[int], name: str) -> None:
    if image_shape[-1] != image_shape[-2]:
        raise UserError(f"{name} acts on square images, these are {image_shape[-2]} x {image_shape[-1]}")


GROUPS: dict[str, PermutationGroup] = {group.name: group for group in (Shift(), QuarterTurn(), Flip(), Dihedral())}


def build_transform(name: str) -> Transform:
    """The group of this name, or ``rotation``. Raises UserError for an unknown one."""
    if name == Rotation.name:
        return Rotation()
    if name not in GROUPS:
        raise UserError(f"unknown transform {name!r}; known: {', '.join([*GROUPS, Rotation.name])}")
    return GROUPS[name]
