"""A training step and an epoch against the published way, and a step against deepinv's where it is installed.

    python benchmarks/training.py [--root FOLDER_WITH_MNIST] [--repeats 7]

Same network object, same operators, same batch, interleaved, one thread. A step is in CPU seconds, the median of the
repeats. An epoch is in CPU seconds, of workers too, and in wall-clock seconds. Ratios: the other one over ours.
"""

import argparse
import os
import resource
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Subset

from incomplete_sensing.data.datamodule import BatchOrder
from incomplete_sensing.data.images import TensorImages
from incomplete_sensing.data.layouts import find_mnist, read_idx_images
from incomplete_sensing.data.measurements import SimulatedMeasurements, assign_operators
from incomplete_sensing.models import AutoEncoder
from incomplete_sensing.noise import Noise
from incomplete_sensing.objective import Objective
from incomplete_sensing.operators import OperatorOptions, draw_operators
from shared_utils.logging import table

SHAPE, ROWS, OPERATORS, BATCH = (1, 28, 28), 100, 40, 128


class PublishedOperator:
    """Compressed sensing as the published code applies it: one object an operator, einsum."""

    def __init__(self, matrix, inverse):
        self.matrix, self.inverse = matrix, inverse

    def A(self, x):
        return torch.einsum("in,mn->im", x.reshape(len(x), -1), self.matrix)

    def A_dagger(self, y):
        return torch.einsum("im,nm->in", y, self.inverse).reshape(len(y), *SHAPE)


def published_step(network, optimizer, operators, g, x):
    """Measure, two passes, four numbers read back, plain Adam."""
    operator, others = operators[g], [operators[t] for t in range(len(operators)) if t != g]
    y = operator.A(x)
    x1 = network(operator.A_dagger(y))
    consistency = torch.nn.functional.mse_loss(operator.A(x1), y)
    other = others[int(torch.randint(len(others), (1,)))]
    x2 = network(other.A_dagger(other.A(x1)))
    cross = torch.nn.functional.mse_loss(x2, x1)
    loss = consistency + cross
    with torch.no_grad():
        psnr = -10 * torch.log10(((x1 - x) ** 2).mean())
    _ = loss.item(), consistency.item(), cross.item(), psnr.numpy()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def our_step(objective, reconstruct, optimizer, family, y, g):
    loss = objective(reconstruct, family, y, g)["loss"]
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def deepinv_step(network, optimizer, family, x):
    """A function of no arguments that does deepinv's step, or None where it is not installed."""
    try:
        from deepinv.loss import MCLoss, MOILoss
        from deepinv.models import ArtifactRemoval
        from deepinv.physics import CompressedSensing
    except ImportError:
        return None
    physics = []
    for matrix, inverse in zip(family.matrices, family.pseudo_inverses, strict=True):
        operator = CompressedSensing(ROWS, SHAPE)
        operator._A, operator._A_dagger, operator._A_adjoint = matrix, inverse, matrix.T
        physics.append(operator)

    class Denoiser(torch.nn.Module):
        def forward(self, image, sigma=None, **parameters):
            return network(image)

    model, losses = ArtifactRemoval(Denoiser(), mode="pinv"), [MCLoss(), MOILoss(physics)]
    y = physics[0].A(x)

    def step():
        estimate = model(y, physics[0])
        loss = sum(term(x=x, x_net=estimate, y=y, physics=physics[0], model=model).mean() for term in losses)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def median_cpu(steps, repeats):
    """Median CPU seconds of every function, called in turn."""
    taken = {name: [] for name in steps}
    for repeat in range(repeats + 2):
        for name, step in steps.items():
            start = time.process_time()
            step()
            if repeat >= 2:
                taken[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in taken.items()}


def benchmark_step(repeats):
    family = draw_operators(OperatorOptions("gaussian", OPERATORS, ROWS), SHAPE)
    network = AutoEncoder()
    x = torch.rand(BATCH, *SHAPE)
    g = torch.zeros(BATCH, dtype=torch.long)
    y = family(x, g)
    plain = torch.optim.Adam(network.parameters(), 1e-5, foreach=False)
    fused = torch.optim.Adam(network.parameters(), 1e-5, fused=True)
    operators = [PublishedOperator(*pair) for pair in zip(family.matrices, family.pseudo_inverses, strict=True)]

    def reconstruct(measurements, numbers):
        return network(family.pinv(measurements, numbers))

    per_batch, per_sample = Objective("moi", cross_draw="batch"), Objective("moi")
    steps = {
        "published": lambda: published_step(network, plain, operators, 0, x),
        "ours, one j a batch": lambda: our_step(per_batch, reconstruct, fused, family, y, g),
        "ours, one j a sample": lambda: our_step(per_sample, reconstruct, fused, family, y, g),
    }
    peer = deepinv_step(network, plain, family, x)
    if peer is not None:
        steps["deepinv"] = peer
    medians = median_cpu(steps, repeats)
    ours = medians["ours, one j a batch"]
    rows = [
        {"step": name, "CPU s": value, "over ours (one j a batch)": f"{value / ours:.2f}"}
        for name, value in medians.items()
    ]
    print(table(rows, f"MOI step, AE 784-1000-1000-1000-784, CS {ROWS} x 784, G = {OPERATORS}, batch {BATCH}:"))


class DecodedImages(Dataset):
    """Every image through Pillow, as torchvision's MNIST with ToTensor does it."""

    def __init__(self, pixels):
        self.pixels = pixels

    def __len__(self):
        return len(self.pixels)

    def __getitem__(self, index):
        image = Image.fromarray(self.pixels[index].numpy())
        return torch.from_numpy(np.array(image, np.uint8, copy=True))[None].float().div(255)


def all_cpu():
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def published_epoch(pixels, family, network, train, workers):
    """A loader an operator, respawned every epoch; the loss lines, where ``train``."""
    images = DecodedImages(pixels)
    operators = [PublishedOperator(*pair) for pair in zip(family.matrices, family.pseudo_inverses, strict=True)]
    optimizer = torch.optim.Adam(network.parameters(), 1e-5, foreach=False)
    order, size = torch.randperm(len(images)), len(images) // OPERATORS
    loaders = [
        DataLoader(Subset(images, order[g * size : (g + 1) * size]), BATCH, shuffle=True, num_workers=workers)
        for g in range(OPERATORS)
    ]
    for g in torch.randperm(OPERATORS).tolist():
        for x in loaders[g]:
            if train:
                published_step(network, optimizer, operators, g, x)


def our_epoch(dataset, family, network, train):
    optimizer = torch.optim.Adam(network.parameters(), 1e-5, fused=True)
    objective = Objective("moi", cross_draw="batch")

    def reconstruct(measurements, numbers):
        return network(family.pinv(measurements, numbers))

    for batch in DataLoader(dataset, sampler=BatchOrder(dataset.g, BATCH, "one_operator", 0), batch_size=None):
        if train:
            our_step(objective, reconstruct, optimizer, family, batch.measurements, batch.g)


def benchmark_epoch(pixels, workers):
    family = draw_operators(OperatorOptions("gaussian", OPERATORS, ROWS), SHAPE)
    family.pseudo_inverses  # noqa: B018 (made once, before the clock)
    count = len(pixels)
    start = time.perf_counter()
    g = assign_operators(count, OPERATORS, 0)
    dataset = SimulatedMeasurements(
        TensorImages(pixels[:, None], 255.0), torch.arange(count), g, family, Noise(), seed=0, truth=False
    )
    setup = time.perf_counter() - start
    rows = []
    for what, network in (("loading alone", None), ("AE width 1000", AutoEncoder())):
        train = network is not None
        network = network or torch.nn.Linear(1, 1)
        times = {}
        for name, epoch in (
            ("published", lambda n=network, t=train: published_epoch(pixels, family, n, t, workers)),
            ("ours", lambda n=network, t=train: our_epoch(dataset, family, n, t)),
        ):
            cpu, wall = all_cpu(), time.perf_counter()
            epoch()
            times[name] = (all_cpu() - cpu, time.perf_counter() - wall)
        rows.append(
            {
                "epoch": what,
                "published CPU s": times["published"][0],
                "ours CPU s": times["ours"][0],
                "ratio": f"{times['published'][0] / times['ours'][0]:.1f}",
                "published wall s": times["published"][1],
                "ours wall s": times["ours"][1],
                "wall ratio": f"{times['published'][1] / times['ours'][1]:.1f}",
            }
        )
    print(table(rows, f"MNIST epoch, {count} images, G = {OPERATORS}, {workers} workers a loader (published):"))
    print(f"measuring all images once, before the first epoch: {setup:.2f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="a folder with MNIST's idx files; without it, no epoch is measured")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--workers", type=int, default=4, help="of each published loader (published: 4)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, one thread, {os.cpu_count()} CPUs")
    benchmark_step(arguments.repeats)
    file = arguments.root and (find_mnist(Path(arguments.root), "train") or find_mnist(Path(arguments.root), "t10k"))
    if not file:
        where = f"no MNIST in {arguments.root}" if arguments.root else "no --root"
        print(f"epochs are not measured: {where}; give a folder with MNIST's idx files")
        return
    pixels = torch.from_numpy(read_idx_images(file).copy())
    benchmark_epoch(pixels, arguments.workers)


if __name__ == "__main__":
    main()
