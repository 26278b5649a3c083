"""How clean tracks are where the true people are known: IDF1, the share of a track that is one person, fragments."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from luperson_nl.tracklets.boxes import Boxes, assign, iou

OVERLAP = 0.5  # the least IoU of a box with the person that it shows


def people(boxes: Boxes, truth: Boxes) -> np.ndarray:
    """(n,) int64: the true person whom every box shows, matched one to one within a frame; -1 for nobody."""
    found = np.full(len(boxes), -1, np.int64)
    starts = np.searchsorted(truth.frame, [boxes.frame, boxes.frame + 1])
    for _, rows in boxes.by_frame():
        there = np.arange(*starts[:, rows[0]])
        at, with_truth = assign(iou(boxes.box[rows], truth.box[there]), OVERLAP)
        found[rows[at]] = truth.track[there[with_truth]]
    return found


def identity_matches(boxes: Boxes, truth: Boxes) -> int:
    """IDTP: the boxes of tracks that show the right person under the best one-to-one naming of tracks by people."""
    tracked = boxes[boxes.track >= 0]
    pairs: list[np.ndarray] = []
    starts = np.searchsorted(truth.frame, [tracked.frame, tracked.frame + 1])
    for _, rows in tracked.by_frame():
        there = np.arange(*starts[:, rows[0]])
        at, with_truth = np.nonzero(iou(tracked.box[rows], truth.box[there]) >= OVERLAP)
        pairs.append(np.stack([tracked.track[rows[at]], truth.track[there[with_truth]]], axis=1))
    if not pairs or not len(together := np.concatenate(pairs)):
        return 0
    counts = _table(together[:, 0], together[:, 1])
    at, with_person = assign(counts, 1)
    return int(counts[at, with_person].sum())


@dataclass(frozen=True)
class Purity:
    """Counts over the boxes of tracks; those of several videos add up, since their people count as others.

    boxes, truth: of tracks, and of true people. matched: IDTP. right: show the person whom most boxes of their id show.
    canonical: of these, those in that person's main id. nobody: show no known person. ids, persons: how many there are.
    named: ids that show any known person. mixed: ids that show more than one. found: people who are most of some id.
    """

    boxes: int = 0
    truth: int = 0
    matched: int = 0
    right: int = 0
    canonical: int = 0
    nobody: int = 0
    ids: int = 0
    persons: int = 0
    named: int = 0
    mixed: int = 0
    found: int = 0

    def __add__(self, other: Purity) -> Purity:
        return Purity(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    def row(self, name: str) -> dict[str, str | int | float | None]:
        """A row of the report; IDF1 only where the true boxes are known, not only who is on the crops."""
        boxes = max(self.boxes, 1)
        return {
            "of": name,
            "boxes": self.boxes,
            "ids": self.ids,
            "persons": self.persons,
            "IDF1 %": 200 * self.matched / (self.boxes + self.truth) if self.truth else None,
            "right person %": 100 * self.right / boxes,
            "canonical %": 100 * self.canonical / boxes,
            "nobody %": 100 * self.nobody / boxes,
            "mixed ids %": 100 * self.mixed / max(self.ids, 1),
            "ids a person": self.named / max(self.found, 1),
        }


def of_labels(ids: np.ndarray, person: np.ndarray) -> Purity:
    """Purity of n boxes or crops with their noisy id and the person they show (-1 for nobody), (n,) integers each."""
    known = person >= 0
    number_of_ids = len(np.unique(ids))
    if not known.any():
        return Purity(boxes=len(ids), nobody=len(ids), ids=number_of_ids)
    counts = _table(ids[known], person[known])
    majority, most = counts.argmax(1), counts.max(1)
    main = np.zeros(counts.shape[1], np.int64)
    np.maximum.at(main, majority, most)
    return Purity(
        boxes=len(ids),
        right=int(most.sum()),
        canonical=int(main.sum()),
        nobody=int((~known).sum()),
        ids=number_of_ids,
        persons=counts.shape[1],
        named=len(counts),
        mixed=int(((counts > 0).sum(1) > 1).sum()),
        found=len(np.unique(majority)),
    )


def of_tracks(boxes: Boxes, truth: Boxes) -> Purity:
    """Purity of all boxes of tracks of a video, with IDF1."""
    tracked = boxes[boxes.track >= 0]
    found = of_labels(tracked.track, people(tracked, truth))
    return replace(
        found, truth=len(truth), matched=identity_matches(tracked, truth), persons=len(np.unique(truth.track))
    )


def _table(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(distinct a, distinct b) how often they occur together."""
    (names, name), (others, other) = (np.unique(values, return_inverse=True) for values in (a, b))
    counts = np.zeros((len(names), len(others)), np.int64)
    np.add.at(counts, (name, other), 1)
    return counts
