"""From the landmarks of a face to the 96 x 96 crop of its mouth: two published variants and a sub-pixel default.

*2020* (LipForensics, whose weights need it): the points of a frame and the eleven after it are averaged, the similarity of
eye corners and nose base to a mean face is applied, and the crop is centred on the mouth of the frame itself. *2021*
(lip-reading, RealForensics): a centred average moved onto the frame, eight stable points, a robust fit, and the crop is
centred on the smoothed mouth. The default is the 2020 rule without rounding the centre to whole pixels, for the rounding
alone moves the mouth as much as a closed lip does; it needs a tenth of the time and does not alias large faces.

With five points (no 68 available) the destination is what the mean face's five would be, and the centre lies between the
corners of the mouth: such crops are within a pixel and 2 % of the others, but don't sink as the mouth opens.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib import resources
from itertools import chain, repeat
from typing import Literal, NamedTuple, TypeVar

import cv2
import numpy as np

from av_deepfake.landmarks.points import five_of_68, similarity, transform, usual

SIDE, FRAME, WINDOW = 96, 256, 12
Item = TypeVar("Item")
Variant = Literal["subpixel", "2020", "2021"]
_STABLE_2020 = [33, 36, 39, 42, 45]
_STABLE_2021 = [28, 33, 36, 39, 42, 45, 48, 54]


@lru_cache(maxsize=1)
def mean_face() -> np.ndarray:
    """(68, 2) float64: the mean face in a frame of 256 pixels that both published croppers align to."""
    with (resources.files("av_deepfake.preprocessing") / "mean_face.npy").open("rb") as stream:
        return np.load(stream, allow_pickle=False).astype(np.float64)


class Placement(NamedTuple):
    """matrix: (2, 3) from the frame to the mean face's frame of 256 pixels. corner: (2,) upper left of the crop there."""

    matrix: np.ndarray
    corner: np.ndarray

    @property
    def to_crop(self) -> np.ndarray:
        """(2, 3) from the frame to the crop."""
        return np.column_stack([self.matrix[:, :2], self.matrix[:, 2] - self.corner])

    @property
    def scale(self) -> float:
        """By how much the frame is enlarged."""
        return float(np.hypot(self.matrix[0, 0], self.matrix[1, 0]))


def crop(frames: Iterable[np.ndarray], landmarks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Mouths by the default rule, one after the other; twelve frames are held, whatever the length.

    Args:
        frames: uint8 (H, W) or RGB (H, W, 3).
        landmarks: (5 | 68 | 468, 2) of each, in pixels of the frame.

    Yields:
        (96, 96) or (96, 96, 3) uint8, one a frame.
    """
    for frame, place in placements(frames, landmarks):
        yield cut(frame, place.to_crop)


def crop_2020(
    frames: Iterable[np.ndarray],
    landmarks: Iterable[np.ndarray],
    reference: np.ndarray | None = None,
    exact: bool = True,
) -> Iterator[np.ndarray]:
    """Mouths as LipForensics cuts them: centred on whole pixels. Frames and landmarks as of ``crop``.

    Args:
        reference: (68, 2) the mean face; the published one where None.
        exact: bilinear in float64 and truncated, as published; else by OpenCV, a grey level off in a tenth of the time.
    """
    for frame, place in placements(frames, landmarks, "2020", reference):
        yield sample(frame, place, "2020") if exact else cut(frame, place.to_crop)


def crop_2021(
    frames: Iterable[np.ndarray], landmarks: Iterable[np.ndarray], reference: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Mouths as the lip-reading code and RealForensics cut them. Arguments as of ``crop_2020``.

    Raises:
        ValueError: five points are too few for this variant.
    """
    for frame, place in placements(frames, landmarks, "2021", reference):
        yield sample(frame, place, "2021")


def placements(
    frames: Iterable[Item],
    landmarks: Iterable[np.ndarray],
    variant: Variant = "subpixel",
    reference: np.ndarray | None = None,
) -> Iterator[tuple[Item, Placement]]:
    """Where the crop of each frame lies. Arguments as of ``crop``; what a frame is does not matter here.

    Raises:
        ValueError: five points are too few for the 2021 variant.
    """
    face = mean_face() if reference is None else np.asarray(reference, np.float64)
    pairs = ((frame, usual(np.asarray(found, np.float64))) for frame, found in zip(frames, landmarks, strict=True))
    if variant == "2021":
        yield from _placed_2021(pairs, face)
        return
    for frame, matrix, centre in _placed_2020(pairs, face):
        corner = _clamped(centre) - SIDE // 2
        yield frame, Placement(matrix, _rounded(corner) if variant == "2020" else corner)


def sample(frame: np.ndarray, place: Placement, variant: Variant = "subpixel") -> np.ndarray:
    """The crop of a frame, (96, 96) or (96, 96, 3) uint8, black outside; to the grey level as the variant samples it."""
    if variant == "2020":
        return _exactly(frame, place.to_crop)
    if variant == "2021":
        # OpenCV rounds places to 1/32 pixel: the whole face is warped and cut, as published.
        x, y = place.corner.astype(int)
        return cv2.warpAffine(frame, place.matrix, (FRAME, FRAME), flags=cv2.INTER_LINEAR)[y : y + SIDE, x : x + SIDE]
    return cut(frame, place.to_crop)


def interpolated(landmarks: list[np.ndarray | None]) -> np.ndarray:
    """(T, n, 2): frames without points lie on a line between their neighbours; the ends repeat, as published.

    Raises:
        ValueError: no frame has points.
    """
    known = [number for number, points in enumerate(landmarks) if points is not None]
    if not known:
        raise ValueError("no frame has landmarks")
    given = np.stack([np.asarray(landmarks[number], np.float64) for number in known])
    flat = given.reshape(len(known), -1)
    wanted = np.arange(len(landmarks))
    filled = np.stack([np.interp(wanted, known, column) for column in flat.T], axis=1)
    return filled.reshape(len(landmarks), *given.shape[1:])


def cut(frame: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """What a matrix (2, 3) from the frame to the crop shows, (96, 96) or (96, 96, 3) uint8, black outside.

    Faces that are made smaller are averaged first, so that nothing aliases.
    """
    factor = int(1 / np.hypot(matrix[0, 0], matrix[1, 0]) + 0.3)  # so many pixels fall on one
    if factor > 1:
        to_frame = cv2.invertAffineTransform(matrix)
        corners = transform(np.array([[0, 0], [SIDE, 0], [0, SIDE], [SIDE, SIDE]]), to_frame)
        low = np.maximum(np.floor(corners.min(axis=0)).astype(int) - factor, 0)
        high = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 2 * factor, frame.shape[1::-1])
        width, height = (high - low) // factor * factor
        if min(width, height) < factor:
            return np.zeros((SIDE, SIDE, *frame.shape[2:]), np.uint8)
        part = frame[low[1] : low[1] + height, low[0] : low[0] + width]
        frame = cv2.resize(part, (width // factor, height // factor), interpolation=cv2.INTER_AREA)
        # The centre of a pixel of the smaller picture lies in the middle of those it was made of.
        moved = low + (factor - 1) / 2
        matrix = np.column_stack([matrix[:, :2] * factor, matrix[:, :2] @ moved + matrix[:, 2]])
    return cv2.warpAffine(frame, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR)


def _placed_2020(
    pairs: Iterable[tuple[Item, np.ndarray]], face: np.ndarray
) -> Iterator[tuple[Item, np.ndarray, np.ndarray]]:
    """Each frame with the matrix to the frame of 256 pixels, and the middle of the mouth there."""
    waiting: deque[tuple[Item, np.ndarray]] = deque()
    matrix = None
    for pair in pairs:
        waiting.append(pair)
        if len(waiting) == WINDOW:
            matrix = _placement([points for _, points in waiting], face)
            frame, points = waiting.popleft()
            yield frame, matrix, _mouth(points, matrix)
    # What comes last is placed like the frame before it; a video that is shorter than the window, by what there is.
    if matrix is None and waiting:
        matrix = _placement([points for _, points in waiting], face)
    for frame, points in waiting:
        assert matrix is not None
        yield frame, matrix, _mouth(points, matrix)


def _placed_2021(pairs: Iterable[tuple[Item, np.ndarray]], face: np.ndarray) -> Iterator[tuple[Item, Placement]]:
    """The window is centred: as far before a frame as after it, six at most, fewer at the ends."""
    frames: deque[Item] = deque()  # those that wait for what comes after them
    points: deque[np.ndarray] = deque()  # of the six before, of the waiting ones
    before = 0
    for frame, found in chain(pairs, repeat((None, None))):
        if found is not None:
            if len(found) != 68:
                raise ValueError(f"the 2021 variant needs 68 points a face, got {len(found)}")
            frames.append(frame)  # pyright: ignore[reportArgumentType]
            points.append(found)
            if len(frames) <= WINDOW // 2:
                continue
        elif not frames:
            return
        half = min(WINDOW // 2, before, len(frames) - 1)
        window = list(points)[before - half : before + half + 1]
        yield frames.popleft(), _robust(np.mean(window, axis=0), points[before], face)
        before += 1
        if before > WINDOW // 2:
            points.popleft()
            before -= 1


def _robust(smooth: np.ndarray, points: np.ndarray, face: np.ndarray) -> Placement:
    """The robust fit of a frame's smoothed points (68, 2), which are moved onto its own first."""
    smooth = smooth + points.mean(axis=0) - smooth.mean(axis=0)
    matrix = cv2.estimateAffinePartial2D(smooth[_STABLE_2021], face[_STABLE_2021], method=cv2.LMEDS)[0]
    if matrix is None:  # all points in one place
        matrix = similarity(smooth[_STABLE_2021], face[_STABLE_2021])
    return Placement(matrix, _rounded(_clamped(transform(smooth, matrix)[48:].mean(axis=0)) - SIDE // 2))


def _placement(points: list[np.ndarray], face: np.ndarray) -> np.ndarray:
    """The similarity (2, 3) of the mean of several frames' points (5 | 68, 2) to the mean face (68, 2)."""
    smooth = np.mean(points, axis=0)
    if len(smooth) == 5:
        return similarity(smooth, five_of_68(face))
    return similarity(smooth[_STABLE_2020], face[_STABLE_2020])


def _mouth(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The middle of a frame's own mouth after a matrix: of all its points, or of the corners where there are five."""
    return transform(points[3:] if len(points) == 5 else points[48:], matrix).mean(axis=0)


def _clamped(centre: np.ndarray) -> np.ndarray:
    """A centre whose crop lies inside the frame of 256 pixels."""
    return np.clip(centre, SIDE // 2, FRAME - SIDE // 2)


def _rounded(corner: np.ndarray) -> np.ndarray:
    """To whole pixels; halves to even, as Python does it."""
    return np.rint(corner)


def _exactly(frame: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Bilinear in float64 of values in 0..1, towards 0 beyond the border, then truncated."""
    grid = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), axis=-1)
    x, y = np.moveaxis(transform(grid, cv2.invertAffineTransform(matrix)), -1, 0)
    padded = np.pad(frame / 255, [(1, 1), (1, 1), (0, 0)][: frame.ndim])
    height, width = padded.shape[:2]
    x, y = np.clip(x + 1, 0, width - 1), np.clip(y + 1, 0, height - 1)
    left, top = np.minimum(x.astype(int), width - 2), np.minimum(y.astype(int), height - 2)
    u, v = x - left, y - top
    if frame.ndim == 3:
        u, v = u[..., None], v[..., None]
    upper = (1 - u) * padded[top, left] + u * padded[top, left + 1]
    lower = (1 - u) * padded[top + 1, left] + u * padded[top + 1, left + 1]
    return (((1 - v) * upper + v * lower) * 255).astype(np.uint8)
