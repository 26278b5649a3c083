"""Quality of a reconstruction on images and operators, seen in training or not."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from incomplete_sensing.data.measurements import Batch
from incomplete_sensing.metrics import consistency_residual, magnitude, nmse, psnr, ssim
from incomplete_sensing.operators import OperatorFamily, OperatorOptions, draw_operators
from incomplete_sensing.reconstructor import Reconstructor, starting_image
from shared_utils import UserError, distributed
from shared_utils.checkpoint import replacing
from shared_utils.logging import progress

COLUMNS = ("psnr", "psnr_start", "ssim", "ssim_start", "nmse", "nmse_start", "residual")


@torch.inference_mode()
def evaluate_batch(reconstructor: Reconstructor, operators: OperatorFamily, batch: Batch) -> dict[str, Tensor]:
    """Per image (B,): the columns of ``COLUMNS``; without truth ``residual`` alone. ``_start`` is of A^+ y."""
    images = reconstructor.predict(batch.measurements, batch.g, operators)
    scores = {"residual": consistency_residual(images, batch.measurements, operators, batch.g)}
    if batch.truth is not None:
        flag = {"complex_valued": reconstructor.complex_valued}
        start = starting_image(batch.measurements, operators, batch.g, reconstructor.start)
        for name, metric in (("psnr", psnr), ("ssim", ssim), ("nmse", nmse)):
            scores[name] = metric(images, batch.truth, **flag)
            scores[f"{name}_start"] = metric(start, batch.truth, **flag)
    return scores


def evaluate_dataset(
    reconstructor: Reconstructor,
    operators: OperatorFamily,
    dataset: Any,
    batch_size: int,
    device: torch.device,
    what: str,
) -> list[dict[str, Any]]:
    """A row an image: its number, its operator and its scores, in order; under torchrun each rank takes its share."""
    parts = distributed.share([rows.tolist() for rows in torch.arange(len(dataset)).split(batch_size)])
    rows = []
    for numbers in progress(parts, what):
        batch = to_device(dataset[numbers], device)
        scores = {name: value.cpu().tolist() for name, value in evaluate_batch(reconstructor, operators, batch).items()}
        for place, (number, g) in enumerate(zip(numbers, batch.g.tolist(), strict=True)):
            row = {"operators": what, "image": number, "g": g}
            rows.append(row | {name: scores[name][place] for name in COLUMNS if name in scores})
    return sorted((row for part in distributed.gather_objects(rows) for row in part), key=lambda row: row["image"])


def to_device(batch: Batch, device: torch.device) -> Batch:
    return Batch(*(None if part is None else part.to(device) for part in batch))


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One line of the table: mean and standard deviation over the images."""

    def spread(name: str) -> str | None:
        values = np.array([row[name] for row in rows if name in row])
        return None if not len(values) else f"{values.mean():.2f} +- {values.std():.2f}"

    line: dict[str, Any] = {"operators": rows[0]["operators"], "images": len(rows)}
    line |= {"A^+ y (dB)": spread("psnr_start"), "network (dB)": spread("psnr")}
    for name in ("ssim", "nmse", "residual"):
        values = [row[name] for row in rows if name in row]
        line[name] = float(np.mean(values)) if values else None
    return line


def unseen_operators(reconstructor: Reconstructor, count: int) -> OperatorFamily:
    """``count`` operators of the distribution that the training ones were drawn from, none of which it has seen.

    Raises UserError where the training operators were not drawn, but read from a file.
    """
    options = None if reconstructor.data is None else OperatorOptions(**reconstructor.data["operators"])
    if options is None or options.kind == "file":
        raise UserError("the operators were not drawn from a seed: give unseen ones as a file (--unseen_operators)")
    first = reconstructor.operators.num_operators
    options.num_operators = count
    return draw_operators(options, reconstructor.image_shape, reconstructor.data["seed"], first)


def grey_or_colour(images: Tensor, complex_valued: bool) -> np.ndarray:
    """(B, C, H, W) as ``figures.panels`` takes them: (B, H, W) or (B, H, W, 3)."""
    images = magnitude(images) if complex_valued else images
    array = images.cpu().numpy()
    return array.transpose(0, 2, 3, 1) if array.shape[1] == 3 else array[:, 0]


@torch.inference_mode()
def draw_panels(path: Path, reconstructor: Reconstructor, operators: OperatorFamily, batch: Batch) -> None:
    """The start A^+ y, the reconstruction and, where there is truth, it and the error, for every image of a batch."""
    from incomplete_sensing import figures

    flag = reconstructor.complex_valued
    images = reconstructor.predict(batch.measurements, batch.g, operators)
    start = starting_image(batch.measurements, operators, batch.g, reconstructor.start)
    name = {"pinv": "A^+ y", "adjoint": "A^T y", "fbp": "FBP"}[reconstructor.start]
    columns = {name: grey_or_colour(start, flag), "network": grey_or_colour(images, flag)}
    scores = None
    if batch.truth is not None:
        truth = grey_or_colour(batch.truth, flag)
        error = np.abs(columns["network"] - truth)
        columns = {"truth": truth, **columns, "|error|": error.mean(-1) if error.ndim == 4 else error}
        pairs = ((name, start), ("network", images))
        scores = {
            kind: [f"{value:.1f} dB" for value in psnr(values, batch.truth, complex_valued=flag).tolist()]
            for kind, values in pairs
        }
    figures.panels(path, columns, scores)


def draw_learning_curves(folder: Path) -> None:
    """``figures/training.png`` of a run's ``metrics.csv``: the terms of the loss over the epochs."""
    from incomplete_sensing import figures

    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name.startswith("train_")] if rows else []
    curves = {}
    for name in names:
        kept = [(int(row["epoch"]), float(row[name])) for row in rows if row[name]]
        if kept:
            curves[name.removeprefix("train_")] = tuple(zip(*kept, strict=True))
    if curves:
        figures.learning_curves(folder / "figures" / "training.png", curves)


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Rows as CSV, durably; the columns of the first."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with replacing(path) as temporary:
        temporary.write_text(text.getvalue())


# New measurements ----------------------------------------------------------------------------------------------------


def reconstruct_parts(
    reconstructor: Reconstructor, measurements: Tensor, g: Tensor, folder: Path, batch_size: int, device: torch.device
) -> Iterator[Path]:
    """Reconstruct in parts, each a file of ``folder`` that appears when it is whole; finished ones are not done again.

    Yields the files in order, on rank 0 after all ranks have done their share.
    """
    pieces = list(enumerate(torch.arange(len(g)).split(batch_size)))
    paths = [folder / f"part-{number:06d}.npz" for number, _ in pieces]
    for number, rows in progress(distributed.share(pieces), "reconstructing"):
        if paths[number].is_file():
            continue
        batch = to_device(Batch(measurements[rows], g[rows]), device)
        with torch.inference_mode():
            images = reconstructor.predict(batch.measurements, batch.g)
            residual = consistency_residual(images, batch.measurements, reconstructor.operators, batch.g)
        with replacing(paths[number]) as temporary, temporary.open("wb") as stream:
            np.savez(stream, x=images.cpu().numpy(), residual=residual.cpu().numpy())
    distributed.barrier()
    yield from paths
