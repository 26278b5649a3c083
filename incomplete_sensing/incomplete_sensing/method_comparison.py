"""The claim side by side: methods, numbers of operators and seeds, trained alike on the same measurements."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch

from incomplete_sensing import figures
from incomplete_sensing.data.datamodule import MeasurementDataModule
from incomplete_sensing.data.measurements import Batch
from incomplete_sensing.evaluation import grey_or_colour, to_device
from incomplete_sensing.lightning_module import ReconstructionModule
from incomplete_sensing.metrics import psnr
from incomplete_sensing.objective import NEEDS_TRUTH, Method
from incomplete_sensing.operator_checks import theory
from incomplete_sensing.operators import OperatorFamily, OperatorOptions, draw_operators
from incomplete_sensing.reconstructor import starting_image
from incomplete_sensing.transforms import Transform
from shared_utils import UserError, distributed
from shared_utils.logging import progress, table, write_table

log = logging.getLogger(__name__)

NAMES: dict[str, str] = {
    **{"mc": "MC", "moi": "MOI", "ei": "EI", "moei": "MO-EI", "split": "splitting", "splitmoi": "splitting + MOI"},
    **{"mean": "mean image", "gaussian": "Gaussian", "stationary": "stationary Gaussian", "mixture": "mixture"},
    **{"linear": "linear, supervised", "sup": "supervised"},
}


class MethodComparison(pl.Callback):
    """After a training and its test: train the same configuration by other methods, and print one table.

    methods: to compare. num_operators: G's to compare them at; the run's own where empty. seeds: each draws its own
    splits, operators, initial weights and batches. Only sup and linear are given the truth. settings: what a method has
    of the model's arguments that the run has not, its ``epochs``, and the ``num_operators`` among G's to train it at:
    ``{moi: {learning_rate: 1e-3, epochs: 60}}``. The table is written to ``comparison.csv`` in the run's folder, and drawn
    in ``figures/comparison.png``; the first ``panels`` test images as each method has them, with the run's own seed and
    operators, in ``figures/panels.png``.
    """

    def __init__(
        self,
        methods: Sequence[Method] = ("mc", "moi", "sup"),
        num_operators: Sequence[int] = (),
        seeds: Sequence[int] = (0, 1, 2),
        panels: int = 6,
        settings: dict[str, dict[str, Any]] = {},  # noqa: B006 (never changed)
    ) -> None:
        if unknown := sorted(set(settings) - set(methods)):
            raise UserError(f"settings for {unknown[0]}, which is not compared: {', '.join(methods)}")
        self.panels, self.settings = panels, settings
        self.methods: list[Method] = list(methods)
        self.num_operators, self.seeds = list(num_operators), list(seeds)
        self.rows: list[dict[str, Any]] = []

    def on_test_end(self, trainer: pl.Trainer, pl_module: ReconstructionModule) -> None:
        if not trainer.is_global_zero or getattr(trainer, "fast_dev_run", False):
            return
        data = cast(MeasurementDataModule, getattr(trainer, "datamodule", None))  # it trained and tested on one
        epochs, log_dir = trainer.max_epochs, trainer.log_dir
        assert epochs is not None and log_dir is not None, "Lightning sets them where the settings do not"
        counts = self.num_operators or [data.family.num_operators]
        cells: list[tuple[int, int, Method]] = [
            (seed, count, method)
            for count in counts
            for method in self.methods
            if count in self.settings.get(method, {}).get("num_operators", counts)
            for seed in self.seeds
        ]
        results: dict[tuple[int, Method], list[dict[str, float]]] = {}
        trained: dict[Method, ReconstructionModule] = {}
        for seed, count, method in progress(cells, "comparing methods"):
            here = (seed, count) == (data.seed, data.family.num_operators)
            changes = dict(self.settings.get(method, {}))
            own_epochs = changes.pop("epochs", epochs)
            changes.pop("num_operators", None)
            if here and method == pl_module.objective.method and not changes and own_epochs == epochs:
                module, measured = pl_module, test_metrics(trainer)
            else:
                operators = replace(data.problem.operators, num_operators=count)
                module, measured = run_cell(pl_module, data, operators, seed, own_epochs, {"method": method, **changes})
            if here:
                trained[method] = module
            results.setdefault((count, method), []).append(measured)
            log.info("G = %d, %s, seed %d: %.2f dB", count, method, seed, measured["test_psnr"])
        transform = pl_module.objective.transform
        self.rows = [self._row(data, count, method, transform, cell) for (count, method), cell in results.items()]
        folder = Path(log_dir)
        write_table(self.rows, folder / "comparison")
        figures.method_comparison(folder / "figures" / "comparison.png", self.rows)
        if trained and self.panels:
            draw_panels(folder / "figures" / "panels.png", trained, next(iter(data.test_dataloader())), self.panels)
        shown = [{key: value for key, value in row.items() if "seed" not in key} for row in self.rows]
        print(table(shown, f"test PSNR in dB, mean over images and over the seeds {', '.join(map(str, self.seeds))}:"))
        for line in self.conclusions():
            print(line)

    def _row(
        self,
        data: MeasurementDataModule,
        count: int,
        method: Method,
        transform: Transform,
        values: list[dict[str, float]],
    ) -> dict[str, Any]:
        family = draw_operators(
            replace(data.problem.operators, num_operators=count), data.family.image_shape, data.seed
        )
        reached = np.array([value["test_psnr"] for value in values])
        start = np.array([value["test_psnr_start"] for value in values])
        ceiling = [value["test_ceiling"] for value in values if "test_ceiling" in value]
        return {
            "G": count,
            "theory": verdict(family, method, data.model_dimension, transform),
            "method": method,
            "A^+ y": f"{start.mean():.2f}",
            "psnr": f"{reached.mean():.2f}",
            "std": f"{reached.std():.2f}",
            "gain": f"{(reached - start).mean():+.2f}",
            "ceiling": f"{np.mean(ceiling):.2f}" if ceiling else "-",
            "psnr by seed": " ".join(f"{value:.2f}" for value in reached),
            "A^+ y by seed": " ".join(f"{value:.2f}" for value in start),
            "ceiling by seed": " ".join(f"{value:.2f}" for value in ceiling) or "-",
            "seeds": " ".join(map(str, self.seeds)),
        }

    def conclusions(self) -> list[str]:
        """What the table says of the claims, a sentence each; the least or the largest difference over the seeds."""

        def by_seed(count: int, method: str) -> np.ndarray | None:
            found = [row for row in self.rows if row["G"] == count and row["method"] == method]
            return np.array([float(value) for value in found[0]["psnr by seed"].split()]) if found else None

        lines = []
        for count in sorted({row["G"] for row in self.rows}):
            mc, moi, sup = (by_seed(count, method) for method in ("mc", "moi", "sup"))
            learner = by_seed(count, "splitmoi")
            fits = {
                name: fit for name in ("gaussian", "stationary", "mixture") if (fit := by_seed(count, name)) is not None
            }
            if mc is not None and moi is not None:
                low, high = (moi - mc).min(), (moi - mc).max()
                lines.append(f"G = {count}: MOI is {low:+.2f} to {high:+.2f} dB from MC, seed by seed")
            if sup is not None and moi is not None:
                lines.append(
                    f"G = {count}: supervised is {(sup - moi).min():+.2f} to {(sup - moi).max():+.2f} dB from MOI"
                )
            if learner is not None and fits:
                strongest = max(fits, key=lambda name: fits[name].mean())
                gain = learner - fits[strongest]
                lines.append(
                    f"G = {count}: splitting + MOI is {gain.min():+.2f} to {gain.max():+.2f} dB from the strongest fit, "
                    f"{NAMES[strongest]}"
                )
        return lines


def verdict(family: OperatorFamily, method: Method, k: float | None, transform: Transform) -> str:
    """In one word what the conditions say of learning without truth; a dash where there is truth, or no k."""
    assessment = None if method in NEEDS_TRUTH else theory(family, method, k, transform)
    if assessment is None:
        return "-"
    return {True: "identified", False: "impossible", None: "open"}[assessment.identified]


def run_cell(
    module: ReconstructionModule,
    data: MeasurementDataModule,
    operators: OperatorOptions,
    seed: int,
    epochs: int,
    changes: dict[str, Any],
) -> tuple[ReconstructionModule, dict[str, float]]:
    """Train ``module``'s configuration with ``changes``, other operators, or from another seed; test metrics too."""
    distributed.seed_everything(seed)
    # This is called from within a test, where Lightning has switched gradients off.
    with torch.inference_mode(False), torch.enable_grad(), quiet():
        return _run_cell(module, data, operators, seed, epochs, changes)


def _run_cell(
    module: ReconstructionModule,
    data: MeasurementDataModule,
    operators: OperatorOptions,
    seed: int,
    epochs: int,
    changes: dict[str, Any],
) -> tuple[ReconstructionModule, dict[str, float]]:
    own = data.like(operators=operators, seed=seed, truth=changes["method"] in NEEDS_TRUTH)
    other = ReconstructionModule(own.family, **{**module.options, **changes})
    other.announce = False
    trainer = pl.Trainer(
        accelerator="cpu" if module.device.type == "cpu" else "auto",
        devices=1,
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(other, datamodule=own)
    trainer.test(other, datamodule=own, verbose=False)
    # Lightning leaves it as it was before the test, in training, where batch norm looks at whatever images it is given.
    return other.eval(), test_metrics(trainer)


def test_metrics(trainer: pl.Trainer) -> dict[str, float]:
    return {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("test_")}


@torch.inference_mode()
def draw_panels(path: Path, trained: dict[Method, ReconstructionModule], batch: Batch, count: int) -> None:
    """The first ``count`` images of a batch: the truth, A^+ y, every method's with its PSNR, and a learner's error."""
    columns, scores = {}, {}
    assert batch.truth is not None, "test batches hold it"
    for method, module in trained.items():
        reconstructor = module.reconstructor
        flag = reconstructor.complex_valued
        truth = batch.truth[:count].to(module.device)
        part = to_device(Batch(batch.measurements[:count], batch.g[:count]), module.device)
        start = starting_image(part.measurements, module.operators, part.g, reconstructor.start)
        images = reconstructor.predict(part.measurements, part.g)
        named = {"A^+ y": start, NAMES[method]: images}
        columns |= {"truth": truth, **named}
        for name, values in named.items():
            scores[name] = [f"{value:.1f} dB" for value in psnr(values, truth, complex_valued=flag).tolist()]
    columns = {name: grey_or_colour(images, flag) for name, images in columns.items()}
    shown = next((name for name in ("splitting + MOI", "MOI", "EI", "MO-EI") if name in columns), None)
    if shown:
        error = np.abs(columns[shown] - columns["truth"])
        columns[f"|error| of {shown}"] = error.mean(-1) if error.ndim == 4 else error
    figures.panels(path, columns, scores)


@contextmanager
def quiet() -> Iterator[None]:
    """Without Lightning's remarks on every fit, and warnings that the run itself has already given."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "incomplete_sensing")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
