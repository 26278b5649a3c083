"""The third question: is this the person whom it is said to be? By ICT's inner face, or by dlib's plain recogniser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ict_deepfake import scores
from ict_deepfake.enrolment import DLIB, Describer
from ict_deepfake.models.ict import Embeddings
from ict_deepfake.references import ReferenceSet
from shared_utils import UserError

Backend = Literal["ict", "dlib"]


@dataclass(frozen=True, eq=False)
class Claim:
    """A named person and how far the references of this person allow.

    name: the person. known: the references of this and of other persons. threshold: squared distance above which the
    claim is refused. of: whose genuine distances set it. count: how many of them.
    """

    name: str
    backend: Backend
    describer: Describer
    known: ReferenceSet
    threshold: float
    of: str
    count: int

    def ask(self, rows: Embeddings) -> tuple[np.ndarray, list[str]]:
        """Of faces: (n,) squared distances to the nearest reference of the person, and the nearest person of the set."""
        own = self.known.inner[self.known.rows(self.name)]
        return scores.claim(rows.inner, own).numpy(), self.known.who(rows).inner.names


def make_claim(name: str, known: ReferenceSet, backend: Backend, describer: Describer) -> Claim:
    """The claim that faces show a person of a reference set, with a threshold from the set's genuine pictures.

    Raises:
        UserError: no such person; nobody has two pictures; the set is of the other backend.
    """
    if (known.model == DLIB) != (backend == "dlib"):
        other = "dlib" if known.model == DLIB else "ict"
        raise UserError(
            f"the reference set was built by {other}: give --backend {other}, or references of {backend} (a folder of "
            "persons serves both)"
        )
    threshold = known.claim_threshold(name)
    return Claim(name, backend, describer, known, threshold.value, threshold.of, threshold.count)
