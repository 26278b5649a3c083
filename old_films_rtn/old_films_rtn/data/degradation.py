"""From a clean clip to an old film: sharpening of the target, contaminants, blur, rescaling, noise, JPEG, flicker.

Frames are grey, (h, w), uint8 or float in [0, 1]. Everything is a pure function of its arguments; what is random is drawn
by ``draw_*`` from a generator that is passed in. The chain is the published one to the number; ``FilmWear`` adds what real
film shows beside it.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, field
from typing import Literal

import cv2
import numpy as np
import scipy.ndimage
from PIL import Image

BlendMode = Literal["addition", "subtract", "multiply"]
BLEND_MODES: tuple[BlendMode, ...] = ("addition", "subtract", "multiply")
RESAMPLING = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}


def truncate_u8(image: np.ndarray) -> np.ndarray:
    """[0, 1] -> uint8 by truncation, as the published chain does at every step. Shape kept."""
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)


def to_grey(bgr: np.ndarray) -> np.ndarray:
    """Colour (h, w, 3) BGR, float in [0, 1] -> Pillow's luma (h, w) uint8, after truncation to 8 bits."""
    return np.asarray(Image.fromarray(truncate_u8(bgr)[..., ::-1]).convert("L"))


def anisotropic_gaussian(size: int, l1: float, l2: float, angle: float) -> np.ndarray:
    """(size, size) float64, sum 1: l1, l2 are the eigenvalues of the covariance (pixels^2), angle in radians."""
    axis = np.array([math.cos(angle), math.sin(angle)])
    vectors = np.array([axis, [axis[1], -axis[0]]])
    precision = np.linalg.inv(vectors @ np.diag([l1, l2]) @ np.linalg.inv(vectors))
    steps = np.arange(size) - (size - 1) / 2
    x, y = np.meshgrid(steps, steps)
    kernel = np.exp(-0.5 * (precision[0, 0] * x * x + 2 * precision[0, 1] * x * y + precision[1, 1] * y * y))
    return kernel / kernel.sum()


def isotropic_gaussian(size: int, sigma: float) -> np.ndarray:
    """(size, size) float64, sum 1; values below the rounding of the largest are zero."""
    steps = np.arange(size) - (size - 1) / 2
    kernel = np.exp(-(steps[:, None] ** 2 + steps**2) / (2 * sigma**2))
    kernel[kernel < np.finfo(float).eps * kernel.max()] = 0
    return kernel / kernel.sum()


def blur(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Convolve (h, w) or (h, w, c) with a kernel, mirrored at the border without repeating the edge."""
    kernel = kernel.reshape(kernel.shape + (1,) * (image.ndim - 2))
    return scipy.ndimage.convolve(image, kernel, mode="mirror")


def sharpen(image: np.ndarray, weight: float = 0.5, radius: int = 50, threshold: float = 10) -> np.ndarray:
    """Unsharp mask where the detail exceeds ``threshold`` of 255, mixed in softly: the published training target.

    image: (h, w) or (h, w, c) float in [0, 1].
    """
    radius += 1 - radius % 2
    blurred = cv2.GaussianBlur(image, (radius, radius), 0)
    detail = image - blurred
    mask = (np.abs(detail) * 255 > threshold).astype(np.float32)
    share = cv2.GaussianBlur(mask, (radius, radius), 0)
    return share * np.clip(image + weight * detail, 0, 1) + (1 - share) * image


def blend(frame: np.ndarray, texture: np.ndarray, mode: BlendMode, opacity: float) -> np.ndarray:
    """Lay a texture (h, w) uint8, white where clean, over a frame (h, w) uint8; uint8 by truncation.

    addition: I + a(1 - q); subtract: I - a(1 - q); multiply: I((1 - a) + a q).
    """
    image, texture = frame.astype(np.float64) / 255, texture.astype(np.float64) / 255
    laid = {"addition": image + (1 - texture), "subtract": image - (1 - texture), "multiply": image * texture}[mode]
    # In this order of the sums, truncation gives the published levels exactly.
    return truncate_u8(laid * opacity + image * (1 - opacity))


@dataclass(frozen=True)
class Quality:
    """What the quality chain does to one frame. noise_std and the noise itself are in units of [0, 1]."""

    anisotropic: bool
    l1: float
    l2: float
    angle: float
    kernel: int
    scale: float
    speckle: bool
    noise_std: float
    jpeg_quality: int
    down: str
    up: str


ORDER = ("blur", "rescale", "noise", "jpeg")
"""The order of the published chain."""


def degrade_quality(
    frame: np.ndarray, quality: Quality, noise: np.ndarray, order: tuple[str, ...] = ORDER
) -> np.ndarray:
    """Blur, rescale, noise and JPEG in the order given, then back to size: (h, w) uint8 -> the same.

    noise: standard normal, at least as large as the frame at that step; its top left part is used.
    """
    height, width = frame.shape
    image = frame
    for step in order:
        if step == "blur":
            if quality.anisotropic:
                kernel = anisotropic_gaussian(quality.kernel, 8 * quality.l1, 8 * quality.l2, math.pi * quality.angle)
            else:
                kernel = isotropic_gaussian(quality.kernel, 2.8 * quality.l1)
            image = truncate_u8(blur(image.astype(np.float32) / np.float32(255), kernel))
        elif step == "rescale":
            size = max(1, int(width * quality.scale)), max(1, int(height * quality.scale))
            image = np.asarray(Image.fromarray(image).resize(size, RESAMPLING[quality.down]))
        elif step == "noise":
            scaled = image.astype(np.float32) / np.float32(255)
            grain = noise[: scaled.shape[0], : scaled.shape[1]] * quality.noise_std
            image = truncate_u8(scaled + (scaled * grain if quality.speckle else grain))
        else:
            stream = io.BytesIO()
            Image.fromarray(image).save(stream, "JPEG", quality=quality.jpeg_quality)
            image = np.asarray(Image.open(stream))
    return np.asarray(Image.fromarray(image).resize((width, height), RESAMPLING[quality.up]))


def draw_quality(rng: np.random.Generator, frames: int) -> list[Quality]:
    """The published draw: parameters a clip, small jitter a frame."""
    anisotropic = rng.random() < 0.5
    l1, l2, angle = rng.random(3)
    kernel = 2 * int(rng.integers(2, 12)) + 3
    noise_std, jpeg = rng.uniform(5, 10), int(rng.integers(40, 101))
    choice, up_scale, down_scale = rng.random(), rng.uniform(1, 2), rng.uniform(1 / 8, 1)
    scale = up_scale if choice > 0.8 else down_scale if choice < 0.7 else 1.0
    drawn = []
    for _ in range(frames):
        jitter = rng.random(4) - 0.5
        drawn.append(
            Quality(
                anisotropic=anisotropic,
                # A variance of zero has no Gaussian.
                l1=float(np.clip(l1 + 0.1 * jitter[0], 0.01, 1)),
                l2=float(np.clip(l2 + 0.1 * jitter[1], 0.01, 1)),
                angle=float(angle + 0.2 * jitter[2]),
                kernel=kernel,
                scale=scale,
                speckle=rng.random() < 0.5,
                noise_std=float(np.clip(noise_std + jitter[3], 5, 10)) / 255,
                jpeg_quality=int(np.clip(jpeg + rng.integers(-15, 16), 40, 100)),
                down=str(rng.choice(list(RESAMPLING))),
                up=str(rng.choice(list(RESAMPLING))),
            )
        )
    return drawn


def quality_noise(rng: np.random.Generator, quality: Quality, height: int, width: int) -> np.ndarray:
    """Standard normal noise of a size that ``degrade_quality`` needs, whatever the order."""
    shape = (max(height, int(height * quality.scale)), max(width, int(width * quality.scale)))
    return rng.standard_normal(shape, dtype=np.float32)


def brightness_contrast(frame: np.ndarray, brightness: float, contrast: float, brightness_first: bool) -> np.ndarray:
    """Flicker of one frame (h, w) uint8: brightness scales it, contrast scales its distance from its mean."""
    image = frame.astype(np.float32)
    for step in "bc" if brightness_first else "cb":
        if step == "b":
            image = np.clip(image * brightness, 0, 255)
        else:
            mean = image.mean()
            image = np.clip(mean + contrast * (image - mean), 0, 255)
    return image.astype(np.uint8)


@dataclass(frozen=True)
class FilmWear:
    """What real film shows beside the published chain; everything is off where its value is zero.

    flicker: largest relative change of exposure, slow over the shot with a part that changes every frame. weave: largest
    shift of the frame in the gate, pixels. vignette: darkening of the corners. grain: standard deviation of grain that is
    correlated in space, of [0, 1], strongest in the middle tones. splice: probability that a clip has one splice, whose
    frame flashes. gate_hair: probability of a hair in the gate, which stays over the clip.
    """

    flicker: float = 0.0
    weave: float = 0.0
    vignette: float = 0.0
    grain: float = 0.0
    splice: float = 0.0
    gate_hair: float = 0.0


@dataclass(frozen=True)
class Degradation:
    """Which parts of the chain a training set uses.

    sharpen_target: train towards the unsharp-masked frame, as published. defects: lay contaminants over the frames.
    quality: share of the clips that go through the published blur, rescaling, noise and JPEG (published: 1);
    random_order draws the order of blur, rescaling and noise anew for each clip, which the published code draws and
    ignores. flicker: the published brightness and contrast jitter. wear: see ``FilmWear``.
    """

    sharpen_target: bool = True
    defects: bool = True
    quality: float = 1.0
    random_order: bool = False
    flicker: bool = True
    wear: FilmWear = field(default_factory=FilmWear)


def wear_frames(frames: np.ndarray, wear: FilmWear, rng: np.random.Generator) -> np.ndarray:
    """Exposure, vignette, splice and grain of ``FilmWear``: (t, h, w) uint8 -> the same. Weave and hair are laid on apart."""
    count, height, width = frames.shape
    images = frames.astype(np.float32) / 255
    if wear.flicker:
        phase, period = rng.uniform(0, 2 * math.pi), rng.uniform(6, 30)
        slow = np.sin(phase + 2 * math.pi * np.arange(count) / period)
        images = images * (1 + wear.flicker * (0.5 * slow + 0.5 * rng.uniform(-1, 1, count)))[:, None, None]
    if wear.vignette:
        y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
        images = images * (1 - wear.vignette * rng.random() * (x * x + y * y) / 2)
    if wear.splice and rng.random() < wear.splice:
        where = rng.integers(count)
        images[where] = images[where] * rng.uniform(1.2, 1.6) + rng.uniform(0, 0.15)
    if wear.grain:
        size, strength = rng.uniform(0.4, 1.0), wear.grain * rng.uniform(0.4, 1)
        for image in images:
            grain = cv2.GaussianBlur(rng.standard_normal((height, width), dtype=np.float32), (0, 0), size)
            middle = np.clip(image, 0, 1)
            image += strength * grain / grain.std() * (0.4 + 2.4 * middle * (1 - middle))
    return np.round(np.clip(images, 0, 1) * 255).astype(np.uint8)


def weave_frames(
    frames: np.ndarray, flows: tuple[np.ndarray, np.ndarray] | None, shifts: np.ndarray
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray] | None]:
    """Move every frame (t, h, w[, c]) in the gate by its ``shifts`` (t, 2; x, y; pixels); flows follow.

    flows: forward and backward (t - 1, 2, h, w), or None where they are not known.
    """

    def moved(image: np.ndarray, by: np.ndarray) -> np.ndarray:
        matrix = np.array([[1, 0, by[0]], [0, 1, by[1]]], np.float64)
        size = (image.shape[1], image.shape[0])
        return cv2.warpAffine(image, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)

    frames = np.stack([moved(frame, by) for frame, by in zip(frames, shifts, strict=True)])
    if flows is None:
        return frames, None
    forward, backward = [], []
    for i in range(len(shifts) - 1):
        for kept, flow, here, there in ((forward, flows[0][i], i + 1, i), (backward, flows[1][i], i, i + 1)):
            carried = moved(np.ascontiguousarray(flow.transpose(1, 2, 0)), shifts[here]).transpose(2, 0, 1)
            kept.append(carried + (shifts[there] - shifts[here])[:, None, None].astype(np.float32))
    return frames, (np.stack(forward).astype(np.float32), np.stack(backward).astype(np.float32))
