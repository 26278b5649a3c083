"""The theory beside what is learned: test PSNR over the rows of an operator and the number of operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl

from incomplete_sensing import figures
from incomplete_sensing.data.datamodule import MeasurementDataModule
from incomplete_sensing.lightning_module import ReconstructionModule
from incomplete_sensing.method_comparison import NAMES, run_cell
from incomplete_sensing.objective import Method
from shared_utils import UserError
from shared_utils.logging import progress, table, write_table


class SensingMap(pl.Callback):
    """After a training and its test: train the same configuration at every (m, G), and draw the PSNR with the theory's curves.

    num_measurements, num_operators: the axes. methods: a panel each. epochs: of every training; the run's own where None.
    settings: what a method has of the model's arguments that the run has not. One seed, the run's. The values are written
    to ``map.csv`` in the run's folder and drawn in ``figures/map.png``; a curve is at its m in every row, and what it
    promises holds for the cells whose centre is right of it.
    """

    def __init__(
        self,
        num_measurements: Sequence[int],
        num_operators: Sequence[int],
        methods: Sequence[Method] = ("moi",),
        epochs: int | None = None,
        settings: dict[str, dict[str, Any]] = {},  # noqa: B006 (never changed)
    ) -> None:
        if not num_measurements or not num_operators or not methods:
            raise UserError("a map needs at least one num_measurements, num_operators and method")
        if unknown := sorted(set(settings) - set(methods)):
            raise UserError(f"settings for {unknown[0]}, which is not drawn: {', '.join(methods)}")
        self.num_measurements, self.num_operators = sorted(num_measurements), sorted(num_operators)
        self.methods: list[Method] = list(methods)
        self.epochs, self.settings = epochs, settings
        self.rows: list[dict[str, Any]] = []

    def on_fit_start(self, trainer: pl.Trainer, pl_module: ReconstructionModule) -> None:
        # What the axes ask for is refused before the training, not after it.
        pixels = pl_module.operators.num_pixels
        if not 1 <= self.num_measurements[0] <= self.num_measurements[-1] <= pixels or self.num_operators[0] < 1:
            raise UserError(f"a map has num_measurements in 1 .. n = {pixels} and num_operators from 1 on")
        data = cast(MeasurementDataModule, getattr(trainer, "datamodule", None))
        if data.problem.operators.num_measurements is None:
            raise UserError("a map is over num_measurements: give data.operators.num_measurements, of gaussian or mask")

    def on_test_end(self, trainer: pl.Trainer, pl_module: ReconstructionModule) -> None:
        if not trainer.is_global_zero or getattr(trainer, "fast_dev_run", False):
            return
        data = cast(MeasurementDataModule, getattr(trainer, "datamodule", None))
        epochs, log_dir = self.epochs or trainer.max_epochs, trainer.log_dir
        assert epochs is not None and log_dir is not None, "Lightning sets them where the settings do not"
        shape = len(self.num_operators), len(self.num_measurements)
        planes = {method: np.empty(shape) for method in self.methods}
        cells = [
            (method, row, column) for method in self.methods for row in range(shape[0]) for column in range(shape[1])
        ]
        for method, row, column in progress(cells, "mapping m and G"):
            m, count = self.num_measurements[column], self.num_operators[row]
            operators = replace(data.problem.operators, num_operators=count, num_measurements=m)
            changes = {"method": method, **self.settings.get(method, {})}
            _, measured = run_cell(pl_module, data, operators, data.seed, epochs, changes)
            planes[method][row, column] = measured["test_psnr"]
            self.rows.append(
                {"method": method, "G": count, "m": m, "psnr": f"{measured['test_psnr']:.2f}"}
                | {"A^+ y": f"{measured['test_psnr_start']:.2f}"}
            )
        folder = Path(log_dir)
        write_table(self.rows, folder / "map")
        named = {NAMES[method]: plane for method, plane in planes.items()}
        k, n = data.model_dimension, pl_module.operators.num_pixels
        figures.sensing_map(folder / "figures" / "map.png", named, self.num_measurements, self.num_operators, n, k)
        for method, plane in named.items():
            lines = [
                {
                    "G": count,
                    **{f"m = {m}": f"{value:.2f}" for m, value in zip(self.num_measurements, row, strict=True)},
                }
                for count, row in zip(self.num_operators, plane, strict=True)
            ]
            print(table(lines, f"test PSNR in dB of {method}, seed {data.seed}:"))
