"""Attacks over whole data sets: batch by batch, kept as they finish, resumed, shared over the processes of a group.

A job is cut into parts (a victim, an attack, a seed, a batch of clouds). Every part is one npz, written under a
temporary name and renamed when whole, so that what was finished is never done again and never half there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shared_utils import UserError, checkpoint, distributed, logging
from si_adv.attacks import Attack
from si_adv.attacks.base import model_output
from si_adv.data.files import write_npz
from si_adv.data.layouts import open_dataset
from si_adv.data.procedural import ProceduralShapes
from si_adv.geometry import estimate_normals
from si_adv.metrics import distances

# The clouds that the embedded data set holds in evaluation; the data module's default too.
PROCEDURAL_TEST_CLOUDS = 500


@dataclass(frozen=True)
class Clouds:
    """Clouds to attack: points and normals (M, N, 3) float32, labels (M,) int64, their names and place in the split."""

    points: Tensor
    normals: Tensor
    labels: Tensor
    names: list[str]
    ids: Tensor
    class_names: list[str]

    def __len__(self) -> int:
        return len(self.labels)


def choose(labels: Sequence[int], limit: int | None, seed: int) -> list[int]:
    """At most ``limit`` places of ``labels``, the classes in turn, drawn from the seed; ``None``: all, in order."""
    labels = np.asarray(labels)
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
) -> Clouds:
    """Clouds of a data set in any layout of ``si_adv.data``, with their normals (``root=None``: the embedded one).

    estimated_normals: estimate them from the points (PCA, 20 neighbours) even where the data set has some.
    """
    dataset = open_dataset(
        root, split, num_points, allow_upsample=allow_upsample, procedural_size=PROCEDURAL_TEST_CLOUDS
    )
    if isinstance(dataset, ProceduralShapes):
        labels = [index % len(dataset.class_names) for index in range(len(dataset))]
    else:
        labels = dataset.labels
    chosen = choose(labels, limit, seed)
    samples = [dataset[index] for index in logging.progress(chosen, "reading clouds")]
    points = torch.stack([torch.as_tensor(sample.points) for sample in samples])
    normals = torch.stack([torch.as_tensor(sample.normals) for sample in samples])
    return Clouds(
        points,
        estimate_normals(points) if estimated_normals else normals,
        torch.as_tensor([int(sample.label) for sample in samples]),
        [sample.name for sample in samples],
        torch.as_tensor(chosen),
        list(dataset.class_names),
    )


class Parts:
    """The finished parts of a job, in ``<folder>/parts``, and the job they belong to, in ``<folder>/job.json``."""

    def __init__(self, folder: str | Path, job: dict[str, Any], resume: bool) -> None:
        self.folder = Path(folder)
        job = json.loads(json.dumps(job))
        description = self.folder / "job.json"
        if description.is_file():
            known = json.loads(description.read_text())
            if not resume:
                raise UserError(f"{self.folder} already holds results: add --resume to go on, or give another --out")
            changed = sorted(key for key in {*known, *job} if known.get(key) != job.get(key))
            if changed:
                raise UserError(
                    f"{self.folder} was made with another {changed[0]} ({known.get(changed[0])}, now {job.get(changed[0])}): "
                    "give another --out"
                )
        distributed.barrier()
        if distributed.rank() == 0:
            checkpoint.write_json(job, description)

    def path(self, part: str) -> Path:
        return self.folder / "parts" / f"{part}.npz"

    def finish(self, parts: Sequence[str], compute: Callable[[str], dict[str, Any]], description: str) -> None:
        """Compute what is missing, each process its share; returns when all processes are done."""
        missing = distributed.broadcast([part for part in parts if not self.path(part).is_file()])
        for part in logging.progress(distributed.share(missing), description):
            write_npz(self.path(part), **compute(part))
        distributed.barrier()

    def read(self, parts: Iterable[str]) -> dict[str, np.ndarray]:
        """The arrays of several parts, joined along their first axis."""
        loaded = []
        for part in parts:
            with np.load(self.path(part), allow_pickle=False) as archive:
                loaded.append({name: archive[name] for name in archive.files})
        return {name: np.concatenate([arrays[name] for arrays in loaded]) for name in loaded[0]}


def attack_batch(attack: Attack, clouds: Clouds, rows: slice, labels: Tensor, device: torch.device) -> dict[str, Any]:
    """Attack some of the clouds: everything that is worth keeping of it, one row a cloud.

    labels: (M,) the labels given to the attack, of which ``rows`` are taken.
    """
    points, normals = clouds.points[rows].to(device), clouds.normals[rows].to(device)
    wall, cpu = time.perf_counter(), time.process_time()
    result = attack.run(points, labels[rows].to(device), normals, clouds.ids[rows])
    if device.type == "cuda":
        torch.cuda.synchronize()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    size = len(points)
    kept = {
        "adv": result.adv,
        "clean": points,
        "normals": normals,
        "label": clouds.labels[rows],
        "id": clouds.ids[rows],
        "name": np.asarray(clouds.names[rows]),
        "success": result.success,
        "initial_success": result.initial_success,
        "prediction": result.prediction,
        "initial_prediction": result.initial_prediction,
        "queries": result.queries,
        "steps": result.steps,
        "undefined_normals": result.undefined_normals,
        "seconds": np.full(size, wall / size),
        "cpu_seconds": np.full(size, cpu / size),
    }
    if result.adv.shape == points.shape:
        kept |= {f"distance_{name}": value for name, value in distances(result.adv, points, normals).items()}
    return kept


@torch.no_grad()
def predictions(victim: Callable, points: Tensor, batch_size: int, device: torch.device) -> Tensor:
    """Predicted classes (M,) of clouds (M, N, 3), on the CPU."""
    parts = points.split(batch_size)
    return torch.cat([model_output(victim, part.to(device)).argmax(1).cpu() for part in parts])


def batches(count: int, size: int) -> list[slice]:
    """Consecutive slices of at most ``size`` that cover ``count``."""
    return [slice(begin, min(begin + size, count)) for begin in range(0, count, size)]
