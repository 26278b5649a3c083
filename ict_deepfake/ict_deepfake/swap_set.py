"""A test set of face swaps from pictures of real people: aligned genuine pictures, swaps of them, and what made each.

All pictures go the same way: cut out and aligned, then JPEG of one quality. Nothing but the swap tells them apart.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ict_deepfake import faces
from ict_deepfake.data.identities import IdentitySource
from ict_deepfake.degradations import picture_rng
from ict_deepfake.faces.alignment import Alignment
from ict_deepfake.swapping import Recipe, masks, nearest_donor, swap
from shared_utils import UserError, files, work
from shared_utils.logging import progress

WHOLE = "face"
QUALITY = 90
RECIPE = Recipe(
    deformation=(0.0, 0.03), erode=11, colours=(0.0, 0.4, 0.6), blends=(0.0, 0.5, 0.2, 0.3), largest=0.6, align=True
)
"""Swaps as a careful forger makes them: aligned, colours corrected, soft or gradient-domain blends."""


@dataclass(frozen=True)
class Person:
    """A usable picture: its row in the source, its name and its points in the aligned crop, (5, 2) or (68, 2)."""

    row: int
    name: str
    identity: int
    points: np.ndarray


class SwapSet:
    """Makes the set.

    Args:
        source: pictures of people, with landmarks where it has them.
        regions: ``face`` and any of ``masks.REGIONS``: what is swapped.
        swaps: for each picture and region, each with a donor of another person.
        seed: of donors and recipes; a picture's swaps do not depend on the other targets.
        recipe: of the swaps.

    Raises:
        UserError: an unknown region, or no other persons to borrow faces from.
    """

    def __init__(
        self, source: IdentitySource, regions: Sequence[str], swaps: int, seed: int, recipe: Recipe = RECIPE
    ) -> None:
        known = (WHOLE, *masks.REGIONS)
        unknown = [region for region in regions if region not in known]
        if unknown or not regions:
            raise UserError(f"--regions takes {', '.join(known)}; got {', '.join(unknown) or 'none'}")
        if not 0 < swaps < len(source.names):
            raise UserError(
                f"--swaps takes 1 to {len(source.names) - 1}, one less than there are persons: each swap has a donor of its own"
            )
        self.source, self.regions, self.swaps, self.seed = source, list(regions), swaps, seed
        self.recipe, self.alignment = recipe, Alignment()
        self.failures: dict[str, str] = {}
        # Names become names of files.
        self._folders = [re.sub(r"[^\w-]+", "_", name) for name in source.names]
        if len(set(self._folders)) < len(self._folders):
            self._folders = [f"{name}_{number}" for number, name in enumerate(self._folders)]
        self._crop = lru_cache(maxsize=256)(self._cut)

    def job(self) -> dict[str, Any]:
        """What the result depends on."""
        return {
            "data": self.source.digest(),
            "regions": self.regions,
            "swaps": self.swaps,
            "seed": self.seed,
            "recipe": self.recipe.as_dict(),
        }

    def find(self) -> None:
        """Look at every picture once: where its face is. Pictures that cannot be used are in ``failures``."""
        detector: faces.FaceDetector | None = None
        self.people: list[Person] = []
        self._five: dict[int, np.ndarray] = {}
        for row in progress(range(len(self.source)), "finding faces"):
            name, points = self.name(row), self.source.points(row)
            if points is None:
                detector = detector or faces.detector("mtcnn")
                points = self._detected(row, name, detector)
                if points is None:
                    continue
            if len(points) != 68 and set(self.regions) & set(masks.REGIONS):
                self.failures[name] = "a swap of a part takes 68 landmarks, there are five"
                continue
            self._five[row] = masks.five_points(np.asarray(points, np.float64))
            moved = faces.transform(points, faces.to_crop(self._five[row], self.alignment))
            self.people.append(Person(row, name, int(self.source.identity[row]), moved))
        found = {person.identity for person in self.people}
        if len(found) <= self.swaps:
            first = next(iter(self.failures.items()), ("", ""))
            reason = f"; the first that cannot be used: {first[0]} ({first[1]})" if self.failures else ""
            raise UserError(
                f"faces of {len(found)} persons can be used, {self.swaps + 1} or more are needed: each swap of a picture has a "
                f"donor of its own{reason}"
            )

    def name(self, row: int) -> str:
        """person__number of a picture: names of files are made of it."""
        identity = int(self.source.identity[row])
        number = int(np.flatnonzero(self.source.identity == identity).searchsorted(row))
        return f"{self._folders[identity]}__{number:04d}"

    def _detected(self, row: int, name: str, detector: faces.FaceDetector) -> np.ndarray | None:
        try:
            found = detector.detect([self.source.image(row)])[0]
        except UserError as error:
            self.failures[name] = str(error)
            return None
        if not len(found):
            self.failures[name] = "no face was found"
            return None
        sides = found.boxes[:, 2:] - found.boxes[:, :2]
        return found.points[int(sides.prod(1).argmax())]

    def _cut(self, row: int) -> np.ndarray:
        return faces.align(self.source.image(row), self._five[row], self.alignment)

    def targets(self, limit: int | None) -> list[str]:
        """Names of the pictures that become targets."""
        return [person.name for person in self.people[:limit]]

    def make(self, name: str, out: Path) -> list[dict[str, Any]]:
        """Write a genuine picture and its swaps.

        Returns:
            The facts of each picture; of one that cannot be read, its name and the failure.
        """
        target = next(person for person in self.people if person.name == name)
        try:
            crop = self._crop(target.row)
        except UserError as error:
            return [{"file": name, "failure": str(error)}]
        who = self.source.names[target.identity]
        real = f"real/{name}__real.jpg"
        _write(crop, out / real)
        rows: list[dict[str, Any]] = [
            {"file": real, "label": 0, "method": "real", "outer": who, "inner": who, "target": name, "donor": ""}
        ]
        for region in self.regions:
            rng = picture_rng(self.seed, f"{name} {region}")
            for donor in self._donors(target, rng):
                try:
                    lent = self._crop(donor.row)
                except UserError as error:
                    rows.append({"file": donor.name, "failure": str(error)})
                    continue
                part = None if region == WHOLE else region
                made = swap(crop, lent, target.points, donor.points, self.recipe, rng, part)
                path = f"fake/{name}__{donor.name}__{region}.jpg"
                _write(made.image, out / path)
                rows.append(
                    {
                        "file": path,
                        "label": 1,
                        "method": region,
                        "outer": who,
                        "inner": self.source.names[donor.identity],
                        "target": name,
                        "donor": donor.name,
                        **made.facts,
                    }
                )
        return rows

    def _donors(self, target: Person, rng: np.random.Generator) -> list[Person]:
        """Pictures of different other persons whose points lie near the target's."""
        points = np.stack([masks.five_points(person.points) for person in self.people])
        identity = np.array([person.identity for person in self.people])
        allowed, chosen = identity != target.identity, []
        for _ in range(self.swaps):
            place = int(nearest_donor(masks.five_points(target.points), points, rng, allowed=allowed))
            chosen.append(self.people[place])
            allowed = allowed & (identity != identity[place])
        return chosen


def _write(image: np.ndarray, path: Path) -> None:
    _, buffer = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    with files.replacing(path) as temporary:
        temporary.write_bytes(buffer.tobytes())


def write(
    maker: SwapSet, out: str | Path, limit: int | None = None, resume: bool = False, overwrite: bool = False
) -> str:
    """Make the set in a folder: real/, fake/, real.json, fake.json, pairs.json and swaps.csv.

    Args:
        maker: of the swaps.
        out: the folder.
        limit: number of targets; all pictures lend their faces in any case.
        resume: continue the same set.
        overwrite: begin again.

    Returns:
        What was made, in a sentence or two.

    Raises:
        UserError: everything is written, and some pictures could not be used; they are named.
    """
    folder = Path(out)
    with work.begin(folder, maker.job() | {"limit": limit}, resume=resume, overwrite=overwrite) as job:
        maker.find()
        names = maker.targets(limit)
        job.finish(names, lambda name: {"rows": json.dumps(maker.make(name, folder))}, "swapping faces")
        rows = [row for name in names for row in json.loads(str(job.read(name)["rows"]))]
        failures = maker.failures | {row["file"]: row["failure"] for row in rows if "failure" in row}
        made = [row for row in rows if "failure" not in row]
        for label, name in ((0, "real.json"), (1, "fake.json")):
            files.write_json([row["file"] for row in made if row["label"] == label], folder / name)
        files.write_json(made, folder / "pairs.json")
        _write_table(made, folder / "swaps.csv")
        job.complete()
    fakes = sum(row["label"] for row in made)
    summary = f"{len(made) - fakes} genuine pictures and {fakes} swaps of them: {folder}"
    if failures:
        listed = "; ".join(f"{name}: {reason}" for name, reason in list(failures.items())[:5])
        raise UserError(
            f"{summary}. {len(failures)} pictures could not be used ({listed}{'; ...' if len(failures) > 5 else ''})"
        )
    return summary


def _write_table(rows: Sequence[dict[str, Any]], path: Path) -> None:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with files.replacing(path) as temporary:
        temporary.write_text(text.getvalue())
