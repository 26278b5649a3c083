"""The training's data: identities on disk or parametric people, swapped on the fly."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import Any, Literal

import numpy as np
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader

from ict_deepfake.data.crops import Crops, with_detected_points
from ict_deepfake.data.held import Held, gathered, swapped
from ict_deepfake.data.identities import DrawnIdentities, IdentitySource, Part, open_identities
from ict_deepfake.data.pairs import PairBatches
from ict_deepfake.degradations import TrainingDegradation
from ict_deepfake.faces.alignment import Alignment
from ict_deepfake.faces.found import five_of_68
from ict_deepfake.procedural import FaceSet, Population, TestFaces
from ict_deepfake.swapping import Recipe
from shared_utils import UserError
from shared_utils.loading import Resumable, ResumableLoader

log = logging.getLogger(__name__)
TESTED = ("blend", "rerender", "self_blend", "reenact")


class FacesData(Resumable, LightningDataModule):
    """Pairs of swapped pictures to train with, held identities to validate with.

    Args:
        root: identities, see ``identities.open_identities``; null: parametric people, who are tested too.
        landmarks: a file of the pictures' landmarks, see ``faces.landmark_files``.
        placing: how a picture becomes a crop: by its ``points``; by points that MTCNN ``detect``s in it first; or it is
            ``aligned`` already, as ``extract_faces`` leaves it.
        size: side of the network's pictures.
        batch_size: pairs of a step, all processes together.
        num_workers: processes that make pairs.
        seed: of the people, of which identities are held, and of every swap.
        swaps: what swaps are drawn from.
        degradation: of all pictures of a batch alike; null: none.
        genuine: share of ICT's pairs that are two genuine pictures of one person.
        first_genuine: the same at the beginning.
        first: share of the training that is its beginning.
        candidates: of which a donor is the nearest.
        held: share of the identities of ``root`` that are kept for validation.
        population: other arguments of ``procedural.Population``.
    """

    def __init__(
        self,
        root: str | None = None,
        landmarks: str | None = None,
        placing: Literal["points", "detect", "aligned"] = "points",
        size: int = 112,
        batch_size: int = 32,
        num_workers: int = 0,
        seed: int = 0,
        swaps: Recipe = Recipe(),  # noqa: B008 (frozen)
        degradation: TrainingDegradation | None = TrainingDegradation(),  # noqa: B008 (frozen)
        genuine: float = 0.25,
        first_genuine: float = 0.5,
        first: float = 0.25,
        candidates: int = 32,
        held: float = 0.1,
        population: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        for name, share in (("genuine", genuine), ("first_genuine", first_genuine), ("first", first), ("held", held)):
            if not 0 <= share < 1:
                raise UserError(f"data.{name} {share} is not a share: give 0 or more and less than 1")
        if size < 16 or batch_size < 2 or num_workers < 0:
            raise UserError(
                f"data: a size of 16 px, a batch of 2 pairs and 0 workers are the least, got {size}, {batch_size}, {num_workers}"
            )
        if root is not None and population:
            raise UserError("data.population is of parametric people: leave it out, or data.root")
        self.root, self.landmarks, self.placing, self.size = root, landmarks, placing, size
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed
        self.swaps, self.degradation, self.candidates = swaps, degradation, candidates
        self.genuine, self.first_genuine, self.first, self._held_share = genuine, first_genuine, first, held
        try:
            self.people = Population(**{"seed": seed, "size": size, **(population or {})})
        except TypeError as error:
            raise UserError(f"data.population: {error}") from error

    # What is there ---------------------------------------------------------------------------------------------------

    @cached_property
    def source(self) -> IdentitySource:
        """All identities of ``root``; the training people where there is none."""
        if self.root is None:
            faces = self.people.train()
            return DrawnIdentities(faces.images, faces.identity, faces.points)
        landmarks = None
        if self.landmarks is not None:
            from ict_deepfake.faces.landmark_files import landmark_file

            landmarks = landmark_file(self.landmarks)
        source = open_identities(self.root, landmarks)
        if self.placing == "detect":
            from ict_deepfake import faces

            return with_detected_points(source, faces.detector("mtcnn"), str(self.root))
        if self.placing == "points" and all(source.points(i) is None for i in range(min(len(source), 100))):
            raise UserError(
                f"{self.root} has no landmarks: give data.landmarks, look for faces with data.placing: detect, or cut them out "
                "first (extract_faces) and say data.placing: aligned"
            )
        return source

    @cached_property
    def _split(self) -> tuple[IdentitySource, IdentitySource | None]:
        """Training and held identities."""
        people = len(self.source.names)
        count = round(self._held_share * people) if self.root is not None else 0
        if count < 2:
            if count:
                log.warning("%d held identity cannot be swapped: nothing is validated", count)
            return self.source, None
        order = np.random.default_rng([self.seed, 4]).permutation(people)
        return Part(self.source, np.sort(order[count:]).tolist()), Part(self.source, np.sort(order[:count]).tolist())

    @cached_property
    def crops(self) -> Crops:
        """Of the training identities."""
        crops = self._crops(self._split[0])
        if self.root is not None:
            crops.outer_face()
            log.info("%d pictures of %d identities", len(crops), len(crops.source.names))
        return crops

    def _crops(self, source: IdentitySource) -> Crops:
        return Crops(source, Alignment.from_dict(self.alignment), "aligned" if self.placing == "aligned" else "points")

    @cached_property
    def alignment(self) -> dict[str, Any]:
        """Where a face lies in a crop: as published, at the network's size; parametric people where they are drawn."""
        if self.root is not None:
            return Alignment().scaled(self.size).as_dict()
        faces = self.people.train()
        return Alignment(self.size, _mean_points(faces)).as_dict()

    @property
    def num_classes(self) -> int:
        """Training identities."""
        return len(self._split[0].names)

    @cached_property
    def held(self) -> Held | None:
        """What is validated with."""
        if self.root is None:
            return of_people(self.people.validation())
        source = self._split[1]
        return None if source is None else swapped(self._crops(source), self.swaps, self.seed)

    @cached_property
    def final(self) -> Held | None:
        """What is tested with."""
        return of_people(self.people.test()) if self.root is None else None

    # Loaders ---------------------------------------------------------------------------------------------------------

    def batches(self, steps: int, matched: bool = False) -> PairBatches:
        """The training's batches.

        Args:
            steps: of the whole training, whose beginning has more genuine pictures.
            matched: see ``PairBatches``.
        """
        return PairBatches(
            self.crops,
            self.batch_size,
            self.swaps,
            self.degradation,
            self.genuine,
            self.first_genuine,
            round(self.first * steps),
            matched,
            self.candidates,
            self.seed,
        )

    def train_dataloader(self) -> ResumableLoader:
        # The control is asked whether a picture is swapped: it sees the same pictures as they were.
        matched = self.trainer is not None and getattr(self.trainer.lightning_module, "method", None) == "binary"
        return self.resumed(self.batches(self._steps(), matched).loader(self.num_workers))

    def _steps(self) -> int:
        """Batches of the whole training."""
        trainer = self.trainer
        assert trainer is not None
        epochs = trainer.max_epochs or -1
        limits = [] if epochs < 0 else [epochs * len(self.batches(0))]
        if trainer.max_steps > 0:
            limits.append(trainer.max_steps * trainer.accumulate_grad_batches)
        return min(limits, default=0)

    def val_dataloader(self) -> DataLoader | list:
        return [] if self.held is None else self.held.loader()

    def test_dataloader(self) -> DataLoader | list:
        return [] if self.final is None else self.final.loader()


def of_people(faces: TestFaces) -> Held:
    """Parametric people that are only scored."""
    return gathered(faces.genuine.images, {kind: faces.fakes[kind].images for kind in TESTED if kind in faces.fakes})


def _mean_points(faces: FaceSet) -> tuple[tuple[float, float], ...]:
    five = five_of_68(faces.points).mean(0)
    return tuple((round(float(x), 3), round(float(y), 3)) for x, y in five)
