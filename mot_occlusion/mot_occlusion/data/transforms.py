"""Augmentation of frames and their boxes: the published affine, its perturbed copy for the second frame, and colour."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np


class Affine(NamedTuple):
    """Rotation in degrees, scale, translation in pixels and shear as tangents, all about the image's centre.

    As published: shear . translation . rotation, where the rotation also scales.
    """

    angle: float = 0.0
    scale: float = 1.0
    translate_x: float = 0.0
    translate_y: float = 0.0
    shear_y: float = 0.0
    shear_x: float = 0.0

    def matrix(self, size: tuple[int, int]) -> np.ndarray:
        """(3, 3) for an image of (height, width); shear_y moves x by y, shear_x moves y by x."""
        radians = math.radians(self.angle)
        cosine, sine = self.scale * math.cos(radians), self.scale * math.sin(radians)
        x, y = size[1] / 2, size[0] / 2
        rotation = np.array(
            [[cosine, sine, (1 - cosine) * x - sine * y], [-sine, cosine, sine * x + (1 - cosine) * y], [0, 0, 1]]
        )
        translation = np.array([[1, 0, self.translate_x], [0, 1, self.translate_y], [0, 0, 1]])
        shear = np.array([[1, self.shear_y, 0], [self.shear_x, 1, 0], [0, 0, 1]])
        return shear @ translation @ rotation


class AffineRanges(NamedTuple):
    """How far a random affine may go: degrees, fractions of the image, a range of scales, degrees of shear."""

    degrees: float = 5.0
    translate: float = 0.1
    scale: tuple[float, float] = (0.5, 1.2)
    shear: float = 2.0

    def draw(self, rng: np.random.Generator, size: tuple[int, int]) -> Affine:
        """A random affine; translations are fractions of the height along x and of the width along y, as published."""
        return Affine(
            angle=rng.uniform(-self.degrees, self.degrees),
            scale=rng.uniform(*self.scale),
            translate_x=rng.uniform(-1, 1) * self.translate * size[0],
            translate_y=rng.uniform(-1, 1) * self.translate * size[1],
            shear_y=math.tan(math.radians(rng.uniform(-self.shear, self.shear))),
            shear_x=math.tan(math.radians(rng.uniform(-self.shear, self.shear))),
        )

    def perturb(self, affine: Affine, rng: np.random.Generator, size: tuple[int, int]) -> Affine:
        """The affine of the second frame: the first one's, moved by a random 5 to 19 percent of the ranges.

        The published perturbation of angle, scale and shear has one sign only; here all are symmetric.
        """
        factor = rng.integers(5, 20) / 100
        middle = sum(self.scale) / 2
        moved = AffineRanges(
            self.degrees * factor,
            self.translate * factor,
            (1 - factor * (middle - self.scale[0]), 1 + factor * (self.scale[1] - middle)),
            self.shear * factor,
        ).draw(rng, size)
        return Affine(
            affine.angle + moved.angle,
            affine.scale * moved.scale,
            *(first + second for first, second in zip(affine[2:], moved[2:], strict=True)),
        )


def of_pixels(matrix: np.ndarray) -> np.ndarray:
    """A (3, 3) matrix for edges of pixels (a box of the whole image ends at its width), as one for their middles.

    Boxes are made of edges, while OpenCV's pixel (0, 0) is a middle, half a pixel away from either edge.
    """
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    return np.linalg.inv(half) @ matrix @ half


def warp_image(image: np.ndarray, matrix: np.ndarray, border: float = 127.5) -> np.ndarray:
    """(H, W, 3) uint8 under a (3, 3) matrix of middles of pixels, bilinear, on a grey border."""
    import cv2

    return cv2.warpPerspective(
        image,
        matrix,
        image.shape[1::-1],
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(border,) * 3,
    )


def warp_boxes(boxes: np.ndarray, matrix: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (N, 4) xyxy around their warped corners, shrunk by max(|sin|, |cos|)^0.5 of the angle in degrees.

    Returns the boxes that stay usable (wider and higher than 4 pixels, more than a tenth of the area that the warp gives
    a box of its size, aspect under 10) and their rows.
    """
    if len(boxes) == 0:
        return boxes, np.zeros(0, np.int64)
    corners = boxes[:, [0, 1, 2, 3, 0, 3, 2, 1]].reshape(-1, 2)
    moved = (np.concatenate((corners, np.ones((len(corners), 1))), 1) @ matrix.T)[:, :2].reshape(-1, 4, 2)
    low, high = moved.min(1), moved.max(1)
    radians = math.radians(angle)
    shrink = max(abs(math.sin(radians)), abs(math.cos(radians))) ** 0.5
    centre, half = (low + high) / 2, (high - low) * (shrink / 2)
    warped = np.concatenate((centre - half, centre + half), 1)
    before, (width, height) = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), (2 * half).T
    aspect = np.maximum(width / (height + 1e-16), height / (width + 1e-16))
    usable = (width > 4) & (height > 4) & (width * height / (before + 1e-16) > 0.1) & (aspect < 10)
    return warped[usable].astype(boxes.dtype), np.flatnonzero(usable)


def scale_colour(image: np.ndarray, saturation: float, value: float) -> np.ndarray:
    """(H, W, 3) RGB uint8 with saturation and value of HSV multiplied."""
    import cv2

    hue, s, v = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2HSV))
    ramp = np.arange(256, dtype=np.float32)
    tables = [np.clip(ramp * factor, 0, 255).astype(np.uint8) for factor in (saturation, value)]
    return cv2.cvtColor(cv2.merge((hue, cv2.LUT(s, tables[0]), cv2.LUT(v, tables[1]))), cv2.COLOR_HSV2RGB)


def relight(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) uint8 RGB under another light: strength 0.7 to 1.3, warmer or colder, gamma, a slope across the image."""
    height, width = image.shape[:2]
    slope_y, slope_x = rng.uniform(-0.25, 0.25, 2)
    slope = 1 + slope_y * np.linspace(-1, 1, height)[:, None] + slope_x * np.linspace(-1, 1, width)
    warmth = rng.uniform(-0.15, 0.15)
    light = (slope[..., None] * rng.uniform(0.7, 1.3) * np.array([1 + warmth, 1, 1 - warmth])).astype(np.float32)
    scaled = (image / np.float32(255)) ** np.float32(rng.uniform(0.75, 1.35)) * light
    return np.clip(255 * scaled, 0, 255).astype(np.uint8)
