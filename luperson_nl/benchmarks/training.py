"""Training against the published way, written from its facts: views, prototypes, a whole step. Ratios of CPU time.

    OMP_NUM_THREADS=1 python benchmarks/training.py [views prototypes steps loader]

views: one crop from its JPEG to both views as tensors: ours (OpenCV, uint8, the rest for the whole batch) and PIL with
torchvision's transforms, on crops of the street of 200x90, and of 640x320, larger than the view. prototypes: C = 434,000,
dim 128, batch 1536; ours and the published loop that then normalises all rows; equal to 1e-6. steps: a step of PNL with its
optimiser, ResNet-18 on 64x32, batch 64; the published step has a classifier in the key encoder too. loader: samples a second
of the data loader alone. One process, one thread, the ways interleaved, minimum of 5 after a warm-up, ``time.process_time``.
"""

import copy
import io
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import cv2
import numpy as np
import torch
from PIL import Image, ImageFilter
from torch.nn import functional
from torch.utils.data import default_collate
from torchvision import transforms

from luperson_nl.data.decoding import decode
from luperson_nl.data.samplers import BatchOrder, ResumableLoader
from luperson_nl.data.street import Street
from luperson_nl.data.transforms import StrongView, View, WeakView, finish
from luperson_nl.data.viewing import Views
from luperson_nl.models.statistics import STATISTICS
from luperson_nl.pnl import PNL, Stage
from luperson_nl.pnl.prototypes import momentum_update
from shared_utils import logging

SIZE, REPEATS = (256, 128), 5
MEAN, STD = STATISTICS["lmdb_200_20"]


def fastest(ways: dict[str, Callable[[], object]]) -> dict[str, float]:
    """CPU seconds of each way, the best of the interleaved runs."""
    found = dict.fromkeys(ways, float("inf"))
    for number in range(REPEATS + 1):
        for name, way in ways.items():
            start = time.process_time()
            way()
            if number:
                found[name] = min(found[name], time.process_time() - start)
    return found


def row(what: str, found: dict[str, float], unit: float, name: str) -> dict[str, object]:
    """Of the table: ours, the published way, and the ratio."""
    ours, published = found["ours"] * unit, found["published"] * unit
    return {
        "what": what,
        "ours": f"{ours:.3g} {name}",
        "published": f"{published:.3g} {name}",
        "ratio": published / ours,
    }


class Blur:
    """PIL's Gaussian blur with a random radius."""

    def __call__(self, image: Image.Image) -> Image.Image:
        return image.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0)))


def published_views() -> tuple[Callable, Callable]:
    """The publication's weak and strong transforms, ``ori-cj+sre``."""
    tensor = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    bicubic = transforms.InterpolationMode.BICUBIC
    flip = transforms.RandomHorizontalFlip()
    weak = [transforms.Resize(SIZE, bicubic), transforms.Pad(10), transforms.RandomCrop(SIZE), flip, *tensor]
    crop = transforms.RandomResizedCrop(SIZE, scale=(0.2, 1.0))
    blur = transforms.RandomApply([Blur()], p=0.5)
    erase = transforms.RandomErasing(p=0.5, scale=(0.02, 0.6), ratio=(0.3, 3.33))
    return transforms.Compose(weak), transforms.Compose(
        [crop, transforms.RandomGrayscale(0.2), blur, flip, *tensor, erase]
    )


def views() -> list[dict[str, object]]:
    """Milliseconds a crop."""
    crops = Street(persons=6, cameras=2, size=SIZE).train().images[:48]
    weak, strong = WeakView(SIZE), StrongView(SIZE)
    old_weak, old_strong = published_views()
    rows = []
    for name, size in (("200x90", (90, 200)), ("640x320", (320, 640))):
        larger = [cv2.resize(crop, size, interpolation=cv2.INTER_CUBIC) for crop in crops]
        files = [cv2.imencode(".jpg", crop[..., ::-1])[1].tobytes() for crop in larger]

        def ours(files: list[bytes] = files) -> None:
            draw, made = random.Random(0), []
            for data in files:
                image = decode(data, SIZE)
                made.append((weak(image, draw), strong(image, draw)))
            for kind in zip(*made, strict=True):
                finish(View(*default_collate([tuple(view) for view in kind])), MEAN, STD)

        def published(files: list[bytes] = files) -> None:
            made = []
            for data in files:
                image = Image.open(io.BytesIO(data)).convert("RGB")
                made.append((old_weak(image), old_strong(image)))
            default_collate(made)

        found = fastest({"ours": ours, "published": published})
        rows.append(row(f"decode and both views, {name}", found, 1e3 / len(files), "ms a crop"))
    return rows


def published_update(prototypes: torch.Tensor, queries: torch.Tensor, labels: torch.Tensor, momentum: float) -> None:
    """One sample after the other, then all rows."""
    for query, label in zip(queries, labels, strict=True):
        prototypes[label] = momentum * prototypes[label] + (1 - momentum) * query
    prototypes.copy_(functional.normalize(prototypes, dim=1))


def prototypes() -> list[dict[str, object]]:
    """Milliseconds an update."""
    torch.manual_seed(0)
    rows = functional.normalize(torch.randn(434_000, 128))
    queries, labels = functional.normalize(torch.randn(1536, 128)), torch.randint(434_000, (1536,))
    labels[:200] = labels[200:400]
    ours, theirs = rows.clone(), rows
    momentum_update(ours, queries, labels, 0.999)
    published_update(theirs, queries, labels, 0.999)
    difference = float((ours - theirs).abs().max())
    assert difference < 1e-6, difference
    found = fastest(
        {
            "ours": lambda: momentum_update(ours, queries, labels, 0.999),
            "published": lambda: published_update(theirs, queries, labels, 0.999),
        }
    )
    return [row("prototype update, C 434,000, batch 1536", found, 1e3, "ms")]


class PublishedStep:
    """The published step on one process: key encoder with classifier, loops, prototypes normalised as a whole."""

    def __init__(self, model: PNL, classes: int) -> None:
        self.query = model.encoder_q
        self.key = copy.deepcopy(model.encoder_q)
        self.queue = functional.normalize(torch.randn(128, 4096), dim=0)
        self.ids = torch.full((4096, 1), -1)
        self.pointer, self.prototypes = 0, torch.zeros(classes, 128)

    def __call__(self, im_q: torch.Tensor, im_k: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        features = self.query.features(im_q)
        out, q = self.query.classify(features), self.query.project(features)
        with torch.no_grad():
            for moving, leading in zip(self.key.parameters(), self.query.parameters(), strict=True):
                moving.data = moving.data * 0.999 + leading.data * 0.001
            features = self.key.features(im_k)
            self.key.classify(features)
            k = self.key.project(features)
        logits = torch.cat([(q * k).sum(1, keepdim=True), q @ self.queue.clone()], 1) / 0.07
        similarity = q @ self.prototypes.clone().t() / 0.07
        with torch.no_grad():
            p = 0.5 * out.softmax(1) + 0.5 * similarity.softmax(1)
            largest, best = p.max(1)
            corrected = torch.where(largest > 0.8, best, labels)
        mask = torch.cat([torch.ones(len(q), 1), torch.eq(labels[:, None], self.ids.t()).float()], 1)
        instance = -((mask * logits.log_softmax(1)).sum(1) / mask.sum(1)).mean()
        loss = instance + functional.cross_entropy(out, corrected) + functional.cross_entropy(similarity, corrected)
        with torch.no_grad():
            place = slice(self.pointer, self.pointer + len(k))
            self.queue[:, place], self.ids[place] = k.t(), corrected[:, None]
            self.pointer = (self.pointer + len(k)) % self.queue.shape[1]
            published_update(self.prototypes, q.detach(), corrected, 0.999)
        return loss


def steps(classes: int = 20_000, batch: int = 64) -> list[dict[str, object]]:
    """Samples a second."""
    torch.manual_seed(0)
    im_q, im_k, labels = torch.randn(batch, 3, 64, 32), torch.randn(batch, 3, 64, 32), torch.randint(classes, (batch,))
    model = PNL("resnet18", classes, queue_size=4096)
    stage = Stage(True, True, True, True)
    old = PublishedStep(copy.deepcopy(model), classes)
    ways = {}
    for name, net, step in (
        ("ours", model, lambda: model.step(im_q, im_k, labels, stage).loss),
        ("published", old.query, lambda: old(im_q, im_k, labels)),
    ):
        trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
        optimizer = torch.optim.SGD(trained, 0.1, momentum=0.9, weight_decay=1e-4)

        def way(optimizer: torch.optim.Optimizer = optimizer, step: Callable[[], torch.Tensor] = step) -> None:
            optimizer.zero_grad()
            step().backward()
            optimizer.step()

        ways[name] = way
    found = fastest(ways)
    speed = {name: f"{batch / seconds:.1f} samples/s" for name, seconds in found.items()}
    what = f"step of PNL, ResNet-18, 64x32, C {classes:,}"
    return [{"what": what, **speed, "ratio": found["published"] / found["ours"]}]


def loader() -> list[dict[str, object]]:
    """Samples a second of both views of the default recipe, in the process itself."""
    crops = Street(persons=40).train()
    views = Views(crops.images.__getitem__, crops.labels, [WeakView((64, 32), 4), StrongView((64, 32))])
    batches = ResumableLoader(views, BatchOrder(len(crops), 64))
    seconds = fastest({"ours": lambda: [*batches]})["ours"]
    return [
        {
            "what": "data loader alone, 64x32",
            "ours": f"{64 * len(batches) / seconds:.0f} samples/s",
            "published": "",
            "ratio": "",
        }
    ]


def main() -> None:
    """Run the named parts, or all."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    np.random.seed(0)  # noqa: NPY002
    parts = {"views": views, "prototypes": prototypes, "steps": steps, "loader": loader}
    names = sys.argv[1:] or list(parts)
    rows = [line for name in names for line in parts[name]()]
    print(logging.table(rows, "training against the published way, one thread"))


if __name__ == "__main__":
    main()
