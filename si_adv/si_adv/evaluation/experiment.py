"""Attacks on victims over clouds: batch by batch, kept as they finish, resumed, shared over the processes of a group.

A job is cut into parts (a victim, an attack, a seed, a batch of clouds), each kept by ``shared_utils.work``.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from shared_utils import UserError, checkpoint, distributed, files, logging, work
from si_adv.attacks import Attack
from si_adv.attacks.budgets import Maker
from si_adv.data.sample import normalise
from si_adv.evaluation.clouds import Clouds, batches, target_labels
from si_adv.geometry import estimate_normals
from si_adv.metrics import MEASURED_NEIGHBOURS, distances, over_points, surface
from si_adv.surface import distance_to_triangles
from si_adv.victim import Victim

Runs = dict[tuple[str, str, int], dict[str, np.ndarray]]
"""Per-cloud arrays (see ``attack_batch``) by victim, label of the attack and seed."""

#: What the reports of ``evaluation.reports`` leave in the folder of an experiment, beside ``clouds``.
REPORTED = (
    *("table.*", "per_cloud.json", "paired.*", "claim.json"),
    *("displacement.png", "success_*.png", "sweep.png", "queries.png", "matrix_*.png"),
)


@dataclass(frozen=True)
class Experiment:
    """Every attack on every victim for every seed.

    Args:
        victims: by name.
        attacks: makers by label.
        clouds: those of a seed.
        target: see ``target_labels``.
        through: puts a defence in front of a victim; the attack is then adaptive.
        batch_size: clouds of a part.
        device: where the attacks run.

    Raises:
        UserError: a victim that takes normals, clouds of classes that a victim does not know, an unknown
            target, an empty batch.
    """

    victims: dict[str, Victim]
    attacks: dict[str, Maker]
    clouds: dict[int, Clouds]
    target: str | None = None
    through: Callable[[nn.Module, int], nn.Module] | None = None
    batch_size: int = 32
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UserError(f"batch_size is at least 1, got {self.batch_size}")
        for name, victim in self.victims.items():
            if victim.with_normals:
                raise UserError(f"{name} takes normals, and attacks move points alone: give a victim of coordinates")
            for some in self.clouds.values():
                victim.check_labels(some.labels, some.class_names, name)
                target_labels(self.target, some, victim.num_classes)

    def description(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """All that decides the result: ``settings``, and what the experiment knows of itself."""
        return {
            **settings,
            "victims": {name: checkpoint.weights_digest(victim) for name, victim in self.victims.items()},
            "attacks": list(self.attacks),
            "seeds": list(self.clouds),
            "clouds": {str(seed): some.digest() for seed, some in self.clouds.items()},
            "target": self.target,
            "batch_size": self.batch_size,
        }

    def run(self, store: work.Work) -> Runs:
        """Attack what is missing in the store; all processes of a group return the same."""
        parts: dict[str, tuple[str, str, int, slice]] = {}
        for name in self.victims:
            for label in self.attacks:
                for seed, some in self.clouds.items():
                    for rows in batches(len(some), self.batch_size):
                        part = f"{name}/{label.replace(' ', '-')}/{seed}-{rows.start:06d}"
                        parts[part] = (name, label, seed, rows)
        store.finish(list(parts), lambda part: self._attack(*parts[part]), "attacking")
        kept: dict[tuple[str, str, int], list[dict[str, np.ndarray]]] = {}
        for part, (name, label, seed, _) in parts.items():
            kept.setdefault((name, label, seed), []).append(store.read(part))
        return {
            key: {name: np.concatenate([arrays[name] for arrays in several]) for name in several[0]}
            for key, several in kept.items()
        }

    def _attack(self, name: str, label: str, seed: int, rows: slice) -> dict[str, Any]:
        victim, clouds = self.victims[name], self.clouds[seed]
        # A random defence draws by the seed and the place of the batch, so that a resumed run repeats itself.
        model = victim if self.through is None else self.through(victim, seed * 1_000_003 + rows.start)
        labels = target_labels(self.target, clouds, victim.num_classes)
        return attack_batch(self.attacks[label](model, seed), clouds, rows, labels, self.device)


def attack_batch(attack: Attack, clouds: Clouds, rows: slice, labels: Tensor, device: torch.device) -> dict[str, Any]:
    """Attack some of the clouds: everything that is worth keeping of it, one row a cloud.

    Args:
        attack: on its victim.
        clouds: all of them.
        rows: which are attacked.
        labels: (M,) the labels given to the attack, of which ``rows`` are taken.
        device: where.
    """
    points, normals = clouds.points[rows].to(device), clouds.normals[rows].to(device)
    given = normals if clouds.stored_normals else None
    wall, cpu = time.perf_counter(), time.process_time()
    result = attack.run(points, labels[rows].to(device), given, clouds.ids[rows])
    if device.type == "cuda":
        torch.cuda.synchronize()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    size = len(points)
    normalised = torch.stack([normalised_again(cloud) for cloud in result.adv])
    kept = {
        "adv": result.adv,
        "clean": points,
        "normals": normals,
        "label": clouds.labels[rows],
        "id": clouds.ids[rows],
        "name": np.asarray(clouds.names[rows]),
        "success": result.success,
        "success_normalised": attack.holds(normalised, labels[rows]),
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
        own = estimate_normals(points, attack.normal_neighbours) if given is None else given
        measured = distances(result.adv, points, estimate_normals(points, MEASURED_NEIGHBOURS))
        measured["surface_own"] = surface(result.adv, points, own)
        kept |= {f"distance_{name}": value for name, value in measured.items()}
    if clouds.surfaces is not None:
        measured = true_surface(result.adv, points, clouds.surfaces[rows])
        kept |= {f"distance_{name}": value for name, value in measured.items()}
    return kept


def true_surface(adv: Tensor, clean: Tensor, surfaces: Sequence[np.ndarray]) -> dict[str, Tensor]:
    """Distance of the points of clouds (B, N, 3) to the triangles they were sampled from.

    Returns:
        (B,) by name: ``true_surface`` with its 99th percentile and maximum, and the mean that the clean clouds have
        already, ``true_surface_clean``.
    """

    def to_surfaces(clouds: Tensor) -> Tensor:
        pairs = zip(clouds.cpu().double().numpy(), surfaces, strict=True)
        return torch.from_numpy(np.stack([distance_to_triangles(*pair) for pair in pairs]))

    return over_points("true_surface", to_surfaces(adv)) | {"true_surface_clean": to_surfaces(clean).mean(1)}


def normalised_again(points: Tensor) -> Tensor:
    """A cloud (N, 3) as a loader gives it that does not know its frame: centred, and at radius one."""
    centred, _, _ = normalise(points.cpu().double().numpy())
    return torch.from_numpy(centred).to(points)


def refuse_existing(out: str | None, resume: bool, overwrite: bool) -> None:
    """Raise UserError where ``out`` holds results, before anything is read; see ``begin``."""
    if out is not None and not resume:
        files.refuse_existing(out, overwrite, resume_possible=True)


@contextmanager
def begin(
    out: str | None, kind: str, description: Mapping[str, Any], *, resume: bool, overwrite: bool
) -> Iterator[work.Work]:
    """The store of an experiment in ``out``, or in a new ``runs/<kind>/version_N``; see ``shared_utils.work.begin``.

    What an earlier experiment reported in the same folder is removed when it is overwritten, so that nothing of it
    stands beside the new results.
    """
    if out is None:
        folder = Path(distributed.broadcast(str(logging.run_folder(kind)) if distributed.rank() == 0 else ""))
    else:
        folder = Path(out)
    ours = (folder / work.DESCRIPTION).is_file()
    with work.begin(folder, description, resume=resume, overwrite=overwrite) as store:
        if ours and not store.resumed and distributed.rank() == 0:
            shutil.rmtree(folder / "clouds", ignore_errors=True)
            for pattern in REPORTED:
                for path in folder.glob(pattern):
                    path.unlink()
        yield store
