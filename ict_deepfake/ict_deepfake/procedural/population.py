"""The embedded data set: a population of parametric people with splits by identity, rendered on first use and cached."""

from __future__ import annotations

import hashlib
import logging
import zipfile
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np

from ict_deepfake import swapping
from ict_deepfake.procedural.conditions import Conditions, draw_conditions
from ict_deepfake.procedural.faces import FaceSet, TestFaces
from ict_deepfake.procedural.fakes import CONTROLS, SWAPS, make_fakes
from ict_deepfake.procedural.people import People, draw_people
from ict_deepfake.procedural.rendering import render
from shared_utils import UserError
from shared_utils.files import replacing

log = logging.getLogger(__name__)

DEFAULT_CACHE = "~/.cache/ict_deepfake"
_SPLITS = ("train", "validation", "test", "references", "distractors")


class Population:
    """Everyone of a seed, and their pictures by split. The same arguments give the same pictures, bit for bit.

    Identities are numbered through: those of ``train`` first, then ``validation``, ``test`` and the distractors.

    Args:
        seed: of the people and of everything that differs between their pictures.
        size: side of the pictures in pixels.
        private: r in 0 to 1: how much of the inner face the outer one does not show (see ``draw_people``).
        train: persons and pictures of each.
        validation: the same.
        test: the same.
        cache: folder of the rendered splits; None: nothing is kept.
    """

    def __init__(
        self,
        seed: int = 0,
        size: int = 32,
        private: float = 0.6,
        train: tuple[int, int] = (200, 20),
        validation: tuple[int, int] = (40, 4),
        test: tuple[int, int] = (60, 4),
        cache: str | Path | None = DEFAULT_CACHE,
    ) -> None:
        if not 0 <= private <= 1:
            raise UserError(f"private is a share in 0 to 1, got {private}")
        if size < 16:
            raise UserError(f"faces of {size} pixels show nobody: take a size of 16 or more")
        self.counts = {"train": tuple(train), "validation": tuple(validation), "test": tuple(test)}
        for name, (persons, pictures) in self.counts.items():
            if persons < 2 or pictures < 1:
                raise UserError(f"{name} takes at least 2 persons and 1 picture of each, got {(persons, pictures)}")
        self.seed, self.size, self.private = seed, size, private
        self.cache = None if cache is None else Path(cache).expanduser()

    def _rng(self, split: str, what: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, _SPLITS.index(split), what])

    def first_identity(self, split: str) -> int:
        """The number of the first person of a split; ``distractors`` come last."""
        before = list(self.counts)[: list(self.counts).index(split)] if split in self.counts else self.counts
        return sum(self.counts[name][0] for name in before)

    @cached_property
    def people(self) -> People:
        """Parameters of everyone by identity, without the distractors."""
        groups = [self._people(split, persons) for split, (persons, _) in self.counts.items()]
        return People(np.concatenate([g.inner for g in groups]), np.concatenate([g.outer for g in groups]))

    def _people(self, split: str, count: int) -> People:
        return draw_people(count, self.private, self._rng(split, 0))

    def shots(self, split: str) -> tuple[np.ndarray, Conditions, np.ndarray]:
        """What the genuine pictures of a split show.

        Returns:
            identities (n,), the conditions of the n pictures, and for each the identity whose inner face a swap gets.
        """
        persons, pictures = self.counts[split]
        local = np.repeat(np.arange(persons), pictures)
        rng = self._rng(split, 1)
        conditions = draw_conditions(len(local), rng)
        donors = (local + rng.integers(1, persons, len(local))) % persons
        first = self.first_identity(split)
        return first + local, conditions, first + donors

    def train(self) -> FaceSet:
        """The pictures to learn from."""

        def made() -> dict[str, FaceSet]:
            return {"genuine": self._genuine("train")}

        return self._cached("train", {}, made)["genuine"]

    def validation(self) -> TestFaces:
        """Persons that are in no other split, and their suspects."""
        return self._suspects("validation")

    def test(self) -> TestFaces:
        """Persons that are in no other split, and their suspects."""
        return self._suspects("test")

    def references(self, count: int = 5, distractors: int = 200) -> FaceSet:
        """Other genuine pictures of the test's persons, and of persons that are in no split.

        Args:
            count: pictures of each person.
            distractors: persons besides those of the test.
        """

        def made() -> dict[str, FaceSet]:
            known = slice(self.first_identity("test"), self.first_identity("distractors"))
            others = self._people("distractors", distractors)
            inner, outer = (
                np.concatenate([getattr(self.people, part)[known], getattr(others, part)])
                for part in ("inner", "outer")
            )
            local = np.repeat(np.arange(len(inner)), count)
            conditions = draw_conditions(len(local), self._rng("references", 1))
            images, points = render(People(inner, outer)[local], conditions, self.size)
            return {"genuine": FaceSet(images, known.start + local, points)}

        return self._cached("references", {"count": count, "distractors": distractors}, made)["genuine"]

    def _genuine(self, split: str) -> FaceSet:
        identities, conditions, _ = self.shots(split)
        images, points = render(self.people[identities], conditions, self.size)
        return FaceSet(images, identities, points)

    def _suspects(self, split: str) -> TestFaces:
        def made() -> dict[str, FaceSet]:
            genuine = self._genuine(split)
            _, conditions, donors = self.shots(split)
            sets = {"genuine": genuine}
            for number, kind in enumerate(SWAPS + CONTROLS):
                rng = self._rng(split, 2 + number)
                sets[kind] = make_fakes(kind, self.people, genuine, conditions, donors, rng)
            return sets

        sets = self._cached(split, {}, made)
        return TestFaces(sets["genuine"], {kind: sets[kind] for kind in SWAPS + CONTROLS})

    def _cached(self, split: str, facts: dict[str, int], make: Callable[[], dict[str, FaceSet]]) -> dict[str, FaceSet]:
        if self.cache is None:
            return make()
        job = (self.seed, self.size, self.private, self.counts, facts, _source_digest())
        path = self.cache / f"{split}-{hashlib.sha256(repr(job).encode()).hexdigest()[:16]}.npz"
        if path.is_file():
            try:
                return _read(path)
            except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
                log.warning("%s is damaged (%s): rendered again", path, error)
        sets = make()
        try:
            _write(path, sets)
        except OSError as error:
            log.warning("no cache in %s (%s): faces are rendered on every start", self.cache, error)
        return sets


def _write(path: Path, sets: dict[str, FaceSet]) -> None:
    arrays = {
        f"{kind}.{name}": getattr(faces, name)
        for kind, faces in sets.items()
        for name in ("images", "identity", "points", "inner")
    }
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays)


def _read(path: Path) -> dict[str, FaceSet]:
    with np.load(path, allow_pickle=False) as arrays:
        kinds = dict.fromkeys(name.split(".")[0] for name in arrays.files)
        return {
            kind: FaceSet(*(arrays[f"{kind}.{name}"] for name in ("images", "identity", "points", "inner")))
            for kind in kinds
        }


def _source_digest() -> str:
    """Of the code that draws: pictures of another version are not taken from the cache."""
    digest = hashlib.sha256()
    for folder in (Path(__file__).parent, Path(swapping.__file__).parent):
        for path in sorted(folder.glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()
