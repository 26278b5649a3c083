"""What a reference set says: of a face, whom it looks like; of itself, how well it tells its persons apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ict_deepfake.scores import nearest, pairwise

# Faces that are compared with all references at once.
_FACES = 64


class Match(NamedTuple):
    """Whom n faces look most like: names (n,), squared distances (n,), and how much further the next person is (n,)."""

    names: list[str]
    distances: np.ndarray
    margins: np.ndarray


class Identified(NamedTuple):
    """Whom the inner and whom the outer faces look like."""

    inner: Match
    outer: Match


class ClaimThreshold(NamedTuple):
    """The distance above which a claim is refused, and the genuine distances it was set by (``of``: whose)."""

    value: float
    of: str
    count: int


class Confusable(NamedTuple):
    """The two persons whose mean inner faces are the closest, and their squared distance."""

    first: str
    second: str
    distance: float


@dataclass(frozen=True)
class Report:
    """What a reference set is worth: persons, pictures of each, and how well a picture finds its own person."""

    pictures: dict[str, int]
    inner_accuracy: float | None
    outer_accuracy: float | None
    tested: int
    confusable: Confusable | None

    def __str__(self) -> str:
        counts = list(self.pictures.values())
        lines = [
            f"{len(counts)} persons, {sum(counts)} pictures ({min(counts)} to {max(counts)} each)"
            if counts
            else "0 persons"
        ]
        if self.inner_accuracy is None:
            lines.append("leave-one-out accuracy: unknown, no person has two pictures beside another person")
        else:
            lines.append(
                f"leave-one-out accuracy: {self.inner_accuracy:.1%} by the inner face, {self.outer_accuracy:.1%} by the "
                f"outer face ({self.tested} pictures)"
            )
        if self.confusable:
            first, second, distance = self.confusable
            lines.append(f"most confusable: {first} and {second} (squared distance {distance:.3f})")
        return "\n".join(lines)


def identify(rows: Tensor, references: Tensor, names: Sequence[str]) -> Match:
    """Whom each of the rows (n, dim) looks like most; references (m, dim) and the names of their persons."""
    persons = list(dict.fromkeys(names))
    number = {name: index for index, name in enumerate(persons)}
    person = torch.tensor([number[name] for name in names])
    best, distances = nearest(rows, references)
    own = person[best[:, 0]]
    margins = [torch.zeros(0, dtype=torch.float64)]
    for start in range(0, len(rows), _FACES):
        part = slice(start, start + _FACES)
        squared = pairwise(rows[part], references)
        of_person = torch.full((len(squared), len(persons)), torch.inf)
        of_person = of_person.scatter_reduce(1, person.expand(len(squared), -1), squared, "amin")
        second = of_person.scatter(1, own[part, None], torch.inf).min(1).values
        margins.append((second.double() - distances[part, 0]).clamp(min=0))
    return Match([persons[index] for index in own.tolist()], distances[:, 0].numpy(), torch.cat(margins).numpy())


def leave_one_out(rows: Tensor, names: Sequence[str], tested: Sequence[int]) -> float:
    """The share of the tested rows whose nearest other row is of the same person."""
    two, _ = nearest(rows[list(tested)], rows, 2)
    right = 0
    for own, (first, second) in zip(tested, two.tolist(), strict=True):
        right += names[own] == names[second if first == own else first]
    return right / len(tested)


def most_confusable(rows: Tensor, by_person: Mapping[str, Sequence[int]]) -> Confusable | None:
    """The two persons whose means of rows are the closest; None where there are not two."""
    if len(by_person) < 2:
        return None
    persons = list(by_person)
    means = torch.stack([rows[list(own)].mean(0) for own in by_person.values()])
    two, distances = nearest(means, means, 2)
    # The nearest mean is a person's own, unless two are equal.
    own = two[:, 0] == torch.arange(len(persons))
    other = torch.where(own, two[:, 1], two[:, 0])
    distance = torch.where(own, distances[:, 1], distances[:, 0])
    first = int(distance.argmin())
    return Confusable(persons[first], persons[int(other[first])], float(distance[first]))
