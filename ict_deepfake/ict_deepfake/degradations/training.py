"""The degradations of training: one recipe for all pictures of a batch (spec 2.3, step 6).

Degrading swapped pictures otherwise than genuine ones would tell them apart by the degradation; with one recipe a batch,
whose numbers do not depend on the pictures, there is nothing to tell.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ict_deepfake.degradations import operations
from shared_utils import UserError

_SIDE = 317  # of the aligned crop that the sizes of spec 2.3 are given for


@dataclass(frozen=True)
class TrainingDegradation:
    """Draws a recipe for a batch and applies it to every picture.

    Args:
        probability: of each of resampling, blur, noise and JPEG.
        smallest: side, in pixels of an aligned crop of 317, that resampling goes down to.
        blur: largest deviation of a Gaussian, a share of the picture's side.
        noise: largest deviation, in grey levels.
        quality: range of the JPEG quality.
        grey: probability of grey pictures.
        flip: probability of mirrored pictures.
    """

    probability: float = 0.3
    smallest: int = 64
    blur: float = 0.03
    noise: float = 12.0
    quality: tuple[int, int] = (40, 100)
    grey: float = 0.05
    flip: float = 0.5

    def __post_init__(self) -> None:
        if not all(0 <= share <= 1 for share in (self.probability, self.grey, self.flip)):
            raise UserError(f"probability, grey and flip are in 0 to 1; got {self}")
        if not 1 <= self.quality[0] <= self.quality[1] <= 100 or not 1 <= self.smallest <= _SIDE:
            raise UserError(f"quality is a range in 1 to 100, smallest is 1 to {_SIDE}; got {self}")

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Degrade a batch.

        Args:
            images: (n, h, w, 3) uint8: both pictures of every pair, and genuine ones with them.
            rng: draws the recipe and the noise; how much it draws does not depend on the pictures.

        Returns:
            (n, h, w, 3) uint8.
        """
        height, width = images.shape[1:3]
        chances, amounts = rng.random(6), rng.random(4)
        resample, soften, disturb, compress = chances[:4] < self.probability
        if chances[5] < self.flip:
            images = np.ascontiguousarray(images[:, :, ::-1])
        if chances[4] < self.grey:
            images = _grey(images)
        if resample:
            share = (self.smallest + amounts[0] * (_SIDE - self.smallest)) / _SIDE
            small = max(1, round(share * width)), max(1, round(share * height))
            images = np.stack([_resampled(image, small) for image in images])
        if soften:
            sigma = max(amounts[1] * self.blur * max(height, width), 1e-3)
            images = np.stack([cv2.GaussianBlur(image, (0, 0), sigma) for image in images])
        if disturb:
            spread = np.float32(amounts[2] * self.noise)
            noisy = spread * rng.standard_normal(images.shape, np.float32)
            noisy += images
            images = np.clip(np.rint(noisy, out=noisy), 0, 255, out=noisy).astype(np.uint8)
        if compress:
            low, high = self.quality
            images = np.stack([operations.jpeg(image, round(low + amounts[3] * (high - low))) for image in images])
        return images


def _resampled(image: np.ndarray, small: tuple[int, int]) -> np.ndarray:
    reduced = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return cv2.resize(reduced, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def _grey(images: np.ndarray) -> np.ndarray:
    n, height, width, _ = images.shape
    grey = cv2.cvtColor(images.reshape(n * height, width, 3), cv2.COLOR_RGB2GRAY)
    return np.repeat(grey.reshape(n, height, width, 1), 3, axis=3)
