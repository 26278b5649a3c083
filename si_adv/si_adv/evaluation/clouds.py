"""The clouds of an evaluation: chosen by class and seed from any data set."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shared_utils import UserError, logging
from si_adv.attacks.base import model_output
from si_adv.data.layouts import open_dataset
from si_adv.data.procedural import NOISE
from si_adv.geometry import estimate_normals

# The clouds that the embedded data set holds in evaluation; the data module's default too.
PROCEDURAL_TEST_CLOUDS = 500


@dataclass(frozen=True)
class Clouds:
    """Clouds to attack: points and normals (M, N, 3) float32, labels (M,) int64, their names and place in the split.

    ``stored_normals``: the normals are those of the data; otherwise they are estimated, of either sign, and an attack makes
    its own. ``surfaces``: the triangles (T, 3, 3) that each was sampled from; None where there are only clouds.
    """

    points: Tensor
    normals: Tensor
    labels: Tensor
    names: list[str]
    ids: Tensor
    class_names: list[str]
    stored_normals: bool = True
    surfaces: list[np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def digest(self) -> str:
        """A short name for these clouds: the same points, labels and names, the same digest."""
        whole = hashlib.sha256("\n".join([*self.names, *self.class_names]).encode())
        for tensor in (self.points, self.labels, self.ids):
            whole.update(tensor.contiguous().numpy().tobytes())
        return whole.hexdigest()[:16]


def choose(labels: Sequence[int] | np.ndarray, limit: int | None, seed: int) -> list[int]:
    """At most ``limit`` places of ``labels``, the classes in turn, drawn from the seed; ``None``: all, in order."""
    labels = np.asarray(labels)
    if limit is not None and limit < 1:
        raise UserError(f"limit is a number of clouds, at least 1, or null for all; got {limit}")
    if limit is None or limit >= len(labels):
        return list(range(len(labels)))
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    # A stable sort by how many of its class came before: first one of every class, then a second one, ...
    turn = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        turn[members] = np.arange(len(members))
    return order[np.argsort(turn[order], kind="stable")][:limit].tolist()


def load_clouds(
    root: str | None,
    split: str = "test",
    num_points: int = 1024,
    limit: int | None = None,
    seed: int = 0,
    allow_upsample: bool = False,
    estimated_normals: bool = False,
    noise: float | None = None,
) -> Clouds:
    """Clouds of a data set in any layout of ``si_adv.data``, with their normals.

    Args:
        root: the data set; None: the embedded one.
        split: which part of it.
        num_points: points of a cloud.
        limit: at most so many, the classes in turn; None: all.
        seed: which ones, where there is a limit.
        allow_upsample: repeat the points of clouds that have too few.
        estimated_normals: estimate them from the points (PCA, 20 neighbours) even where the data set has some.
        noise: of the embedded shapes, standard deviation; None: as they are trained on (0.01).

    Raises:
        UserError: noise for another data set, or a negative one.
    """
    if noise is not None and (root is not None or not noise >= 0):
        raise UserError(f"noise is that of the embedded shapes, 0 or more: got {noise} for {root or 'them'}")
    dataset = open_dataset(
        root,
        split,
        num_points,
        allow_upsample=allow_upsample,
        procedural_size=PROCEDURAL_TEST_CLOUDS,
        procedural_noise=NOISE if noise is None else noise,
    )
    chosen = choose(dataset.labels, limit, seed)
    samples = [dataset[index] for index in logging.progress(chosen, "reading clouds")]
    points = torch.stack([torch.as_tensor(sample.points) for sample in samples])
    normals = torch.stack([torch.as_tensor(sample.normals) for sample in samples])
    surfaces = [surface for index in chosen if (surface := dataset.surface(index)) is not None]
    return Clouds(
        points,
        estimate_normals(points) if estimated_normals else normals,
        torch.as_tensor([int(sample.label) for sample in samples]),
        [sample.name for sample in samples],
        torch.as_tensor(chosen),
        list(dataset.class_names),
        not estimated_normals and all(dataset.stores_normals(index) for index in chosen),
        surfaces if len(surfaces) == len(chosen) else None,
    )


def load_draws(seeds: Sequence[int], *arguments: Any, **options: Any) -> dict[int, Clouds]:
    """The clouds of several seeds; the other arguments are those of ``load_clouds``."""
    return {seed: load_clouds(*arguments, seed=seed, **options) for seed in seeds}


def target_labels(text: str | None, clouds: Clouds, num_classes: int) -> Tensor:
    """Labels for the attack: the true ones (None), the ``next`` class of each, or one class by name or number."""
    if text is None:
        return clouds.labels
    if text == "next":
        return (clouds.labels + 1) % num_classes
    if text in clouds.class_names:
        return torch.full_like(clouds.labels, clouds.class_names.index(text))
    if text.isdigit() and int(text) < num_classes:
        return torch.full_like(clouds.labels, int(text))
    raise UserError(
        f"unknown target class {text}: next, a number below {num_classes}, or one of {', '.join(clouds.class_names)}"
    )


@torch.no_grad()
def predictions(victim: Callable, points: Tensor, batch_size: int, device: torch.device) -> Tensor:
    """Predicted classes (M,) of clouds (M, N, 3), on the CPU."""
    parts = points.split(batch_size)
    return torch.cat([model_output(victim, part.to(device)).argmax(1).cpu() for part in parts])


def batches(count: int, size: int) -> list[slice]:
    """Consecutive slices of at most ``size`` that cover ``count``."""
    return [slice(begin, min(begin + size, count)) for begin in range(0, count, size)]
