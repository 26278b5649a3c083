"""Small victims and clouds that attacks fool within a few steps, in milliseconds."""

from __future__ import annotations

import torch
from torch import Tensor, nn

NUM_CLASSES = 8


class ToyVictim(nn.Module):
    """A PointNet in small: shared layers a point, a maximum, and a classifier with dropout and a batch norm."""

    def __init__(self, seed: int = 0, num_classes: int = NUM_CLASSES) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.points = nn.Sequential(nn.Conv1d(3, 32, 1), nn.ReLU(), nn.Conv1d(32, 64, 1))
            self.head = nn.Sequential(
                nn.Linear(64, 32), nn.BatchNorm1d(32), nn.Dropout(0.5), nn.ReLU(), nn.Linear(32, num_classes)
            )

    def forward(self, clouds: Tensor) -> Tensor:
        return self.head(self.points(clouds).amax(2))


def toy_clouds(num_clouds: int = 8, num_points: int = 256) -> tuple[Tensor, Tensor]:
    """Points and outward normals (B, N, 3) of ellipsoids and boxes in turn, of random proportions."""
    points, normals = [], []
    for index in range(num_clouds):
        generator = torch.Generator().manual_seed(index)
        half = 0.3 + 0.5 * torch.rand(3, generator=generator)
        direction = torch.nn.functional.normalize(torch.randn(num_points, 3, generator=generator), dim=1)
        if index % 2:
            side = torch.randint(3, (num_points, 1), generator=generator)
            place = 2 * torch.rand(num_points, 3, generator=generator) - 1
            outward = torch.zeros(num_points, 3).scatter(1, side, direction.gather(1, side).sign())
            points.append(half * torch.where(outward == 0, place, outward))
        else:
            outward = torch.nn.functional.normalize(direction / half, dim=1)
            points.append(half * direction)
        normals.append(outward)
    return torch.stack(points), torch.stack(normals)


def toy_victim(seed: int = 0) -> ToyVictim:
    """Random weights, with the classes balanced over the toy clouds: every decision is a close one."""
    victim = ToyVictim(seed).eval().requires_grad_(False)
    victim.points[0].weight *= 3
    outputs = victim(toy_clouds(32)[0].transpose(1, 2))
    victim.head[-1].bias -= outputs.mean(0)
    victim.head[-1].weight /= outputs.std()
    victim.head[-1].bias /= outputs.std()
    return victim


def predicted(model, points: Tensor) -> Tensor:
    with torch.no_grad():
        return model(points.transpose(1, 2)).argmax(1)


class Counting(nn.Module):
    """A victim that counts the clouds passed through it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.clouds = model, 0

    def forward(self, clouds: Tensor) -> Tensor:
        self.clouds += len(clouds)
        return self.model(clouds)
