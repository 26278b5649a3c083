"""Quality of a reconstruction on images and operators, seen in training or not."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from incomplete_sensing.data.measurements import Batch, Measurements
from incomplete_sensing.data.problem import Problem
from incomplete_sensing.metrics import consistency_residual, magnitude, nmse, psnr, ssim
from incomplete_sensing.operators import OperatorFamily, OperatorOptions, draw_operators, read_operators
from incomplete_sensing.reconstructor import Reconstructor, Start, starting_image
from shared_utils import UserError, checkpoint, distributed, work
from shared_utils.logging import read_metrics, run_folder, write_table

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
    dataset: Measurements,
    batch_size: int,
    what: str,
    job: work.Work,
) -> list[dict[str, Any]]:
    """A row an image, in order: its number, its operator and its scores.

    Batches are the parts of ``job``: under torchrun each rank takes its share, and what is finished is not done again.
    """
    batches = {f"{what}-{place:06d}": rows for place, rows in enumerate(torch.arange(len(dataset)).split(batch_size))}

    def compute(name: str) -> dict[str, Tensor]:
        batch = to_device(dataset[batches[name].tolist()], operators.device)
        return {"g": batch.g, **evaluate_batch(reconstructor, operators, batch)}

    job.finish(list(batches), compute, what)
    rows = []
    for name, numbers in batches.items():
        scores = {column: values.tolist() for column, values in job.read(name).items()}
        for place, number in enumerate(numbers.tolist()):
            row = {"operators": what, "image": number, "g": scores["g"][place]}
            rows.append(row | {column: scores[column][place] for column in COLUMNS if column in scores})
    return rows


def evaluate(
    reconstructor: Reconstructor,
    out: str | Path,
    data: str | None = None,
    unseen: int | None = None,
    unseen_operators: str | None = None,
    limit: int | None = None,
    panels: int = 6,
    batch_size: int = 256,
    resume: bool = False,
    overwrite: bool = False,
) -> list[dict[str, Any]]:
    """Evaluate a reconstruction on the test images: ``scores.csv`` (and ``.md``) and ``panels.png`` in ``out``.

    Args:
        reconstructor: with the operators it was trained for, on the device to compute on.
        out: folder for the results and, until they are complete, what is finished of them.
        data: other data than it was trained on, in any layout of the README.
        unseen: how many operators to draw that training has not seen; as many as it has seen where None, 0 for none.
        unseen_operators: a file of such operators, instead of drawing them.
        limit: at most this many test images.
        panels: images in the picture.
        batch_size: images at once.
        resume: continue what is in ``out``.
        overwrite: replace it.

    Returns:
        A row of the table for the operators seen in training, and one for the unseen ones where there are any.

    Raises:
        UserError: the reconstruction has no operators; the data or the operators cannot be used; see ``work.begin``.
    """
    seen = reconstructor.operators
    if seen is None:
        raise UserError("the reconstruction has no operators to evaluate with: import it again with --operators")
    options = reconstructor.data or {"operators": {"kind": "mri" if seen.kind == "mri" else "file"}}
    changes: dict[str, Any] = {"root": data, "layout": "auto"} if data else {}
    if limit is not None:
        changes["num_test"] = limit
    problem = Problem.of(options, **changes)
    families = {"seen": seen}
    if unseen_operators is not None:
        families["unseen"] = read_operators(unseen_operators, reconstructor.image_shape)
    elif unseen != 0 and not problem.measured and (unseen or options["operators"]["kind"] != "file"):
        families["unseen"] = draw_unseen_operators(reconstructor, unseen or seen.num_operators)
    job_options = {
        "weights": checkpoint.weights_digest(reconstructor),
        "reconstructor": {name: value for name, value in reconstructor.config().items() if name != "data"},
        "data": {**options, **changes},
        "unseen operators": families["unseen"].fingerprint() if "unseen" in families else None,
        "batch_size": batch_size,
    }
    with work.begin(out, job_options, resume=resume, overwrite=overwrite) as job:
        rows = []
        for what, family in families.items():
            # Images are measured where they are read, on the CPU.
            measuring = family if family.device.type == "cpu" else copy.deepcopy(family).cpu()
            dataset = problem.dataset("test", truth=True, family=measuring)
            rows.append(evaluate_dataset(reconstructor, family.to(seen.device), dataset, batch_size, what, job))
            if what == "seen":
                shown = dataset[list(range(min(panels, len(dataset))))]
        if distributed.rank() == 0:
            write_table([row for part in rows for row in part], Path(out) / "scores")
            draw_panels(Path(out) / "panels.png", reconstructor, seen, to_device(shown, seen.device))
        job.complete()
    return [summary(part) for part in rows]


def default_folder(ckpt: str | None) -> Path:
    """Where an evaluation is written when no place is given: beside a checkpoint on disk, else a new run folder."""
    if ckpt is not None and Path(ckpt).exists():
        return (Path(ckpt) if Path(ckpt).is_dir() else Path(ckpt).parent) / "evaluation"
    return Path(distributed.broadcast(str(run_folder("evaluation")) if distributed.rank() == 0 else None))


def to_device(batch: Batch, device: torch.device) -> Batch:
    return Batch._make(None if part is None else part.to(device) for part in batch)


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


def draw_unseen_operators(reconstructor: Reconstructor, count: int) -> OperatorFamily:
    """``count`` operators of the distribution that the training ones were drawn from, none of which it has seen.

    Raises UserError where the training operators were not drawn, but read from a file.
    """
    seen, data = reconstructor.operators, reconstructor.data
    options = None if data is None else OperatorOptions(**data["operators"])
    if seen is None or data is None or options is None or options.kind == "file":
        raise UserError("the operators were not drawn from a seed: give unseen ones as a file (--unseen_operators)")
    options.num_operators = count
    return draw_operators(options, reconstructor.image_shape, data["seed"], seen.num_operators)


def grey_or_colour(images: Tensor, complex_valued: bool) -> np.ndarray:
    """(B, C, H, W) as ``figures.panels`` takes them: (B, H, W) or (B, H, W, 3)."""
    images = magnitude(images) if complex_valued else images
    array = images.cpu().numpy()
    return array.transpose(0, 2, 3, 1) if array.shape[1] == 3 else array[:, 0]


class Predicts(Protocol):
    """What the panels need of a reconstruction."""

    @property
    def start(self) -> Start: ...  # pragma: no cover

    @property
    def complex_valued(self) -> bool: ...  # pragma: no cover

    def predict(
        self, measurements: Tensor, g: Tensor, operators: OperatorFamily | None = None
    ) -> Tensor: ...  # pragma: no cover


@torch.inference_mode()
def draw_panels(path: Path, reconstructor: Predicts, operators: OperatorFamily, batch: Batch) -> None:
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

    rows = read_metrics(folder)
    names = [name for name in rows[0] if name.startswith("train_")] if rows else []
    curves = {}
    for name in names:
        kept = [(int(row["epoch"]), float(row[name])) for row in rows if row[name]]
        if kept:
            curves[name.removeprefix("train_")] = tuple(zip(*kept, strict=True))
    if curves:
        figures.learning_curves(folder / "figures" / "training.png", curves)
