"""What an epoch of pre-training did to the labels: counted, compared with the truth where it is known, and kept as a file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from luperson_nl.data.label_truth import LabelTruth
from shared_utils import distributed, files

_UNSEEN = -1


class Corrections:
    """The labels that an epoch used, filled batch by batch on every process and put together at its end.

    Args:
        labels: (n,) noisy labels of the data set, 0..C-1.
        threshold: T of the correction.
        true: (n,) persons, -1 where unknown; None where nothing is known.
        keys: (n,) names of the crops; None: their row.
        device: where the batches are.
    """

    def __init__(
        self,
        labels: np.ndarray,
        threshold: float,
        true: np.ndarray | None = None,
        keys: np.ndarray | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.labels, self.threshold, self.keys = labels, threshold, keys
        self.truth, self.known = None, np.zeros(0, np.int64)
        if true is not None and (known := np.flatnonzero(np.asarray(true) >= 0)).size:
            self.known, self.truth = known, LabelTruth(np.asarray(labels)[known], np.asarray(true)[known])
            num_classes = int(np.max(labels)) + 1
            # An id of crops whose person is unknown belongs to nobody.
            owner = np.full(num_classes, -1)
            owner[: len(self.truth.owner)] = self.truth.owner
            owner[np.bincount(np.asarray(labels)[known], minlength=num_classes) == 0] = -1
            self.truth.owner = owner
        self.device = torch.device(device)
        self.reset()

    def reset(self) -> None:
        """Forget the epoch."""
        n = len(self.labels)
        self.corrected = torch.full((n,), _UNSEEN, dtype=torch.int32, device=self.device)
        self.max_p = torch.full((n,), -1.0, device=self.device)
        self.sums = torch.zeros(2, dtype=torch.float64, device=self.device)  # of entropies, and their number

    @torch.no_grad()
    def add(self, rows: Tensor, corrected: Tensor, max_p: Tensor, entropy: Tensor) -> None:
        """Take in a batch: (n,) each; max_p and entropy are NaN where nothing was known of p."""
        self.corrected[rows] = corrected.int()
        self.max_p[rows] = max_p.float().nan_to_num(nan=-1.0)
        known = ~entropy.isnan()
        self.sums += torch.stack([entropy.nan_to_num().double().sum(), known.double().sum()])

    def state_dict(self) -> dict[str, Tensor]:
        """That of all processes; every one of them has to call it."""
        parts = {"corrected": self.corrected.clone(), "max_p": self.max_p.clone()}
        if distributed.world_size() > 1:
            for value in parts.values():
                dist.all_reduce(value, dist.ReduceOp.MAX)
        return parts | {"sums": distributed.sum_over_ranks(self.sums)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on with an epoch."""
        self.corrected, self.max_p = state["corrected"].to(self.device), state["max_p"].to(self.device)
        self.sums = state["sums"].to(self.device) * (distributed.rank() == 0)

    def finish(self, path: Path | None = None) -> dict[str, float]:
        """The statistics of the epoch over all processes; every one of them has to call it.

        Args:
            path: a file for ``key``, ``label``, ``corrected`` and ``max_p`` (-1 without correction) of every crop that was
                seen; written by the first process.

        Returns:
            Shares: ``changed``; ``confident`` (max p above T); ``right_person``, ``canonical`` (of the corrected labels, and
            ``_before``) and ``precision`` (of the changes, that lead to the right person) where the truth is known; and the mean
            ``entropy`` of p in nats. What doesn't exist is left out.
        """
        state = {name: value.cpu().numpy() for name, value in self.state_dict().items()}
        rows = np.flatnonzero(state["corrected"] != _UNSEEN)
        labels, corrected, max_p = np.asarray(self.labels)[rows], state["corrected"][rows], state["max_p"][rows]
        if path is not None and distributed.rank() == 0:
            names = rows if self.keys is None else np.asarray(self.keys)[rows]
            with files.replacing(path) as temporary, temporary.open("wb") as stream:
                np.savez(stream, key=names, label=labels, corrected=corrected, max_p=max_p)
        if not len(rows):
            return {}
        changed = corrected != labels
        found = {"changed": changed.mean()} | self._accuracy(rows, labels, corrected)
        total, count = state["sums"]
        if count:
            found |= {"confident": (max_p > self.threshold).mean(), "entropy": total / count}
        return {name: float(value) for name, value in found.items() if math.isfinite(value)}

    def _accuracy(self, rows: np.ndarray, labels: np.ndarray, corrected: np.ndarray) -> dict[str, Any]:
        if self.truth is None:
            return {}
        place = np.searchsorted(self.known, rows)
        known = self.known[np.minimum(place, len(self.known) - 1)] == rows
        if not known.any():
            return {}
        place, labels, corrected = place[known], labels[known], corrected[known]
        before, after = self.truth.accuracy(labels, place), self.truth.accuracy(corrected, place)
        changed = corrected != labels
        precision = self.truth.right_person(corrected, place)[changed].mean() if changed.any() else math.nan
        return {
            "right_person_before": before.right_person,
            "right_person": after.right_person,
            "canonical_before": before.canonical,
            "canonical": after.canonical,
            "precision": precision,
        }


def sentence(found: dict[str, float]) -> str:
    """The statistics of an epoch as a line of the log."""
    parts = [f"{found.get('changed', 0):.1%} of the labels changed"]
    if "precision" in found:
        parts[0] += f", {found['precision']:.1%} of these to the right person"
    for name, title in (("right_person", "right person"), ("canonical", "main id")):
        if name in found:
            parts.append(f"{title} {found[f'{name}_before']:.1%} -> {found[name]:.1%}")
    if "entropy" in found:
        parts.append(f"max p above T {found['confident']:.1%}, entropy {found['entropy']:.2f}")
    if "unseen" in found:
        parts.append(f"{found['unseen']:.0f} identities never seen, prototypes moved by {found['drift']:.3f}")
    return "; ".join(parts)
