"""Embeddings of genuine pictures, row by row with the person's name and the picture's hashes."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ict_deepfake.models.ict import Embeddings
from ict_deepfake.references.answers import ClaimThreshold, Identified, Report, identify, leave_one_out, most_confusable
from ict_deepfake.references.hashes import PictureHash, find_copies
from ict_deepfake.scores import nearest
from shared_utils import UserError, checkpoint, files

# A person with fewer genuine distances than this has the threshold of all persons.
_ENOUGH = 5


@dataclass(frozen=True, eq=False)
class ReferenceSet:
    """Inner and outer embeddings of genuine pictures.

    names: (m,) person of each row. inner, outer: (m, dim) float32. sources: (m,) SHA-256 of the picture's file, or "".
    hashes: (m,) ``near_hash`` of the picture, or "". model: ``weights_digest`` of the network that made them, or "".
    """

    names: list[str]
    inner: Tensor
    outer: Tensor
    sources: list[str] = field(default_factory=list)
    hashes: list[str] = field(default_factory=list)
    model: str = ""

    def __post_init__(self) -> None:
        count = len(self.names)
        object.__setattr__(self, "sources", self.sources or [""] * count)
        object.__setattr__(self, "hashes", self.hashes or [""] * count)
        if self.inner.ndim != 2 or self.inner.shape != self.outer.shape:
            raise UserError(
                f"a reference set with inner rows of {tuple(self.inner.shape)} and outer rows of "
                f"{tuple(self.outer.shape)} cannot be used: both have to be (pictures, length)"
            )
        if not len(self.inner) == count == len(self.sources) == len(self.hashes):
            raise UserError(
                f"a reference set of {count} names and {len(self.inner)} rows cannot be used: build it again"
            )
        if not (torch.isfinite(self.inner).all() and torch.isfinite(self.outer).all()):
            raise UserError("a reference set with values that are not finite cannot be used: build it again")

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def by_person(self) -> dict[str, list[int]]:
        """The rows of every person, in the order of first appearance."""
        found: dict[str, list[int]] = {}
        for row, name in enumerate(self.names):
            found.setdefault(name, []).append(row)
        return found

    @property
    def persons(self) -> list[str]:
        """Every name once."""
        return list(self.by_person)

    def rows(self, name: str) -> list[int]:
        """A person's rows.

        Raises:
            UserError: there is no such person.
        """
        if name not in self.by_person:
            near = difflib.get_close_matches(name, self.persons, n=1)
            known = f"did you mean {near[0]}?" if near else f"it has {few(self.persons)}"
            raise UserError(f"{name} is not in the reference set: {known}")
        return self.by_person[name]

    def add(self, name: str, rows: Embeddings, pictures: Sequence[PictureHash] = ()) -> ReferenceSet:
        """A set with pictures of a person more; the rows that are there stay as they are.

        Args:
            name: new or known.
            rows: inner and outer (k, dim).
            pictures: hashes of the k pictures, where known.

        Raises:
            UserError: a picture is there already (by its SHA-256), or rows are of another length.
        """
        if not name.strip():
            raise UserError("a person without a name cannot be added: give one")
        if len(self) and rows.inner.shape[1] != self.inner.shape[1]:
            raise UserError(
                f"embeddings of length {rows.inner.shape[1]} cannot be added to references of length "
                f"{self.inner.shape[1]}: use the model that built the set"
            )
        pictures = list(pictures) or [PictureHash("")] * len(rows.inner)
        known = dict(zip(self.sources, self.names, strict=True))
        for digest, _ in filter(lambda picture: picture.digest, pictures):
            if digest in known:
                raise UserError(f"a picture of {name} is in the set twice (first as {known[digest]}): remove one")
            known[digest] = name
        before = (self.inner, self.outer) if len(self) else (rows.inner[:0].cpu(), rows.outer[:0].cpu())
        return replace(
            self,
            names=[*self.names, *[name] * len(rows.inner)],
            inner=torch.cat([before[0], rows.inner.float().cpu()]),
            outer=torch.cat([before[1], rows.outer.float().cpu()]),
            sources=[*self.sources, *(picture.digest for picture in pictures)],
            hashes=[*self.hashes, *(picture.near for picture in pictures)],
        )

    def remove(self, name: str) -> ReferenceSet:
        """A set without a person; UserError where there is no such person."""
        leaving = set(self.rows(name))
        keep = [row for row in range(len(self)) if row not in leaving]
        return replace(
            self,
            names=[self.names[row] for row in keep],
            inner=self.inner[keep],
            outer=self.outer[keep],
            sources=[self.sources[row] for row in keep],
            hashes=[self.hashes[row] for row in keep],
        )

    def refuse_leaks(self, tests: Mapping[str, PictureHash]) -> None:
        """Raise UserError where a test picture is in the set, as a file or nearly the same to look at.

        Args:
            tests: name of each test picture (for the message) and its hashes.
        """
        leaks = [f"{name} is a picture of {self.names[row]}" for name, row in self.leaks(tests).items()]
        if leaks:
            raise UserError(
                f"{len(leaks)} test pictures are in the reference set, which would inflate every score: {few(leaks)}; "
                "take them out of the references or of the test"
            )

    def leaks(self, tests: Mapping[str, PictureHash]) -> dict[str, int]:
        """Test pictures that are in the set, with the row of each: the same file, or nearly the same to look at."""
        return find_copies(self.sources, self.hashes, tests)

    def who(self, embeddings: Embeddings) -> Identified:
        """Whom the inner and whom the outer faces look like most.

        Args:
            embeddings: (n, dim) unit rows of both, on the CPU.

        Raises:
            UserError: the set is empty, or of another length.
        """
        self.check_length(embeddings.inner.shape[1])
        return Identified(
            identify(embeddings.inner, self.inner, self.names), identify(embeddings.outer, self.outer, self.names)
        )

    def check_length(self, length: int) -> None:
        """Raise UserError where the set is empty or of another length than the embeddings."""
        if not len(self):
            raise UserError("the reference set is empty: add persons with build_reference")
        if self.inner.shape[1] != length:
            raise UserError(
                f"references of length {self.inner.shape[1]} cannot be compared with embeddings of length {length}: "
                "build the reference set with this model"
            )

    def genuine_distances(self, name: str | None = None) -> np.ndarray:
        """Squared distance of each inner row to the nearest other row of its person: (k,), of all persons where None."""
        found = []
        for person in [name] if name is not None else self.persons:
            rows = self.inner[self.rows(person)]
            if len(rows) > 1:
                found.append(nearest(rows, rows, 2)[1][:, 1].numpy())
        return np.concatenate(found) if found else np.zeros(0)

    def claim_threshold(self, name: str, passed: float = 0.95) -> ClaimThreshold:
        """The distance to a person above which a claim to be that person is refused.

        The smallest one that passes a share of the genuine leave-one-out distances: the person's own where there are
        at least five, those of all persons otherwise.

        Args:
            name: the claimed person.
            passed: share of genuine pictures that pass.

        Raises:
            UserError: no such person, or nobody has two pictures.
        """
        own = self.genuine_distances(name)
        of = name if len(own) >= _ENOUGH else "all persons"
        distances = own if len(own) >= _ENOUGH else self.genuine_distances()
        if not len(distances):
            raise UserError("no person of the reference set has two pictures, so no threshold can be set: add pictures")
        return ClaimThreshold(float(np.quantile(distances, passed, method="higher")), of, len(distances))

    def report(self) -> Report:
        """Persons and pictures, how often a picture finds its own person when it is left out, who is most alike."""
        counts = Counter(self.names)
        tested = [row for row, name in enumerate(self.names) if counts[name] > 1]
        found: list[float | None] = [None, None]
        if len(counts) > 1 and tested:
            found = [leave_one_out(rows, self.names, tested) for rows in (self.inner, self.outer)]
        return Report(dict(counts), found[0], found[1], len(tested), most_confusable(self.inner, self.by_person))

    def save(self, path: str | Path) -> None:
        """Write ``.safetensors`` or ``.npz``, which ``load_references`` reads."""
        path = Path(path)
        check_ending(path)
        if path.suffix == ".npz":
            with files.replacing(path) as temporary, temporary.open("wb") as stream:
                arrays = {"inner": self.inner.numpy(), "outer": self.outer.numpy()}
                arrays |= {key: np.asarray(value, str) for key, value in self._facts().items()}
                np.savez_compressed(stream, allow_pickle=False, **arrays)
            return
        facts = {"ict_deepfake": json.dumps(self._facts())}
        checkpoint.save_safetensors({"inner": self.inner, "outer": self.outer}, path, facts)

    def _facts(self) -> dict[str, Any]:
        return {"names": self.names, "sources": self.sources, "hashes": self.hashes, "model": self.model}


def check_ending(path: str | Path) -> None:
    """Raise UserError where a reference set cannot be written under a name."""
    if Path(path).suffix not in (".safetensors", ".npz"):
        raise UserError(f"{path} cannot be written: a reference set ends with .safetensors or .npz")


def empty(model: str = "") -> ReferenceSet:
    """A set without rows, to add to."""
    return ReferenceSet([], torch.zeros(0, 0), torch.zeros(0, 0), model=model)


def few(names: Sequence[str]) -> str:
    """The first names of many."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
