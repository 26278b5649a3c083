"""How right noisy identity labels are, where the true person of every crop is known: two numbers, never one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Accuracy(NamedTuple):
    """Shares of crops. ``right_person``: the id belongs to the person; ``canonical``: it is the person's main id."""

    right_person: float
    canonical: float


class LabelTruth:
    """Whom the ids of a data set belong to, from its noisy labels and the true persons.

    An id belongs to the person of most of its crops; a person's main id is the one with most of the person's crops. The smaller
    number wins where two are equal. Fragments alone lower only ``canonical``; switches lower both.

    Args:
        labels: (n,) noisy ids, 0..C-1.
        true: (n,) persons, 0..P-1.
    """

    def __init__(self, labels: np.ndarray, true: np.ndarray) -> None:
        counts = np.zeros((int(labels.max()) + 1, int(true.max()) + 1), np.int64)
        np.add.at(counts, (labels, true), 1)
        self.true = true
        self.owner = counts.argmax(1)
        self.main = counts.argmax(0)

    def right_person(self, labels: np.ndarray, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """(n,) bool: whether the label's owner is who is seen. ``rows``: of the data set, where not all are given."""
        return self.owner[labels] == self.true[rows]

    def canonical(self, labels: np.ndarray, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """(n,) bool: whether the label is the main id of who is seen."""
        return self.main[self.true[rows]] == labels

    def accuracy(self, labels: np.ndarray, rows: np.ndarray | slice = slice(None)) -> Accuracy:
        """Both numbers for labels of the data set, corrected or not."""
        return Accuracy(float(self.right_person(labels, rows).mean()), float(self.canonical(labels, rows).mean()))

    def noisiest(self, labels: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
        """Groups of crops worth looking at: (count,) or fewer.

        In turn one with both kinds of noise, one with ids of another person, one with second ids; then the others.

        Args:
            labels: (n,) of the data set.
            groups: (n,) numbers, clips or ids.
            count: how many.
        """
        right = self.right_person(labels)
        size = int(groups.max()) + 1
        wrong = np.bincount(groups[~right], minlength=size) > 0
        split = np.bincount(groups[right & ~self.canonical(labels)], minlength=size) > 0
        kinds = (wrong & split, wrong & ~split, split & ~wrong)
        lists = [np.flatnonzero(kind) for kind in kinds]
        turns = [each[turn] for turn in range(max(map(len, lists), default=0)) for each in lists if turn < len(each)]
        return np.array(list(dict.fromkeys([*turns, *np.unique(groups)]))[:count])
