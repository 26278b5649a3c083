"""Pictures of a source as the crops that a network is trained on, with the landmarks in them."""

from __future__ import annotations

import logging
from typing import Literal, NamedTuple

import numpy as np

from ict_deepfake.data.identities import DrawnIdentities, IdentitySource, PictureFiles
from ict_deepfake.faces.alignment import Alignment, align, resized, similarity, to_crop, transform, visible
from ict_deepfake.faces.found import FaceDetector, five_of_68
from shared_utils import UserError
from shared_utils.logging import progress

log = logging.getLogger(__name__)
Placing = Literal["points", "aligned"]
_REMEMBERED = 1 << 30  # bytes of crops that a process keeps
_LOOKED_AT, _TIGHT = 64, 0.9


class Cut(NamedTuple):
    """n crops. images: (n, s, s, 3) uint8 RGB. points: (n, 5 | 68, 2) pixels of the crop."""

    images: np.ndarray
    points: np.ndarray


class Crops:
    """The crops of a source.

    Args:
        source: pictures and identities.
        alignment: where a face lies in a crop, whose side is the network's input.
        placing: ``points``: the source has landmarks, by which pictures are aligned; ``aligned``: its pictures are such
            crops already.

    Attributes:
        identity: (n,) of the source.
        damaged: pictures that could not be read, by name; another one of the person stands in for each.
    """

    def __init__(self, source: IdentitySource, alignment: Alignment, placing: Placing = "points") -> None:
        self.source, self.alignment, self.placing = source, alignment, placing
        self.identity = source.identity
        self.damaged: dict[int, str] = {}
        self._kept: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._template = np.array(alignment.template, np.float32)
        self._drawn: DrawnIdentities | None = None
        if isinstance(source, DrawnIdentities) and source.images.shape[1] == alignment.crop:
            self._drawn = source
        self._five = None if self._drawn is None else self._drawn.five_points()
        self._order = np.argsort(source.identity, kind="stable")
        self._starts = np.searchsorted(source.identity[self._order], np.arange(len(source.names) + 1))

    def __len__(self) -> int:
        return len(self.identity)

    def of_person(self, identity: int) -> np.ndarray:
        """The pictures of a person, ascending."""
        return self._order[self._starts[identity] : self._starts[identity + 1]]

    def counts(self) -> np.ndarray:
        """Pictures of each person, (C,)."""
        return np.diff(self._starts)

    def points(self, rows: np.ndarray) -> np.ndarray:
        """Where the five points of pictures lie in their crops, without reading the pictures: (n, 5, 2)."""
        if self.placing == "aligned":
            return np.repeat(self._template[None], len(rows), 0)
        if self._five is not None:
            return self._five[rows]
        known = [self.source.points(int(row)) for row in rows]
        five = np.stack([self._template if p is None else five_of_68(p) if len(p) == 68 else p for p in known])
        matrices = similarity(five, np.broadcast_to(self._template, five.shape))
        return five @ matrices[:, :, :2].transpose(0, 2, 1) + matrices[:, None, :, 2]

    def cut(self, rows: np.ndarray) -> Cut:
        """The crops of some pictures.

        Args:
            rows: (n,) numbers of pictures.

        Raises:
            UserError: no picture of a person can be read.
        """
        if self._drawn is not None:
            return Cut(*self._drawn.arrays(rows))
        images, points = zip(*(self._readable(int(row)) for row in rows), strict=True)
        if len({len(each) for each in points}) > 1:
            points = tuple(five_of_68(each) if len(each) == 68 else each for each in points)
        return Cut(np.stack(images), np.stack(points))

    def _readable(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        person = self.of_person(int(self.identity[row]))
        start = int(np.searchsorted(person, row))
        for candidate in np.roll(person, -start).tolist():
            if candidate in self.damaged:
                continue
            try:
                return self._one(candidate)
            except UserError as error:
                self.damaged[candidate] = str(error)
                log.warning("skipped, %d so far: %s", len(self.damaged), error)
        raise UserError(f"no picture of {self.source.names[self.identity[row]]} can be used: {self.damaged[row]}")

    def _one(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        if row not in self._kept:
            image = self.source.image(row)
            found = self._aligned(row, image) if self.placing == "points" else self._resized(image)
            if len(self._kept) * found[0].nbytes >= _REMEMBERED:
                return found
            self._kept[row] = found
        return self._kept[row]

    def _aligned(self, row: int, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        points = self.source.points(row)
        if points is None:
            raise UserError(f"picture {row} of {self.source.names[self.identity[row]]} has no landmarks")
        five = five_of_68(points) if len(points) == 68 else points
        moved = transform(points, to_crop(five, self.alignment))
        return align(image, five, self.alignment), moved.astype(np.float32)

    def _resized(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if image.shape[0] != image.shape[1]:
            height, width = image.shape[:2]
            raise UserError(f"an aligned crop is square, got one of {width} x {height}: set data.placing to points")
        return resized(image, self.alignment.crop), self._template

    def outer_face(self) -> float:
        """The mean share of a crop that lies inside its picture, of the first pictures; a warning says so where it is small."""
        shares = []
        for row in range(0, len(self), max(1, len(self) // _LOOKED_AT)):
            points = self.source.points(row)
            if self.placing == "points" and points is not None and row not in self.damaged:
                five = five_of_68(points) if len(points) == 68 else points
                shares.append(visible(self._shape(row), five, self.alignment))
        share = float(np.mean(shares)) if shares else 1.0
        if share < _TIGHT:
            log.warning(
                "the pictures cut off the outer face: %.0f %% of a crop is inside of its picture, the rest is black; pictures "
                "with hair, ears and neck teach more",
                100 * share,
            )
        return share

    def _shape(self, row: int) -> tuple[int, ...]:
        try:
            return self.source.image(row).shape
        except UserError:
            return (1, 1)


def with_detected_points(source: IdentitySource, detector: FaceDetector, what: str) -> PictureFiles:
    """A folder or list with the five points of the largest face that is found in each picture; pictures without one are left out.

    Args:
        source: pictures that are files.
        detector: of ``faces.detector``.
        what: the source's name, for messages.

    Raises:
        UserError: the pictures are not files; no face was found in any.
    """
    if not isinstance(source, PictureFiles):
        raise UserError(f"{what}: faces are looked for in pictures that are files")
    rows, without = [], []
    for i, path in enumerate(progress(source.paths, "looking for faces")):
        try:
            found = detector.detect([source.image(i)])[0]
        except UserError as error:
            log.warning("skipped: %s", error)
            continue
        if len(found):
            rows.append((path, source.names[source.identity[i]], found.points[0]))
        else:
            without.append(path)
    if without:
        log.warning("%d pictures without a face are left out, %s first", len(without), without[0])
    return PictureFiles(rows, what)
