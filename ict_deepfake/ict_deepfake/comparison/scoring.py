"""Suspects of the test people under every change, scored by every question that a network can be asked."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import torch

from ict_deepfake import metrics
from ict_deepfake.comparison.plan import CHANGES, KINDS
from ict_deepfake.comparison.training import embed, logits
from ict_deepfake.models.binary import BinaryNetwork
from ict_deepfake.models.ict import ICT, Embeddings
from ict_deepfake.procedural import FaceSet, Population, TestFaces
from ict_deepfake.scores import claim, consistency, reference_scores

BLUR, NOISE = 1.0, 12.0
"""Standard deviation of the blur in pixels of 32, and of the noise in grey levels."""


def changed(images: np.ndarray, change: str, seed: int) -> np.ndarray:
    """Pictures as a bad copy shows them; genuine ones and fakes alike.

    Args:
        images: (n, s, s, 3) uint8.
        change: of ``CHANGES``.
        seed: of the noise.
    """
    if change == "blur":
        sigma = BLUR * images.shape[1] / 32
        return np.stack([cv2.GaussianBlur(image, (0, 0), sigma) for image in images])
    if change == "noise":
        rng = np.random.default_rng([seed, 5])
        return np.clip(images + rng.normal(0, NOISE, images.shape), 0, 255).round().astype(np.uint8)
    return images


def score_all(model: ICT | BinaryNetwork, people: Population) -> dict[str, np.ndarray]:
    """Scores of the test people's pictures; larger means fake.

    Returns:
        "SCORE/CHANGE/KIND" -> (n,): SCORE is ``logit`` of the binary network, ``consistency``, ``reference``, ``absent``
        (ICT-Ref without the test people) or ``claim`` of ICT; KIND is "genuine" or one of ``KINDS``.
    """
    faces, found = people.test(), {}
    references = None if isinstance(model, BinaryNetwork) else References(model, people)
    for change in CHANGES:
        for number, (kind, suspects) in enumerate({"genuine": faces.genuine, **faces.fakes}.items()):
            images = changed(suspects.images, change, people.seed * 10 + number)
            if isinstance(model, BinaryNetwork):
                found[f"logit/{change}/{kind}"] = logits(model, images)
            else:
                assert references is not None
                for score, values in references.scores(embed(model, images), suspects).items():
                    found[f"{score}/{change}/{kind}"] = values
    return found


class References:
    """The references of the test people and of distractors, seen by a network."""

    def __init__(self, model: ICT, people: Population) -> None:
        self.faces = people.references()
        self.rows = embed(model, self.faces.images)
        self.known = torch.from_numpy(self.faces.identity < people.first_identity("distractors"))

    def scores(self, embeddings: Embeddings, suspects: FaceSet) -> dict[str, np.ndarray]:
        """Every score of ICT."""
        inner, outer = self.rows
        made = reference_scores(*embeddings, inner, outer).score
        absent = reference_scores(*embeddings, inner[~self.known], outer[~self.known]).score
        claimed = torch.empty(len(suspects))
        for person in np.unique(suspects.outer):
            own = torch.from_numpy(suspects.outer == person)
            claimed[own] = claim(embeddings.inner[own], inner[torch.from_numpy(self.faces.identity == person)])
        found = {"consistency": consistency(*embeddings), "reference": made, "absent": absent, "claim": claimed}
        return {name: values.float().numpy() for name, values in found.items()}

    def by_count(self, embeddings: Embeddings, count: int) -> np.ndarray:
        """ICT-Ref with the first ``count`` references of each person."""
        order = np.concatenate(
            [np.flatnonzero(self.faces.identity == p)[:count] for p in np.unique(self.faces.identity)]
        )
        rows = torch.from_numpy(np.sort(order))
        return reference_scores(*embeddings, self.rows.inner[rows], self.rows.outer[rows]).score.float().numpy()


def aucs(scores: dict[str, np.ndarray], score: str) -> dict[str, float]:
    """AUC of every kind of suspect against genuine pictures under the same change: "CHANGE/KIND" -> value."""
    found = {}
    for change in CHANGES:
        genuine = scores[f"{score}/{change}/genuine"]
        for kind in KINDS:
            fakes = scores[f"{score}/{change}/{kind}"]
            labels = np.repeat([0, 1], [len(genuine), len(fakes)])
            found[f"{change}/{kind}"] = metrics.auc(np.concatenate([genuine, fakes]), labels)
    return found


def validation_auc(model: ICT | BinaryNetwork, people: Population) -> float:
    """AUC of the validation people's blends, the kind of swap that is trained on: what the rate is chosen by."""
    faces = _validation(people)
    pictures = [faces.genuine.images, faces.fakes["blend"].images]
    both = np.concatenate(pictures)
    scores = logits(model, both) if isinstance(model, BinaryNetwork) else consistency(*embed(model, both)).numpy()
    return metrics.auc(scores, np.repeat([0, 1], [len(part) for part in pictures]))


@lru_cache(maxsize=4)
def _validation(people: Population) -> TestFaces:
    return people.validation()
